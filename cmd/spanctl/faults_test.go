package main

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// TestFaultNobodyAnswers runs commands on a server that accepts connections
// and never says a word.
func TestFaultNobodyAnswers(t *testing.T) {
	t.Parallel()
	d := newDesk(t, ovstest.Config{})
	listener, err := net.Listen("unix", filepath.Join(d.lab.Dir, "silent.sock"))
	d.must(err)
	defer listener.Close()
	d.db = "unix:" + listener.Addr().String()
	for _, args := range d.online() {
		d.exits(exitUnreachable, append(args, "--timeout", "300ms"), "no answer in time", "--timeout")
	}
}

// TestFaultNobodyListens runs commands where there is no server, or no more.
func TestFaultNobodyListens(t *testing.T) {
	t.Parallel()
	d := newDesk(t, ovstest.Config{})
	d.lab.KillDB()
	for _, db := range []string{d.db, "unix:" + filepath.Join(d.lab.Dir, "none.sock"), "tcp:127.0.0.1:1"} {
		d.db = db
		for _, args := range d.online() {
			d.exits(exitUnreachable, args, strings.TrimPrefix(db, "unix:"), "check that ovsdb-server runs")
		}
	}
}

// TestFaultConnectionIsCut cuts the connection at each request of a command.
// What the database holds then is all of the change or nothing of it.
func TestFaultConnectionIsCut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, ovstest.Config{})
	var requests []string
	between := d.interpose(func(method string) bool {
		requests = append(requests, method)
		return true
	})
	d.vsctl("set", "Open_vSwitch", ".", "cur_cfg=1000")
	d.exits(exitOK, []string{"apply", "-f", d.policy})
	between.Close()
	d.db = d.lab.DB
	d.exits(exitOK, []string{"delete", "--all"})
	if len(requests) < 6 {
		t.Fatalf("requests are %q", requests)
	}
	for at := range requests {
		d.db = d.lab.DB
		n := 0
		between := d.interpose(func(string) bool { n++; return n != at+1 })
		var stdout, stderr bytes.Buffer
		code := run([]string{"apply", "-f", d.policy, "--db", d.db}, nil, &stdout, &stderr)
		between.Close()
		if code != exitUnreachable && code != exitDegraded {
			t.Errorf("cut at %s: exit code %d: %s", requests[at], code, stderr.String())
		}
		mirrors := d.vsctl("--columns=name", "list", "Mirror")
		intent := d.vsctl("get", "Open_vSwitch", ".", "external_ids")
		if strings.Contains(mirrors, "spanctl-audit") != strings.Contains(intent, "spanctl/session/audit") {
			t.Errorf("cut at %s: mirrors %q, external_ids %q", requests[at], mirrors, intent)
		}
		d.db = d.lab.DB
		d.exits(exitOK, []string{"apply", "-f", d.policy})
		d.exits(exitOK, []string{"delete", "--all"})
	}
}

// TestFaultOthersKeepChanging never lets a transaction through: 6, and the
// database is as they left it.
func TestFaultOthersKeepChanging(t *testing.T) {
	t.Parallel()
	d := newDesk(t, ovstest.Config{})
	tries := 0
	between := d.interpose(func(method string) bool {
		if method == "transact" {
			tries++
			d.vsctl("set", "Open_vSwitch", ".", "external_ids:spanctl/revision="+strings.Repeat("1", tries))
		}
		return true
	})
	defer between.Close()
	d.exits(exitConflict, []string{"apply", "-f", d.policy}, "others keep changing the database; nothing was changed, try again")
	if ids := d.vsctl("get", "Open_vSwitch", ".", "external_ids"); strings.Contains(ids, "session") || tries < 2 {
		t.Errorf("after %d tries external_ids are %s", tries, ids)
	}
}
