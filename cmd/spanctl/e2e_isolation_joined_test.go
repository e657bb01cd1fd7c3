package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// Two production bridges that patch ports join are one network: what crosses is copied on both, plan says so and names
// the selection that has each packet once, and that has.
func TestE2EJoinedBridges(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b")
	s.check(s.lab.AddBridge(s.ctx, "br1", "br9"))
	for _, name := range []string{"c", "d"} {
		s.add(ovstest.GuestConfig{Name: name, Bridge: "br1"})
	}
	audit := s.add(ovstest.GuestConfig{Name: "audit", Bridge: "br9"})
	s.vsctl("add-port", "br0", "to-br1", "--", "set", "Interface", "to-br1", "type=patch", "options:peer=to-br0",
		"--", "add-port", "br1", "to-br0", "--", "set", "Interface", "to-br0", "type=patch", "options:peer=to-br1")
	a, b, c, d := s.guests["a"], s.guests["b"], s.guests["c"], s.guests["d"]
	s.greet(a, b, c, d)
	s.greet(c, d, a, b)
	const bridges = `bridge: "br[01]"`

	// What stays on its bridge, what crosses, and what no tap bridge takes (ovs-facts 18).
	send := func() (inside, across, never [][]byte) {
		for _, from := range []*ovstest.Guest{a, b, c, d} {
			for _, to := range []ovstest.Endpoint{a, b, c, d, ovstest.Broadcast} {
				guest, _ := to.(*ovstest.Guest)
				if guest == from {
					continue
				}
				frames := [][]byte{udp(from, to), ovstest.Tagged(udp(from, to), 10), ovstest.QinQ(udp(from, to), 10, 20)}
				s.send(from, frames...)
				if guest != nil && guest.Bridge() == from.Bridge() {
					inside = append(inside, frames...)
				} else {
					across = append(across, frames...)
				}
			}
			other := map[*ovstest.Guest]*ovstest.Guest{a: c, b: d, c: a, d: b}[from]
			for _, frame := range oddities(from, other) {
				s.send(from, frame)
				switch {
				case bytes.HasPrefix(frame[12:], []byte{0x81, 0, 0xf, 0xff}): // tagged 4095
					never = append(never, frame)
				case reaches(frame, other):
					across = append(across, frame)
				default: // for the bridge itself
					inside = append(inside, frame)
				}
			}
		}
		return inside, across, never
	}

	out := s.apply("  audit: {sources: [{role: all, " + bridges + "}], destinations: [{vm: audit}]}\n")
	const warning = "session audit: bridges br0, br1 are joined by patch ports, and a packet that crosses several of them is copied on each; to have each packet once, select where it enters: {role: all, direction: from}"
	if !strings.Contains(out, warning) {
		t.Errorf("apply says\n%s\nwant %s", out, warning)
	}
	s.settle()
	atAudit := s.capture(audit)
	inside, across, _ := send()
	s.check(atAudit.Fence(s.ctx, a, b))
	s.check(atAudit.Fence(s.ctx, c, d))
	s.wantExactly(atAudit, slices.Concat(inside, across, across)...)

	out = s.apply("  audit: {sources: [{role: all, direction: from, " + bridges + "}], destinations: [{vm: audit}]}\n")
	if strings.Contains(out, "joined") {
		t.Errorf("apply says\n%s", out)
	}
	s.settle()
	atAudit, atC := s.capture(audit), s.capture(c)
	inside, across, never := send()
	s.check(atAudit.Fence(s.ctx, a, b))
	s.check(atAudit.Fence(s.ctx, c, d))
	s.wantExactly(atAudit, slices.Concat(inside, across)...)
	s.check(atC.Fence(s.ctx, a, c))
	var forC [][]byte
	for _, frame := range slices.Concat(inside, across, never) {
		if string(frame[6:12]) != string(c.HardwareAddr()) && reaches(frame, c) {
			forC = append(forC, frame)
		}
	}
	s.wantExactly(atC, forC...)
	s.status(exitOK)
}
