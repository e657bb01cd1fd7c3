package main

import (
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// The hub tests (e2e_hub_*_test.go) copy two bridges to guests and tunnels at once, by a tap bridge.

// newHubSite is a site with guests a and b on br0, c and d on br1, which know each other, and the audit guest on br0.
func newHubSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "a", "b", "audit")
	s.check(s.lab.AddBridge(s.ctx, "br1"))
	for _, name := range []string{"c", "d"} {
		s.add(ovstest.GuestConfig{Name: name, Bridge: "br1"})
	}
	s.greet(s.guests["a"], s.guests["b"])
	s.greet(s.guests["c"], s.guests["d"])
	return s
}

// collector adds a receiver of tunnels behind br-ext, on a path that carries full-size frames and their tunnel headers.
func (s *site) collector(name string) *ovstest.Guest {
	s.Helper()
	return s.addCollector(ovstest.CollectorConfig{Name: name, MTU: 1600})
}

// addCollector adds a receiver of tunnels whose place is known to its underlay.
func (s *site) addCollector(cfg ovstest.CollectorConfig) *ovstest.Guest {
	s.Helper()
	g, err := s.lab.AddCollector(s.ctx, cfg)
	s.check(err)
	s.guests[cfg.Name] = g
	s.announce(g)
	return g
}

// announce makes the underlay know the collector's place: what is for it is not flooded to others.
func (s *site) announce(g *ovstest.Guest) {
	s.Helper()
	s.send(g, ovstest.Raw(g, ovstest.Broadcast.HardwareAddr(), 0x88b5, ovstest.Payload("here I am")))
	s.await("the place of "+g.Name(), func() bool {
		out, err := s.lab.AppCtl(s.ctx, "fdb/show", g.Bridge())
		s.check(err)
		return strings.Contains(out, g.HardwareAddr().String())
	})
}

// said is what ovs-vswitchd has logged, but for lines on how busy the machine is.
func (s *site) said() []string {
	s.Helper()
	log, err := s.lab.VSwitchdLog()
	s.check(err)
	var list []string
	for line := range strings.Lines(log) {
		fields := strings.SplitN(line, "|", 4) // time, number, module, the rest
		if len(fields) == 4 {
			module, _, _ := strings.Cut(fields[2], "(") // of a thread: timeval(handler2)
			if slices.Contains([]string{"timeval", "poll_loop", "ovs_rcu", "coverage", "memory"}, module) {
				continue
			}
		}
		list = append(list, strings.TrimSpace(line))
	}
	return list
}

// wantSilence wants ovs-vswitchd to have said no more than that.
func (s *site) wantSilence(said []string) {
	s.Helper()
	if more := s.said()[len(said):]; len(more) != 0 {
		s.Errorf("ovs-vswitchd says:\n%s", strings.Join(more, "\n"))
	}
}
