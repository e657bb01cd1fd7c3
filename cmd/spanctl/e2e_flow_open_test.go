package main

import (
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// What a session with fail: open leaves out is left out while the rules are there, and copied while ovs-vswitchd has
// lost them; with fail: closed nothing is copied then. Apply puts the rules back. Nothing that the audit guest sends
// gets anywhere.
func TestE2EFlowFailsOpenOrClosed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	second := s.add(ovstest.GuestConfig{Name: "second", Tag: 7})
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	before := s.database()
	s.apply(`
  open: {sources: [{vm: a, direction: from}], exclude: [{protocol: udp, dst_port: 7788-7799}], fail: open, destinations: [{vm: audit}]}
  closed: {sources: [{vm: a, direction: from}], exclude: [{protocol: udp, dst_port: 7788-7799}], destinations: [{vm: second}]}
`)
	s.wantNoChanges()
	crossing := func(copied, left func(yes, no []byte) [][]byte) {
		t.Helper()
		atOpen, atClosed, atB := s.capture(audit), s.capture(second), s.capture(b)
		yes, no := ovstest.UDP(a, b, 1000, 7800, ovstest.Payload("yes")), ovstest.UDP(a, b, 1000, 7790, ovstest.Payload("no"))
		s.send(a, yes, no, ovstest.Tagged(no, 10))
		for _, g := range []*ovstest.Guest{audit, second} {
			s.send(g, ovstest.UDP(g, ovstest.Broadcast, 1, 2, ovstest.Payload("injected")), ovstest.Tagged(ovstest.UDP(g, b, 1, 2, ovstest.Payload("injected")), 4095))
		}
		s.check(atB.Fence(s.ctx, a, b))
		s.check(atOpen.Fence(s.ctx, a, b))
		s.wantExactly(atOpen, copied(yes, no)...)
		s.wantExactly(atClosed, left(yes, no)...)
		s.wantExactly(atB, yes, no, ovstest.Tagged(no, 10))
	}
	filtered := func(yes, _ []byte) [][]byte { return [][]byte{yes} }
	everything := func(yes, no []byte) [][]byte { return [][]byte{yes, no, ovstest.Tagged(no, 10)} }
	nothing := func(_, _ []byte) [][]byte { return nil }
	crossing(filtered, filtered)
	s.lab.KillVSwitchd()
	s.check(s.lab.StartVSwitchd(s.ctx))
	crossing(everything, nothing)
	health := s.status(exitDegraded)
	for _, name := range []string{"open", "closed"} {
		if problems := strings.Join(health[name].Problems, "; "); !strings.Contains(problems, "forgets rules") {
			t.Errorf("status of %s: %s", name, problems)
		}
	}
	s.want(exitOK, "apply")
	s.settle()
	crossing(filtered, filtered)
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", before, s.database(), ofItself, configuration)
}
