package main

import (
	"slices"
	"testing"

	"spanctl/ovs/ovstest"
)

// What becomes of a local sensor moves its connections to the others, those that run too, and no others; when it is back,
// they are.
func TestE2EFlowBalanceHandsOver(t *testing.T) {
	t.Parallel()
	s := newBalanced(t, "gre: {remote: THREE, key: 7}")
	a, b, one := s.guests["a"], s.guests["b"], s.guests["one"]
	list := dialogues(a, b, 1000)
	before := s.wantSpread(a, b, list, "one", "two", "three")
	t.Logf("at first: %v", before.shares())
	goes := func(s *site) { s.check(one.Stop(s.ctx)) }
	comes := func(s *site) {
		s.check(one.Start(s.ctx))
		s.want(exitOK, "apply")
	}
	for _, c := range []struct {
		name     string
		down, up func(s *site)
	}{
		{"link down", func(s *site) { s.link(one, "down") }, func(s *site) { s.link(one, "up") }},
		{"device gone", func(s *site) { s.check(one.Vanish(s.ctx)) }, func(s *site) {
			goes(s)
			comes(s)
		}},
		{"port deleted", goes, comes},
		{"stopped, and apply", func(s *site) {
			goes(s)
			s.want(exitDegraded, "apply")
		}, comes},
		{"back under another name", func(s *site) {
			goes(s)
			s.want(exitDegraded, "apply")
			s.check(one.Rename("vif-other"))
		}, comes},
	} {
		s.sub(c.name, func(s *site) {
			c.down(s)
			after := s.awaitSpread(a, b, list, "two", "three")
			moved := spread{}
			for i := range list {
				switch {
				case before[i] == "one":
					moved = append(moved, after[i])
				case before[i] != after[i]:
					s.Errorf("connection %d moves from %s to %s", i, before[i], after[i])
				}
			}
			t.Logf("%s: %d connections move: %v", c.name, len(moved), moved.shares())
			for name, n := range moved.shares() {
				s.wantShare(name, n, len(moved), 1./2)
			}
			c.up(s)
			s.await("all connections to be where they were", func() bool {
				where, ok := s.spread(a, b, list, "one", "two", "three")
				return ok && slices.Equal(where, before)
			})
			s.wantNoChanges()
		})
	}
}

// awaitSpread returns where the connections are when each is whole at one place: running ones follow what happens to a port
// one after the other.
func (s *site) awaitSpread(a, b *ovstest.Guest, list []dialogue, live ...string) (where spread) {
	s.Helper()
	s.await("all connections to be whole", func() bool {
		ok := false
		where, ok = s.spread(a, b, list, live...)
		return ok && where.shares()[""] == 0
	})
	return where
}
