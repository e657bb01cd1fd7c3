package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// A desk is a database without ovs-vswitchd, with the program at hand.
type desk struct {
	*testing.T
	lab    *ovstest.Lab
	db     string // the remote that the program is given
	policy string // a file with one session
}

const deskPolicy = `version: 1
sessions:
  audit: {sources: [{interface: vif1.0}], destinations: [{interface: vif9.0}]}
`

func newDesk(t *testing.T, cfg ovstest.Config) *desk {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cfg.Name, cfg.DatabaseOnly = t.Name(), true
	lab, err := ovstest.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{T: t, lab: lab, db: lab.DB, policy: filepath.Join(t.TempDir(), "policy.yaml")}
	t.Cleanup(func() { d.must(lab.Close()) })
	d.must(os.WriteFile(d.policy, []byte(deskPolicy), 0o644))
	d.vsctl("--", "add-port", "br0", "vif1.0", "--", "add-port", "br0", "vif9.0", "--", "set", "Open_vSwitch", ".", "ovs_version=3.5.0")
	return d
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// vsctl is another hand.
func (d *desk) vsctl(args ...string) string {
	d.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := d.lab.VSCtl(ctx, args...)
	d.must(err)
	return out
}

// exits runs the program, which must end with the code and say all texts on
// stderr, and nothing else there.
func (d *desk) exits(code int, args []string, texts ...string) {
	d.Helper()
	var stdout, stderr bytes.Buffer
	got := run(append(args, "--db", d.db), strings.NewReader(""), &stdout, &stderr)
	d.wants(got, code, args, stderr.String(), texts...)
}

func (d *desk) wants(got, code int, args []string, stderr string, texts ...string) {
	d.Helper()
	if got != code {
		d.Errorf("%q: exit code %d, want %d: %s", args, got, code, stderr)
	}
	for _, text := range texts {
		if !strings.Contains(stderr, text) {
			d.Errorf("%q: stderr lacks %q: %s", args, text, stderr)
		}
	}
}

// online are commands that use the database.
func (d *desk) online() [][]string {
	return [][]string{
		{"plan", "-f", d.policy},
		{"apply", "-f", d.policy},
		{"apply", "--dry-run"},
		{"get"},
		{"status"},
		{"delete", "--all"},
	}
}

// awaitServer returns when the database's server takes connections.
func (d *desk) awaitServer() {
	d.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("unix", filepath.Join(d.lab.Dir, "db.sock"))
		if err == nil {
			d.must(conn.Close())
			return
		}
		select {
		case <-deadline:
			d.Fatal(err)
		case <-tick.C:
		}
	}
}

// interpose puts a listener between the program and the database, which asks
// allow about each request before it is handed on; if not, the connection is
// cut.
func (d *desk) interpose(allow func(method string) bool) io.Closer {
	d.Helper()
	path := filepath.Join(d.lab.Dir, "between.sock")
	listener, err := net.Listen("unix", path)
	d.must(err)
	d.db = "unix:" + path
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", filepath.Join(d.lab.Dir, "db.sock"))
			if err != nil {
				_ = client.Close()
				continue
			}
			running.Go(func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			})
			// One connection at a time: the program has no more.
			requests := json.NewDecoder(client)
			for {
				var request json.RawMessage
				var head struct{ Method string }
				if requests.Decode(&request) != nil || json.Unmarshal(request, &head) == nil && !allow(head.Method) {
					break
				}
				if _, err := server.Write(request); err != nil {
					break
				}
			}
			_, _ = client.Close(), server.Close()
		}
	})
	return closer(func() error {
		err := listener.Close()
		running.Wait()
		return err
	})
}

type closer func() error

func (c closer) Close() error { return c() }
