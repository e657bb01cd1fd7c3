package main

import (
	"encoding/json"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// A server whose mirrors have a filter (OVS 3.4) copies by it what one include chooses, in the direct tier; any other by rules.
// Two sessions with the same destination and other filters need rules on either. All copy the same.
func TestE2EFlowIncludeIsAFilterWhereThereIsOne(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.greet(a, b)
	_, err := s.lab.VSCtl(s.ctx, "--columns=filter", "list", "Mirror")
	filters := err == nil
	before := s.database()
	const (
		web  = "  web: {sources: [{vm: '[ab]', direction: from}], include: [{ethertype: ipv4, protocol: tcp, dst_port: 80}], destinations: [{vm: audit}]}\n"
		arp  = "  arp: {sources: [{vm: '[ab]', direction: from}], include: [{ethertype: arp}], destinations: [{vm: audit}]}\n"
		both = "  web: {sources: [{vm: '[ab]', direction: from}], include: [{protocol: tcp, dst_port: 80}], destinations: [{vm: audit}]}\n" // IPv6 too
	)
	alone := map[bool]plan.Tier{true: plan.TierDirect, false: plan.TierFlow}[filters]
	for _, c := range []struct {
		name, sessions string
		web, arp, web6 bool
		tier           plan.Tier
		filtered       bool
	}{
		{"one match", web, true, false, false, alone, filters},
		{"another", arp, false, true, false, alone, filters},
		{"two sessions", web + arp, true, true, false, plan.TierFlow, false},
		{"one again", arp, false, true, false, alone, filters},
		{"two matches", both, true, false, true, plan.TierFlow, false},
		{"one match again", web, true, false, false, alone, filters},
	} {
		s.sub(c.name, func(s *site) {
			s.apply(c.sessions, "--prune")
			s.settle()
			atAudit, atB := s.capture(audit), s.capture(b)
			page, page6 := tcp(quiet(a), quiet(b), 1000, 80), tcp(six(a), six(b), 1000, 80)
			other, question := udp(a, b), ovstest.ARP(a, ovstest.Station{IP: quiet(b).IP})
			back := tcp(quiet(b), quiet(a), 80, 1000)
			sent := [][]byte{page, ovstest.Tagged(page, 10), page6, other, tcp(quiet(a), quiet(b), 80, 81), question, ovstest.Tagged(question, 10)}
			s.send(a, sent...)
			s.send(b, back)
			var copies [][]byte
			if c.web {
				copies = append(copies, page, ovstest.Tagged(page, 10))
			}
			if c.web6 {
				copies = append(copies, page6)
			}
			if c.arp {
				copies = append(copies, question, ovstest.Tagged(question, 10))
			}
			s.check(atB.Fence(s.ctx, a, b))
			s.wantExactly(atB, sent...)
			s.check(atAudit.FenceFrame(s.ctx, a, func(payload []byte) []byte {
				if c.web {
					return tcpOf(quiet(a), quiet(b), 9, 80, payload)
				}
				return append(ovstest.ARP(a, ovstest.Station{IP: quiet(b).IP}), payload...)
			}))
			s.wantExactly(atAudit, copies...)
			s.wantNoChanges()
			var doc jsonPlan
			s.check(json.Unmarshal([]byte(s.want(exitOK, "plan", "-o", "json")), &doc))
			for _, session := range doc.Sessions {
				if session.Tier != c.tier {
					s.Errorf("session %s is in tier %s, want %s", session.Name, session.Tier, c.tier)
				}
			}
			if taps := s.taps(); (len(taps) == 0) != (c.tier == plan.TierDirect) {
				s.Errorf("tap bridges are %s", taps)
			}
			if filters {
				if got := s.vsctl("--bare", "--columns=filter", "list", "Mirror"); (got != "") != c.filtered {
					s.Errorf("mirrors filter %q", got)
				}
			}
		})
	}
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", before, s.database(), ofItself, configuration)
	t.Logf("mirrors filter: %v", filters)
}
