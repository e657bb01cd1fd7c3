package main

import (
	"net/netip"
	"testing"

	"spanctl/ovs/ovstest"
)

// The hub is in the database alone: it is there again with ovs-vswitchd, and copies from the first packet on. (What the
// host knows of its neighbours is given back by the lab, as it is by a host.)
func TestE2EHubOutlivesOVSVSwitchd(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	one, six := s.collector("sensor"), s.addCollector(ovstest.CollectorConfig{
		Name: "six", MTU: 1600, Host: netip.MustParsePrefix("2001:db8::1/64"), IP: netip.MustParsePrefix("2001:db8::10/64"),
	})
	session, tunnels := sixDestinations(one.Addr())
	s.apply(session + `      - gre: {remote: "` + six.Addr().String() + `", key: 8}
      - erspan: {remote: "` + six.Addr().String() + `", session: 100}
`)
	before := s.database()
	for range 2 {
		s.lab.KillVSwitchd()
		s.check(s.lab.StartVSwitchd(s.ctx))
		s.announce(one)
		s.announce(six)
		s.wantSame("after restart", before, s.database(), ofItself, configuration)
		atAudit, atOne, atSix := s.capture(s.guests["audit"]), s.capture(one), s.capture(six)
		said := s.said()
		var copies [][]byte
		for _, pair := range [][2]string{{"a", "b"}, {"c", "d"}} {
			from, to := s.guests[pair[0]], s.guests[pair[1]]
			atTo := s.capture(to)
			sent := s.exchange(from, to, 20)
			copies = append(copies, frames(sent, from, to)...)
			s.check(atTo.Fence(s.ctx, from, to))
			s.wantExactly(atTo, frames(sent, from)...)
		}
		for _, c := range []*ovstest.Capture{atAudit, atOne, atSix} {
			s.check(c.Fence(s.ctx, s.guests["a"], s.guests["b"]))
		}
		s.wantExactly(atAudit, copies...)
		s.wantTunnels(atOne, tunnels, copies...)
		s.wantTunnels(atSix, []string{"gre key 8", "erspan II session 100 index 0"}, copies...)
		s.wantSilence(said)
		s.wantNoChanges()
	}
}
