package main

import (
	"path/filepath"
	"testing"

	"spanctl/ovs/ovstest"
)

// A plan with rules is applied from its file, and is stale when its rules are no longer what would be done.
func TestE2EFlowPlanFile(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	policy := s.policy("  one: {sources: [{role: all}], exclude: [{protocol: udp, port: 7788}], destinations: [{vm: audit}]}\n")
	file := filepath.Join(t.TempDir(), "change.plan")
	s.want(exitOK, "plan", "-f", policy, "--out", file)
	s.want(exitOK, "apply", file)
	s.wantNoChanges()
	a, b := s.guests["a"], s.guests["b"]
	at := s.capture(s.guests["audit"])
	yes := ovstest.UDP(a, b, 1000, 7789, ovstest.Payload("yes"))
	s.send(a, yes, ovstest.UDP(a, b, 1000, 7788, ovstest.Payload("no")))
	s.check(at.Fence(s.ctx, a, b))
	s.wantExactly(at, yes)

	before := s.database()
	s.want(exitConflict, "apply", file)
	other := s.policy("  one: {sources: [{role: all}], exclude: [{protocol: udp, port: 7790}], destinations: [{vm: audit}]}\n")
	s.want(exitOK, "plan", "-f", other, "--out", file)
	_, err := s.lab.OFCtl(s.ctx, "-O", "OpenFlow14", "del-flows", s.status(exitOK)["one"].Bridge)
	s.check(err)
	s.want(exitConflict, "apply", file) // there are fewer rules to delete by now
	s.wantSame("stale", before, s.database(), ofItself)
	s.want(exitOK, "plan", "-f", other, "--out", file)
	s.want(exitOK, "apply", file)
	s.wantNoChanges()
}
