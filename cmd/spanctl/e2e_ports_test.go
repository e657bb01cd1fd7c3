package main

import (
	"fmt"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// What an access port sends and receives is in its VLAN, whichever side of the port the mirror looks at.
func TestE2EAccessPortsAreInTheirVLAN(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	c := s.add(ovstest.GuestConfig{Name: "c", Tag: 10})
	d := s.add(ovstest.GuestConfig{Name: "d", Tag: 10, PortColumns: []string{"vlan_mode=native-untagged"}})
	s.greet(a, b, c, d)
	in10 := func(frame []byte) []byte { return ovstest.Tagged(frame, 10) }
	for _, one := range []struct {
		sources        string
		cd, ca, ad, ab bool // what is copied of c to d, c to a, a to d (VLAN 10), a to b (untagged)
	}{
		{"{role: all, vlans: [10]}", true, true, true, false},
		{"{role: all, vlans: [0]}", false, false, false, true},
		{"{vm: c, direction: from, vlans: [10]}", true, true, false, false},
		{"{vm: d, direction: to, vlans: [10]}", true, false, true, false},
		{"{vm: '[cd]', vlans: [0, 20]}, {vm: b}", false, false, false, true},
	} {
		s.sub(one.sources, func(s *site) {
			// b's side shows, in every case, that all has arrived.
			s.apply("  audit: {sources: [" + one.sources + ", {vm: b, vlans: [20]}], destinations: [{vm: audit}]}\n")
			s.settle()
			atAudit := s.capture(audit)
			cd, ca, ad, ab := udp(c, d), udp(c, a), udp(a, d), udp(a, b)
			s.send(c, cd, ca)
			s.send(a, in10(ad), ab)
			s.check(atAudit.FenceFrame(s.ctx, a, func(payload []byte) []byte {
				return ovstest.Tagged(ovstest.UDP(a, b, 9, 9, payload), 20)
			}))
			var want [][]byte
			for _, frame := range []struct {
				copied bool
				frame  []byte
			}{{one.cd, in10(cd)}, {one.ca, in10(ca)}, {one.ad, in10(ad)}, {one.ab, ab}} {
				if frame.copied {
					want = append(want, frame.frame)
				}
			}
			s.wantExactly(atAudit, want...)
		})
	}
}

// A bond is one uplink: its members are not, and a member's name selects it.
func TestE2EBondIsOneUplink(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b, x, y := s.guests["a"], s.guests["b"], s.uplink("x"), s.uplink("y")
	s.vsctl("--", "del-port", x.Port(), "--", "del-port", y.Port(), "--", "add-bond", "br0", "bond0", x.Port(), y.Port(),
		"bond_mode=active-backup", "other_config:bond-primary="+x.Port())
	s.greet(a, b, x)
	for _, sources := range []string{"role: uplink", "interface: bond0", "interface: " + y.Port(), "role: all"} {
		s.sub(sources, func(s *site) {
			s.apply("  audit: {sources: [{" + sources + "}], destinations: [{vm: audit}]}\n")
			s.settle()
			atAudit := s.capture(s.guests["audit"])
			want := frames(s.exchange(a, x, 10), a, x)
			all := udp(a, ovstest.Broadcast)
			s.send(a, all)
			want = append(want, all)
			if inside := frames(s.exchange(a, b, 10), a, b); sources == "role: all" {
				want = append(want, inside...)
			}
			s.check(atAudit.Fence(s.ctx, a, x))
			s.wantExactly(atAudit, want...)
		})
	}
}

// Of two bridges joined by a patch the named one is copied: what enters or leaves it by a real port, once.
func TestE2EOnlyTheNamedBridgeIsCopied(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.check(s.lab.AddBridge(s.ctx, "br1"))
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	x, y := s.add(ovstest.GuestConfig{Name: "x", Bridge: "br1"}), s.add(ovstest.GuestConfig{Name: "y", Bridge: "br1"})
	for _, joined := range []bool{false, true} {
		s.sub(fmt.Sprintf("joined %v", joined), func(s *site) {
			if joined {
				s.vsctl("--", "add-port", "br0", "to1", "--", "set", "Interface", "to1", "type=patch", "options:peer=to0",
					"--", "add-port", "br1", "to0", "--", "set", "Interface", "to0", "type=patch", "options:peer=to1")
				s.greet(a, b, x, y)
			}
			s.apply("  audit: {sources: [{role: all, bridge: br0}], destinations: [{vm: audit}]}\n")
			s.settle()
			atAudit := s.capture(audit)
			s.exchange(x, y, 10)
			want := frames(s.exchange(a, b, 10), a, b)
			if joined {
				want = append(want, frames(s.exchange(a, x, 10), a, x)...)
				all := [][]byte{udp(a, ovstest.Broadcast), udp(x, ovstest.Broadcast)}
				s.send(a, all[0])
				s.send(x, all[1])
				s.check(atAudit.Fence(s.ctx, x, a))
				want = append(want, all...)
			}
			s.check(atAudit.Fence(s.ctx, a, b))
			s.wantExactly(atAudit, want...)
		})
	}
}

// Where a session lists its ports, a guest that starts again is not copied before the next apply, and status says so.
func TestE2EStatusTellsOfARestartedGuestThatIsNotCopied(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "c", "audit")
	a, b, c, audit := s.guests["a"], s.guests["b"], s.guests["c"], s.guests["audit"]
	s.apply("  audit: {sources: [{vm: '[bc]'}], destinations: [{vm: audit}]}\n")
	s.greet(a, b, c)
	s.check(b.Stop(s.ctx))
	if h := s.status(exitOK)["audit"]; h.State != plan.StateActive || h.Sources != 1 {
		t.Errorf("status without b is %+v", h)
	}
	s.check(b.Start(s.ctx))
	h := s.status(exitDegraded)["audit"]
	if told := strings.Join(h.Blind, " "); h.State != plan.StateDegraded || h.Copied != 1 || h.Sources != 2 || told != b.Port() {
		t.Errorf("status with b back is %+v", h)
	}
	s.exchange(a, b, 2) // the switch learns where b is now: what is flooded reaches c, and is copied
	s.settle()
	atAudit := s.capture(audit)
	s.exchange(a, b, 10)
	s.check(atAudit.Fence(s.ctx, a, c))
	s.wantExactly(atAudit) // as status says
	s.want(exitOK, "apply")
	s.wantCopied(b, a, audit, 10)
	s.status(exitOK)
}
