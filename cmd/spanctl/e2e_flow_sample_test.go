package main

import (
	"math/rand/v2"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// pairs are fragments of datagrams of n pairs of addresses, IPv4 and IPv6: of each pair the first, the middle and the last
// of one there and one back.
func pairs(a, b ovstest.Endpoint, n int) []dialogue {
	random := rand.New(rand.NewPCG(3, 4))
	var list []dialogue
	for i := range n {
		from, to := randomAddress(random, a, 4+2*(i&1)), randomAddress(random, b, 4+2*(i&1))
		datagram := func(from, to ovstest.Endpoint, sport, dport uint16) [][]byte {
			return split(ovstest.UDP(from, to, sport, dport, append(ovstest.Payload("whole"), make([]byte, 64)...)))
		}
		there, back := datagram(from, to, 5000, 53), datagram(to, from, 53, 5000)
		for part := range there {
			list = append(list, dialogue{there[part], back[part]})
		}
	}
	return list
}

// parts is how many fragments there are of one datagram.
const parts = 3

// One connection in four is copied, both its directions; and so is one pair of addresses in four whose datagrams come in
// fragments, all of them.
func TestE2EFlowSampleKeepsOneInFour(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b := s.guests["a"], s.guests["b"]
	s.greet(a, b)
	s.apply("  audit: {sources: [{vm: a}], destinations: [{vm: audit}], sample: 1/4}\n")
	s.settle()
	s.wantSampled("whole", a, b, dialogues(a, b, 4000), 1, "audit")
	s.wantSampled("fragments", a, b, pairs(a, b, 1000), parts, "audit")
	s.wantNoChanges()
}

// Of what is sampled each sensor has a third, and nothing is split.
func TestE2EFlowSampleIsBalanced(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "one", "two")
	a, b, three := s.guests["a"], s.guests["b"], s.collector("three")
	s.greet(a, b)
	s.apply(strings.Replace("  ids: {sources: [{vm: '[ab]', direction: from}], destinations: [{vm: one}, {vm: two}, {erspan: {remote: THREE, session: 100}}], sample: 1/4, balance: flow}\n",
		"THREE", three.Addr().String(), 1))
	s.settle()
	s.wantSampled("whole", a, b, dialogues(a, b, 4000), 1, "one", "two", "three")
	s.wantSampled("fragments", a, b, pairs(a, b, 1000), parts, "one", "two", "three")
	s.wantNoChanges()
}

// wantSampled wants a quarter of the connections at the places, evenly, each whole at one of them; those that stand together,
// so many of them, at the same.
func (s *site) wantSampled(what string, a, b *ovstest.Guest, list []dialogue, together int, places ...string) {
	s.Helper()
	where, ok := s.spread(a, b, list, places...)
	if !ok {
		s.Errorf("%s: connections are split, or have frames that are copied twice", what)
	}
	var each spread
	for i := range where {
		if where[i] != where[i/together*together] {
			s.Errorf("%s: of %d one part goes to %q and another to %q", what, i/together, where[i/together*together], where[i])
		}
		if i%together == 0 {
			each = append(each, where[i])
		}
	}
	shares := each.shares()
	kept := len(each) - shares[""]
	s.Logf("%s: %d of %d: %v", what, kept, len(each), shares)
	s.wantShare(what, kept, len(each), 1./4)
	for _, place := range places {
		s.wantShare(what+" at "+place, shares[place], kept, 1/float64(len(places)))
	}
}
