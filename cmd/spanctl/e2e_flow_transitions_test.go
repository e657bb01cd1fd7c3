package main

import (
	"testing"

	"spanctl/policy/plan"
)

// A session goes through the tiers and back under connections that run on: each time they follow, no frame of theirs is lost,
// and once they follow no copy is lost or double. In the end every row is as it was, and so are the numbers of ports, those
// that somebody asked for too.
func TestE2EFlowRunningConnectionsFollowBetweenTiers(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	s.vsctl("set", "Interface", "vif-audit", "ofport_request=77")
	s.await("the number that was asked for", func() bool { return s.vsctl("get", "Interface", "vif-audit", "ofport") == "77" })
	s.greet(s.guests["a"], s.guests["b"])
	s.before = s.database()
	const (
		both = "destinations: [{vm: audit}, {vm: second}, {erspan: {remote: ONE, session: 100}}]"
		one  = "destinations: [{vm: audit}]"
		from = "{sources: [{role: all, bridge: 'br[01]'}], "
		here = "{sources: [{role: all, bridge: br0}], "
		drbd = "exclude: [{protocol: tcp, port: 7788-7799}], "
		ours = "exclude: [{protocol: udp, port: 40000}], " // the connections that run
	)
	const unasked = "" // status has to wait for the first statistics of a mirror
	everywhere := map[string]string{"audit": "abcd", "second": "abcd", "one: erspan II session 100 index 0": "abcd"}
	s.exchangeBoth(3)
	for _, c := range []struct {
		stage
		tier plan.Tier
	}{
		{stage{"direct", here + one + "}", map[string]string{"audit": "ab"}}, unasked},
		{stage{"hub", from + both + "}", everywhere}, plan.TierHub},
		{stage{"flow", from + drbd + both + "}", everywhere}, plan.TierFlow},
		{stage{"they are excluded", from + ours + both + "}", map[string]string{"one: erspan II session 100 index 0": ""}}, plan.TierFlow},
		{stage{"and no longer", from + "include: [{protocol: udp}, {ethertype: 0x88b5}], " + both + "}", everywhere}, plan.TierFlow},
		{stage{"hub again", from + both + "}", everywhere}, plan.TierHub},
		{stage{"direct again", here + one + "}", map[string]string{"audit": "ab"}}, plan.TierDirect},
		{stage{"straight to flow", here + drbd + one + "}", map[string]string{"audit": "ab"}}, plan.TierFlow},
		{stage{"and straight back", here + one + "}", map[string]string{"audit": "ab"}}, plan.TierDirect},
		{stage{"flow with other destinations", from + drbd + "destinations: [{vm: second}, {gre: {remote: TWO, key: 7}}]}", map[string]string{"second": "abcd", "two: gre key 7": "abcd"}}, unasked},
	} {
		s.part(c.name, func(s *watchedSite) {
			a, b := s.guests["a"], s.guests["b"]
			atA, atB, atAudit := s.capture(a), s.capture(b), s.capture(s.guests["audit"])
			stop := s.runs(a, b)
			s.apply("  audit: " + s.addressed(c.policy) + "\n")
			sent := stop()
			s.check(atA.Fence(s.ctx, b, a))
			s.check(atB.Fence(s.ctx, a, b))
			s.wantExactly(atA, frames(sent, b)...)
			s.wantExactly(atB, frames(sent, a)...)
			copies := copied(atAudit, false)
			none, double := 0, 0
			for _, one := range sent {
				if n := copies[string(one.Frame)]; n > 1 {
					double++
				} else if n == 0 {
					none++
				}
			}
			t.Logf("%s: while it changes, of %d frames %d are copied to audit, %d of them twice", c.name, len(sent), len(sent)-none, double)
			s.wantCopiedAt(c.at)
			s.wantNoChanges()
			if c.tier == unasked {
				return
			}
			if h := s.status(exitOK)["audit"]; h.State != plan.StateActive || h.Tier != c.tier {
				s.Errorf("status: %s in tier %s, want %s", h.State, h.Tier, c.tier)
			}
		})
	}
	s.want(exitOK, "delete", "--all")
	s.wantCopiedAt(nil)
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
	if n := s.vsctl("get", "Interface", "vif-audit", "ofport", "ofport_request"); n != "77\n77" {
		t.Errorf("the audit guest has the number %q", n)
	}
}
