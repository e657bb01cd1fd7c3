package main

import (
	"net/netip"
	"strings"
	"testing"

	"spanctl/ovs/migrate"
	"spanctl/ovs/ovstest"
)

// TestE2EBridgeTheWholeStory is what spanctl is for, from the beginning: a host whose guests are on a Linux bridge. The bridge
// is replaced, confirmed, and mirrored: the audit guest gets all that the guests and the host send, exactly. Then a guest joins by
// Open vSwitch, sessions end, and all of them go back.
func TestE2EBridgeTheWholeStory(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b", "audit")
	before := s.linuxBridge()
	if out := s.bridgeWant(exitOK, "list"); !strings.Contains(out, "can be migrated") || !strings.Contains(out, "address 10.9.0.250/24") {
		t.Errorf("list says\n%s", out)
	}
	s.migrate()
	s.bridgeWant(exitOK, "confirm", "br0")

	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.apply("  audit: {sources: [{role: all}], destinations: [{interface: vif-audit}]}\n")
	s.settle()
	atAudit := s.capture(audit)
	want := frames(s.exchange(a, b, 10), a, b)
	arp := ovstest.ARP(a, ovstest.Station{IP: netip.MustParseAddr("10.9.0.250")})
	atA := s.capture(a)
	s.send(a, arp)
	s.check(atA.Wait(s.ctx, func(list []ovstest.Frame) bool { return len(list) > 0 }))
	for _, f := range atA.Frames() { // the host's answer
		want = append(want, f.Data)
	}
	s.check(atAudit.Fence(s.ctx, a, audit))
	s.wantExactly(atAudit, append(want, arp)...)

	late := s.add(ovstest.GuestConfig{Name: "late", Bridge: "br0"})
	s.exchange(a, late, 2)
	s.want(exitOK, "delete", "--all")
	s.bridgeWant(exitOK, "revert", "br0")
	if master := s.host("ip", "link", "show", "dev", late.Port()); !strings.Contains(master, "master br0") {
		t.Errorf("the guest that has joined since is left out:\n%s", master)
	}
	s.exchange(a, late, 2)
	s.host("ip", "link", "set", "dev", late.Port(), "nomaster")
	s.wantLinuxBridge("the way back", before)
	if got := s.journal().Phase; got != migrate.Reverted {
		t.Errorf("the journal says %s", got)
	}
}

// TestE2EBridgeGoesBackFromUnderSessions has a guest's port on a tap bridge when the migration is put back: it comes back too.
func TestE2EBridgeGoesBackFromUnderSessions(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b", "audit", "sensor")
	before := s.linuxBridge()
	s.migrate("--confirm", "10m")
	s.apply("  audit: {sources: [{role: all}], exclude: [{protocol: tcp}], destinations: [{interface: vif-audit}]}\n")
	if got := s.vsctl("port-to-br", "vif-audit"); !strings.HasPrefix(got, "spanctl-") {
		t.Fatalf("the audit guest is on %s", got)
	}
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantSameText("the bridge", before, s.linuxBridge())
	s.exchange(s.guests["b"], s.guests["audit"], 2)
}
