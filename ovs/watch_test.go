package ovs_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// watch watches a lab with a bridge, a port and a mirror.
func watchLab(t *testing.T) (*ovstest.Lab, *ovs.Conn, <-chan struct{}) {
	t.Helper()
	lab := start(t, ovstest.Config{})
	vsctl(t, lab, "add-port", "br0", "vif1.0", "--", "set", "Interface", "vif1.0", "status:driver_name=veth", "--",
		"--id=@m", "create", "Mirror", "name=m", "--", "set", "Bridge", "br0", "mirrors=@m")
	conn := dial(t, lab.DB)
	changes := conn.Watch(within(t, patience))
	observe(t, conn)
	signalled(t, changes) // of the rows that are there
	return lab, conn, changes
}

// signalled waits for a signal.
func signalled(t *testing.T, changes <-chan struct{}) {
	t.Helper()
	select {
	case _, there := <-changes:
		if !there {
			t.Fatal("the channel is closed")
		}
	case <-within(t, patience).Done():
		t.Fatal("there is no signal")
	}
}

// What no plan rests on is no reason to make one.
func TestWatchIgnores(t *testing.T) {
	lab, conn, changes := watchLab(t)
	root := observe(t, conn).Root
	// Each is followed by a change that is heard of, by which all before it has been: then two signals would have come,
	// unless the first was taken; so the events themselves are counted one at a time.
	for _, args := range [][]string{
		{"set", "Interface", "vif1.0", "statistics:rx_packets=7"},
		{"set", "Mirror", "m", "statistics:tx_packets=7"},
		{"set", "Interface", "vif1.0", "status:driver_version=9"},
		{"set", "Open_vSwitch", ".", "external_ids:system-id=x"},
		{"set", "Open_vSwitch", ".", "external_ids:spanctl/agent=x"},
		{"set", "Open_vSwitch", ".", "external_ids:spanctl/report/a=x"},
		{"set", "Open_vSwitch", ".", "external_ids:spanctl/revision=9"},
		{"set", "Open_vSwitch", ".", "next_cfg=9", "cur_cfg=9"},
		{"remove", "Open_vSwitch", ".", "external_ids", "spanctl/agent"},
		{"clear", "Open_vSwitch", ".", "external_ids"},
	} {
		quietUntil(t, conn, changes, strings.Join(args, " "), func() { vsctl(t, lab, args...) })
	}
	quietUntil(t, conn, changes, "Report", func() {
		check(t, conn.Report(within(t, patience), root, map[string]string{plan.KeyAgent: "y", plan.KeyReportPrefix + "a": "z"}, []string{plan.KeyReportPrefix + "b"}))
	})
	await(t, conn, "the report", func(s *plan.Snapshot) bool { return s.Reports["a"] == "z" })
}

// What a plan may rest on is heard of.
func TestWatchTells(t *testing.T) {
	lab, _, changes := watchLab(t)
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
		vsctl(t, lab, args...)
		select {
		case <-changes:
		case <-within(t, patience).Done():
			t.Fatalf("%q: there is no signal", args)
		}
		for settled := false; !settled; { // one transaction may be told of in several signals
			settled = len(changes) == 0
			if !settled {
				<-changes
			}
		}
	}
}

// Files that ovs-vswitchd makes when it starts are heard of, others are not.
func TestWatchFiles(t *testing.T) {
	lab, conn, changes := watchLab(t)
	check(t, os.WriteFile(filepath.Join(lab.Dir, "other"), nil, 0o600))
	quietUntil(t, conn, changes, "another file", func() { check(t, os.WriteFile(filepath.Join(lab.Dir, "br0.snoop"), nil, 0o600)) })
	check(t, os.WriteFile(filepath.Join(lab.Dir, "ovs-vswitchd.pid"), nil, 0o600))
	signalled(t, changes)
	socket, err := net.Listen("unix", filepath.Join(lab.Dir, "br0.mgmt"))
	check(t, err)
	defer socket.Close()
	signalled(t, changes)
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
	lab, conn, changes := watchLab(t)
	ctx, cancel := contextOf(t)
	byContext := dial(t, lab.DB).Watch(ctx)
	cancel()
	wantClosed(t, byContext)
	closed := dialOnce(t, lab.DB)
	byClose := closed.Watch(within(t, patience))
	closed.Close()
	wantClosed(t, byClose)
	lab.KillDB()
	wantClosed(t, changes)
	wantClosed(t, conn.Watch(within(t, patience))) // of a connection that has ended before
}
