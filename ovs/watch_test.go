package ovs_test

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// A watched lab has a bridge, a port and a mirror, and a connection whose Watch has told of these.
type watched struct {
	*ovstest.Lab
	conn    *ovs.Conn
	changes <-chan struct{}
	fences  chan string
}

func watchLab(t *testing.T) *watched {
	t.Helper()
	lab := start(t, ovstest.Config{})
	vsctl(t, lab, "add-port", "br0", "vif1.0", "--", "set", "Interface", "vif1.0", "status:driver_name=veth", "--",
		"--id=@m", "create", "Mirror", "name=m", "--", "set", "Bridge", "br0", "mirrors=@m")
	w := &watched{Lab: lab, conn: dial(t, lab.DB), fences: make(chan string, 100)}
	w.changes = w.conn.Watch(within(t, patience))
	w.conn.AfterWatch(func(ids map[string]string) { w.fences <- ids["fence"] })
	observe(t, w.conn)
	w.wantSignal(t, "rows that are there", true)
	return w
}

// wantSignal takes the signal of what has been done, or wants none.
func (w *watched) wantSignal(t *testing.T, what string, want bool) {
	t.Helper()
	fence := rand.Text() // a key that is none of ours
	vsctl(t, w.Lab, "set", "Open_vSwitch", ".", "external_ids:fence="+fence)
	end := within(t, patience)
	for seen := ""; seen != fence; {
		select {
		case seen = <-w.fences:
		case <-end.Done():
			t.Fatalf("%s: no update", what)
		}
	}
	select {
	case <-w.changes:
		if !want {
			t.Errorf("%s: there is a signal", what)
		}
	default:
		if want {
			t.Errorf("%s: there is no signal", what)
		}
	}
}

// What no plan rests on is no reason to make one.
func TestWatchIgnores(t *testing.T) {
	w := watchLab(t)
	for _, args := range [][]string{
		{"set", "Interface", "vif1.0", "statistics:rx_packets=7"},
		{"set", "Mirror", "m", "statistics:tx_packets=7"},
		{"set", "Interface", "vif1.0", "status:driver_version=9"},
		{"clear", "Open_vSwitch", ".", "external_ids"},
		{"set", "Open_vSwitch", ".", "external_ids:system-id=x"},
		{"set", "Open_vSwitch", ".", "external_ids:spanctl/agent=x"},
		{"set", "Open_vSwitch", ".", "external_ids:spanctl/report/a=x"},
		{"set", "Open_vSwitch", ".", "external_ids:spanctl/revision=9"},
		{"set", "Open_vSwitch", ".", "next_cfg=9", "cur_cfg=9"},
		{"remove", "Open_vSwitch", ".", "external_ids", "spanctl/agent"},
	} {
		vsctl(t, w.Lab, args...)
		w.wantSignal(t, strings.Join(args, " "), false)
	}
	check(t, w.conn.Report(within(t, patience), observe(t, w.conn).Root, map[string]string{plan.KeyAgent: "y", plan.KeyReportPrefix + "b": "z"}, []string{plan.KeyReportPrefix + "a"}))
	w.wantSignal(t, "Report", false)
	if reports := observe(t, w.conn).Reports; len(reports) != 1 || reports["b"] != "z" {
		t.Errorf("reports are %q", reports)
	}
}

// What a plan may rest on is heard of.
func TestWatchTells(t *testing.T) {
	w := watchLab(t)
	for _, args := range [][]string{
		{"add-port", "br0", "vif2.0"},
		{"set", "Interface", "vif1.0", "link_state=up"},
		{"set", "Interface", "vif1.0", "ofport=7"},
		{"set", "Interface", "vif1.0", "status:driver_name=tun"},
		{"set", "Interface", "vif1.0", "external_ids:spanctl=a"},
		{"set", "Port", "vif1.0", "tag=7"},
		{"set", "Open_vSwitch", ".", "external_ids:spanctl/session/a={}"},
		{"set", "Open_vSwitch", ".", "external_ids:spanctl/changing=x"},
		{"remove", "Open_vSwitch", ".", "external_ids", "spanctl/session/a"},
		{"set", "Open_vSwitch", ".", "ovs_version=9.9"},
		{"set", "Mirror", "m", "select_all=true"},
		{"clear", "Bridge", "br0", "mirrors"},
		{"del-port", "vif2.0"},
		{"add-br", "br1"},
		{"del-br", "br1"},
	} {
		vsctl(t, w.Lab, args...)
		w.wantSignal(t, strings.Join(args, " "), true)
	}
}

// Files that ovs-vswitchd makes when it starts are heard of.
func TestWatchFiles(t *testing.T) {
	w := watchLab(t)
	signalled := func() {
		t.Helper()
		select {
		case <-w.changes:
		case <-within(t, patience).Done():
			t.Fatal("there is no signal")
		}
	}
	check(t, os.WriteFile(filepath.Join(w.Dir, "ovs-vswitchd.pid"), nil, 0o600))
	signalled()
	socket, err := net.Listen("unix", filepath.Join(w.Dir, "br0.mgmt"))
	check(t, err)
	defer socket.Close()
	signalled()
}

// wantClosed waits for the end of the channel.
func wantClosed(t *testing.T, changes <-chan struct{}) {
	t.Helper()
	end := within(t, patience)
	for {
		select {
		case _, there := <-changes:
			if !there {
				return
			}
		case <-end.Done():
			t.Fatal("the channel is not closed")
		}
	}
}

// The channel ends with the server, with the connection, and with the context.
func TestWatchEnds(t *testing.T) {
	w := watchLab(t)
	ctx, cancel := context.WithCancel(within(t, patience))
	byContext := dial(t, w.DB).Watch(ctx)
	cancel()
	wantClosed(t, byContext)
	closed := dialOnce(t, w.DB)
	byClose := closed.Watch(within(t, patience))
	closed.Close()
	wantClosed(t, byClose)
	w.KillDB()
	wantClosed(t, w.changes)
	wantClosed(t, w.conn.Watch(within(t, patience))) // of a connection that has ended before
}

// A mark of one who is between steps is heeded, unless nobody can be for so long.
func TestMarks(t *testing.T) {
	lab := start(t, ovstest.Config{})
	soon := time.Now().Add(10 * time.Second).UTC()
	for mark, want := range map[string]time.Time{
		soon.Format(time.RFC3339Nano) + " another": soon, "2999-01-01T00:00:00Z another": {}, "junk": {}, "": {},
	} {
		vsctl(t, lab, "set", "Open_vSwitch", ".", "external_ids:"+plan.KeyChanging+`="`+mark+`"`)
		if got := look(t, lab).Changing; !got.Equal(want) {
			t.Errorf("by mark %q another is between steps until %s, want %s", mark, got, want)
		}
	}
}

// A mark that nobody waits for goes when nothing else is to do. A fresh one, and one that has come since the plan was made,
// stay.
func TestMarksAreCleared(t *testing.T) {
	lab := start(t, ovstest.Config{})
	conn := dial(t, lab.DB)
	fresh := time.Now().Add(10*time.Second).UTC().Format(time.RFC3339Nano) + " another"
	old := time.Now().Add(-time.Second).UTC().Format(time.RFC3339Nano) + " another"
	set := func(mark string) {
		vsctl(t, lab, "set", "Open_vSwitch", ".", "external_ids:"+plan.KeyChanging+`="`+mark+`"`)
	}
	revision := look(t, lab).Revision
	for _, step := range []struct{ mark, since, want string }{
		{old, "", ""}, {"junk", "", ""}, {"2999-01-01T00:00:00Z another", "", ""}, {fresh, "", fresh}, {old, fresh, fresh}, {"", "", ""},
	} {
		vsctl(t, lab, "remove", "Open_vSwitch", ".", "external_ids", plan.KeyChanging)
		if step.mark != "" {
			set(step.mark)
		}
		await(t, conn, "the mark", func(s *plan.Snapshot) bool { return s.Mark == step.mark })
		applied, err := conn.Apply(within(t, patience), func(snap *plan.Snapshot) (*plan.Plan, error) {
			if step.since != "" {
				set(step.since)
			}
			return plan.Make(snap, plan.StoredIntent(snap), noon), nil
		}, t.Name())
		check(t, err)
		if now := look(t, lab); applied.Committed || now.Mark != step.want || now.Revision != revision {
			t.Errorf("mark %q, then %q: committed %v, and the mark is %q", step.mark, step.since, applied.Committed, now.Mark)
		}
	}
}
