package main

import (
	"strings"
	"testing"
)

// TestE2EBridgeKeepsSTP has a bridge with STP become one with STP of Open vSwitch, with its times and priorities, and back. Ports
// wait on the way, as plan warns.
func TestE2EBridgeKeepsSTP(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.host("sh", "-e", "-c", `
ip link set dev br0 type bridge stp_state 1 forward_delay 400 hello_time 100 max_age 600 priority 8192 ageing_time 12000
ip link set dev vif-a type bridge_slave cost 40 priority 16
`)
	forwarding := func() bool {
		return strings.Count(s.host("bridge", "link"), "state forwarding") == 2 &&
			strings.Contains(s.host("ip", "-details", "link", "show", "dev", "br0"), "topology_change 0")
	}
	s.await("the ports to forward", forwarding)
	before := s.linuxBridge()
	if out := s.bridgeWant(exitOK, "plan", "br0", "--datapath", datapath()); !strings.Contains(out, "twice the forward delay (8 s)") {
		t.Errorf("plan says\n%s", out)
	}
	s.migrate("--confirm", "10m")
	want := `{hwaddr="` + s.vsctl("get", "Interface", "br0", "mac_in_use") + `", mac-aging-time="120", stp-forward-delay="4", stp-hello-time="1", stp-max-age="6", stp-priority="8192"}`
	if got := s.vsctl("get", "Bridge", "br0", "other_config"); strings.ReplaceAll(got, `"`, "") != strings.ReplaceAll(want, `"`, "") {
		t.Errorf("the bridge has %s, want %s", got, want)
	}
	if got := s.vsctl("get", "Port", "vif-a", "other_config"); got != `{stp-path-cost="40", stp-port-priority="64"}` {
		t.Errorf("port vif-a has %s", got)
	}
	s.await("the ports to forward in Open vSwitch", func() bool {
		return strings.Contains(s.vsctl("get", "Port", "vif-a", "status:stp_state"), "forwarding") &&
			strings.Contains(s.vsctl("get", "Port", "vif-b", "status:stp_state"), "forwarding")
	})
	s.exchange(s.guests["a"], s.guests["b"], 2)
	s.bridgeWant(exitOK, "revert", "br0")
	s.await("the ports to forward again", forwarding)
	s.wantSameText("the bridge", before, s.linuxBridge())
	s.exchange(s.guests["a"], s.guests["b"], 2)
}
