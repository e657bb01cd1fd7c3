package main

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A dialogue is a frame of a connection, and one of its other direction.
type dialogue struct{ there, back []byte }

// dialogues are n connections between two guests, over TCP and UDP, IPv4 and IPv6, with tags and without: the same each time.
func dialogues(a, b ovstest.Endpoint, n int) []dialogue {
	random := rand.New(rand.NewPCG(1, 2))
	list := make([]dialogue, n)
	for i := range list {
		version := 4 + 2*(i&1)
		from, to := randomAddress(random, a, version), randomAddress(random, b, version)
		port, service := uint16(1024+random.UintN(60000)), []uint16{53, 80, 443, 8080}[random.UintN(4)]
		d := dialogue{tcp(from, to, port, service), tcp(to, from, service, port)}
		if i&2 != 0 {
			d = dialogue{ovstest.UDP(from, to, port, service, ovstest.Payload("there")), ovstest.UDP(to, from, service, port, ovstest.Payload("back"))}
		}
		if i&12 == 12 {
			d = dialogue{ovstest.Tagged(d.there, 10), ovstest.Tagged(d.back, 10)}
		}
		list[i] = d
	}
	return list
}

// randomAddress is the endpoint with another address, of IP version 4 or 6.
func randomAddress(random *rand.Rand, e ovstest.Endpoint, version int) ovstest.Station {
	number := random.Uint32()
	if version == 6 {
		return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom16([16]byte{0: 0xfd, 13: byte(number >> 16), 14: byte(number >> 8), 15: byte(number)})}
	}
	return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom4([4]byte{10, byte(128 | number>>16), byte(number >> 8), byte(number)})}
}

// converse sends all frames from a to b and back, no more at a time than the switch takes, and wants both to have them.
func (s *site) converse(a, b *ovstest.Guest, list []dialogue) {
	s.Helper()
	atA, atB := s.capture(a), s.capture(b)
	var forA, forB [][]byte
	for i, d := range list {
		s.send(a, d.there)
		s.send(b, d.back)
		forA, forB = append(forA, d.back), append(forB, d.there)
		if i%50 == 49 || i == len(list)-1 {
			for _, c := range []*ovstest.Capture{atA, atB} {
				s.check(c.Wait(s.ctx, func(f []ovstest.Frame) bool { return len(f) > i }))
			}
		}
	}
	s.wantExactly(atA, forA...)
	s.wantExactly(atB, forB...)
	s.check(atA.Close())
	s.check(atB.Close())
}

// fenceSome is a fence at a place that has only some connections: one at least of these.
func (s *site) fenceSome(c *ovstest.Capture, from, to *ovstest.Guest) {
	s.Helper()
	for range 3 {
		payload := ovstest.Payload("fence")
		for port := range uint16(100) {
			s.send(from, ovstest.UDP(quiet(from), quiet(to), 10000+port, 9, payload))
		}
		s.check(c.WaitPayload(s.ctx, payload, 1))
	}
}

// copied are the frames that have been copied to a place, how often each: what came, or what came by tunnels.
func copied(c *ovstest.Capture, tunnels bool) map[string]int {
	times := map[string]int{}
	for _, f := range c.Frames() {
		if !tunnels {
			times[string(f.Data)]++
		} else if a, ok := decode(f.Data); ok {
			times[string(a.inner)]++
		}
	}
	return times
}

// A spread is where the copies of each connection went, by its number: empty if nowhere.
type spread []string

// spread lets connections run, and says to which of the guests and collectors the copies of each go. It is not ok if there is
// one whose directions part, or a frame of which there are several.
func (s *site) spread(a, b *ovstest.Guest, list []dialogue, live ...string) (where spread, ok bool) {
	s.Helper()
	captures := map[string]*ovstest.Capture{}
	for _, name := range live {
		captures[name] = s.capture(s.guests[name])
	}
	s.converse(a, b, list)
	where, ok = make(spread, len(list)), true
	for _, name := range live {
		c := captures[name]
		s.fenceSome(c, a, b)
		s.check(c.Close())
		times := copied(c, s.guests[name].Bridge() == "br-ext")
		for i, d := range list {
			there, back := times[string(d.there)], times[string(d.back)]
			switch {
			case there == 0 && back == 0:
			case there != 1 || back != 1 || where[i] != "":
				ok = false
			default:
				where[i] = name
			}
		}
	}
	return where, ok
}

// shares is how many connections each place has.
func (w spread) shares() map[string]int {
	n := map[string]int{}
	for _, name := range w {
		n[name]++
	}
	return n
}

// wantShare wants n of total to be the share p, but for chance: five standard deviations.
func (s *site) wantShare(what string, n, total int, p float64) {
	s.Helper()
	if mean := float64(total) * p; math.Abs(float64(n)-mean) > 5*math.Sqrt(mean*(1-p)) {
		s.Errorf("%s: %d of %d, want about %.0f", what, n, total, mean)
	}
}

// wantSpread wants every connection to be whole at one of the places.
func (s *site) wantSpread(a, b *ovstest.Guest, list []dialogue, live ...string) spread {
	s.Helper()
	where, ok := s.spread(a, b, list, live...)
	if !ok {
		s.Error("connections are split, or have frames that are copied twice")
	}
	if n := where.shares()[""]; n != 0 {
		s.Errorf("%d connections of %d are copied nowhere", n, len(list))
	}
	return where
}

// Ten thousand connections go to three sensors, each whole to one, and about a third to each.
func TestE2EFlowBalanceKeepsConnectionsWhole(t *testing.T) {
	t.Parallel()
	s := newBalanced(t, "erspan: {remote: THREE, session: 100}")
	list := dialogues(s.guests["a"], s.guests["b"], 10_000)
	where := s.wantSpread(s.guests["a"], s.guests["b"], list, "one", "two", "three")
	t.Logf("%d connections: %v", len(list), where.shares())
	for name, n := range where.shares() {
		s.wantShare(name, n, len(list), 1./3)
	}
	s.wantNoChanges()
}

// newBalanced is a site with guests a and b whose connections are balanced over the guests one and two and a tunnel to the
// collector THREE.
func newBalanced(t *testing.T, tunnel string) *site {
	t.Helper()
	s := newSite(t, "a", "b", "one", "two")
	three := s.collector("three")
	s.greet(s.guests["a"], s.guests["b"])
	s.apply(strings.Replace("  ids: {sources: [{vm: a}], destinations: [{vm: one}, {vm: two}, {"+tunnel+"}], balance: flow}\n", "THREE", three.Addr().String(), 1))
	s.settle()
	return s
}
