package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// The feedback rule (e2e_feedback_*_test.go): a copy is never copied, also where the tunnel leaves by a bridge that is
// mirrored itself.

// An underlay is a site with guests a and b on br0, guests v and w and the host on br-ext, and behind br-ext's uplink a
// collector, to which tunnels go.
type underlay struct {
	*site
	a, b, v, w, sensor *ovstest.Guest
	host               *ovstest.HostPort // on br-ext
}

// newUnderlay starts one. The path to the collector is wide enough for every copy, or plans would be refused for that.
func newUnderlay(t *testing.T) *underlay {
	t.Helper()
	u := &underlay{site: newSite(t, "a", "b")}
	u.a, u.b = u.guests["a"], u.guests["b"]
	u.check(u.lab.AddBridge(u.ctx, "br-ext"))
	host, err := u.lab.HostIP(u.ctx, "br-ext", netip.MustParsePrefix("192.0.2.1/24"))
	u.check(err)
	u.host = host
	sensor, err := u.lab.AddCollector(u.ctx, ovstest.CollectorConfig{Name: "sensor", MTU: 1600})
	u.check(err)
	u.sensor = sensor
	u.v = u.add(ovstest.GuestConfig{Name: "v", Bridge: "br-ext"})
	u.w = u.add(ovstest.GuestConfig{Name: "w", Bridge: "br-ext"})
	u.vsctl("set", "Interface", "br-ext", "mtu_request=1600", "--", "set", "Interface", sensor.Port(), "external_ids:spanctl-role=uplink")
	u.meet()
	return u
}

// meet makes the switch know where the stations of br-ext are.
func (u *underlay) meet() {
	u.Helper()
	u.greet(u.a, u.b)
	u.greet(u.v, u.w, u.sensor, u.host)
}

// erspan is the destination of the underlay's sessions.
func (u *underlay) erspan() string {
	return fmt.Sprintf("{erspan: {remote: %s, session: 100}}", u.sensor.Addr())
}

// A wire is what arrives at the collector: copies, as they were before the tunnel, and everything else.
type wire struct {
	*ovstest.Capture
	s *site
}

func (u *underlay) wire() wire { return wire{u.capture(u.sensor), u.site} }

// sorted tells copies that have come by ERSPAN from other frames; fences are in neither.
func (w wire) sorted() (copies, others [][]byte) {
	const outer = 14 + 20 + 8 + 8
	for _, f := range w.Frames() {
		switch {
		case bytes.Contains(f.Data, []byte("<fence/")):
		case strings.Contains(ovstest.Describe(f.Data), "GRE ERSPAN session 100:"):
			copies = append(copies, f.Data[outer:])
		default:
			others = append(others, f.Data)
		}
	}
	return copies, others
}

// wantWire wants exactly these copies to have arrived, and exactly these other frames: there is nothing else on the wire.
func (w wire) want(copies, others [][]byte) {
	w.s.Helper()
	haveCopies, haveOthers := w.sorted()
	w.s.wantSameFrames("copies", haveCopies, copies)
	w.s.wantSameFrames("other frames on the wire", haveOthers, others)
	w.s.check(w.Err())
}

// wantSameFrames says what is missing or too many.
func (s *site) wantSameFrames(what string, have, want [][]byte) {
	s.Helper()
	balance := map[string]int{}
	for _, frame := range have {
		balance[string(frame)]++
	}
	for _, frame := range want {
		balance[string(frame)]--
	}
	told := 0
	for frame, n := range balance {
		if n != 0 && told < 5 {
			told++
			s.Errorf("%s: %+d of %s", what, n, ovstest.Describe([]byte(frame)))
		}
	}
}

// wantNoLoop wants ovs-vswitchd to have complained of none.
func (s *site) wantNoLoop() {
	s.Helper()
	for _, line := range s.complaints() {
		if strings.Contains(line, "translation depth") || strings.Contains(line, "loop") {
			s.Error(line)
		}
	}
}
