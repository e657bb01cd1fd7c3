package main

import (
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// A flood is as much traffic as production takes, for some time.
type flood struct {
	frames   int // of both directions
	took     time.Duration
	arrivals []time.Time // of one direction, as they were read
}

// floodSize is that of each of its frames in bytes, without tag.
const floodSize = 1000

// flood floods for a while, and wants production to have all of it.
func (s *site) flood(a, b *ovstest.Guest, tags ...uint16) *flood {
	s.Helper()
	var connections [][2][]byte
	payload := append(ovstest.Payload("flood"), make([]byte, floodSize)...)[:floodSize-42]
	for port := range uint16(40) {
		connections = append(connections, [2][]byte{
			ovstest.Tagged(ovstest.UDP(quiet(a), quiet(b), 20000+port, 443, payload), tags...), ovstest.Tagged(ovstest.UDP(quiet(b), quiet(a), 443, 20000+port, payload), tags...),
		})
	}
	atA, atB := s.capture(a), s.capture(b)
	const long = 1500 * time.Millisecond
	rounds, began := 0, time.Now()
	for ; time.Since(began) < long; rounds++ {
		for _, c := range connections {
			s.send(a, c[0])
			s.send(b, c[1])
		}
		for _, c := range []*ovstest.Capture{atA, atB} {
			s.check(c.Wait(s.ctx, func(frames []ovstest.Frame) bool { return len(frames) >= (rounds+1)*len(connections) }))
		}
	}
	f := &flood{frames: 2 * rounds * len(connections), took: time.Since(began)}
	for _, c := range []*ovstest.Capture{atA, atB} {
		if n := len(c.Frames()); n != f.frames/2 {
			s.Errorf("production has %d frames of %d", n, f.frames/2)
		}
		s.check(c.Close())
	}
	for _, frame := range atB.Frames() {
		f.arrivals = append(f.arrivals, frame.Time)
	}
	return f
}

// allows is how many copies a rate, in copies a second, lets pass of what arrived when it did. At most a tenth of a second's
// worth is saved up, for when nothing comes: on a busy machine that is lost.
func (f *flood) allows(rate float64) (least, most float64) {
	burst := max(1, rate/10)
	bucket, last := burst, f.arrivals[0]
	for _, at := range f.arrivals {
		bucket = min(burst, bucket+rate*at.Sub(last).Seconds())
		last = at
		if taken := min(bucket, 2); taken >= 1 { // one there and one back
			least += float64(int(taken))
			bucket -= float64(int(taken))
		}
	}
	return least, burst + rate*f.took.Seconds()
}

// flooded is how many of the flood's frames were copied, by tunnels or not.
func (s *site) flooded(c *ovstest.Capture, tunnels bool) int {
	n := 0
	for _, f := range c.Frames() {
		frame := f.Data
		if a, ok := decode(frame); ok && tunnels {
			frame = a.inner
		}
		if strings.Contains(string(frame), "<flood/") {
			n++
		}
	}
	return n
}

// fenceLimited is a fence at a place that has only some frames: it sends until one arrives.
func (s *site) fenceLimited(c *ovstest.Capture, from, to *ovstest.Guest) {
	s.Helper()
	payload := ovstest.Payload("fence")
	s.await("a fence", func() bool {
		for port := range uint16(20) {
			s.send(from, ovstest.UDP(quiet(from), quiet(to), 10000+port, 9, payload))
		}
		return ovstest.CountPayload(c.Frames(), payload) > 0
	})
}

// limits are sessions that limit their rate, and how many copies of the flood that is a second, and where.
var limits = []struct {
	name, treatment string
	rate            float64
	at              []string
	together        bool // what they all have counts
}{
	{"packets", "max_rate: 400pps, destinations: [{vm: one}]", 400, []string{"one"}, false},
	{"bits", "max_rate: 4Mbps, destinations: [{vm: one}, TUNNEL]", 500, []string{"one", "three"}, false},
	{"bits, without tags", "max_rate: 4Mbps, strip_vlan: true, destinations: [{vm: one}, {vm: two}]", 500, []string{"one", "two"}, false},
	{"packets of a sample", "max_rate: 400pps, sample: 1/2, destinations: [{vm: one}, {vm: two}]", 400, []string{"one", "two"}, false},
	{"bits, balanced", "max_rate: 4Mbps, balance: flow, destinations: [{vm: one}, {vm: two}, TUNNEL]", 500, []string{"one", "two", "three"}, true},
	{
		"packets of a sample, balanced, cut, without tags",
		"max_rate: 400pps, sample: 1/2, balance: flow, snaplen: 100, strip_vlan: true, destinations: [{vm: one}, {vm: two}]", 400,
		[]string{"one", "two"},
		true,
	},
}

// Copies are cut to the rate, those of both directions together, at each destination, or at all between which they are
// balanced; and of production nothing is.
func TestE2EFlowRateOfCopiesIsLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "one", "two")
	a, b, three := s.guests["a"], s.guests["b"], s.collector("three")
	s.greet(a, b)
	for _, c := range limits {
		s.sub(c.name, func(s *site) {
			s.apply("  ids: {sources: [{vm: a}], " + strings.Replace(c.treatment, "TUNNEL", "{gre: {remote: "+three.Addr().String()+", key: 7}}", 1) + "}\n")
			s.settle()
			captures := map[string]*ovstest.Capture{}
			for _, name := range c.at {
				captures[name] = s.capture(s.guests[name])
			}
			var tags []uint16
			if strings.Contains(c.treatment, "strip_vlan") {
				tags = []uint16{10}
			}
			f := s.flood(a, b, tags...)
			least, most := f.allows(c.rate)
			copies := map[string]int{}
			for name, at := range captures {
				s.fenceLimited(at, a, b)
				n := s.flooded(at, name == "three")
				if c.together {
					name = "all"
				}
				copies[name] += n
				s.check(at.Close())
			}
			t.Logf("%s: of %d frames in %v, %v are copied, %.0f to %.0f may be", c.name, f.frames, f.took.Round(time.Millisecond), copies, least, most)
			for name, n := range copies {
				if float64(n) < 0.9*least || float64(n) > 1.1*most {
					s.Errorf("%d frames of %d are copied to %s, want %.0f to %.0f", n, f.frames, name, least, most)
				}
			}
		})
	}
	s.wantNoChanges()
}
