package main

import (
	"net/netip"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// The collector is a guest of the mirrored bridge, and selected as a source like the others, by role and as all there is:
// its own port is no source of the tunnel's packets, and each frame of each guest is copied once, its own too.
func TestE2EFeedbackCollectorIsMirroredGuest(t *testing.T) {
	t.Parallel()
	for name, sources := range map[string]string{
		"role all":          "{role: all, bridge: br0}",
		"guests":            "{role: guest, bridge: br0}",
		"guests and others": "{vm: '*'}",
		"what they send":    "{role: guest, direction: from}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			host, err := s.lab.HostIP(s.ctx, "br0", netip.MustParsePrefix("192.0.2.1/24"))
			s.check(err)
			for _, name := range []string{"a", "b"} {
				s.add(ovstest.GuestConfig{Name: name})
			}
			a, b := s.guests["a"], s.guests["b"]
			sensor, err := s.lab.AddCollector(s.ctx, ovstest.CollectorConfig{Name: "sensor", Bridge: "br0", MTU: 1600})
			s.check(err)
			// A guest that announces jumbo frames and sends none: the path must be wide enough for all copies.
			s.vsctl("set", "Interface", "br0", "mtu_request=1700", "--", "set", "Interface", sensor.Port(), "external_ids:vm-id=sensor")
			s.greet(a, b, sensor, host)
			out := s.apply("  audit: {sources: [" + sources + "], destinations: [{erspan: {remote: " + sensor.Addr().String() + ", session: 100}}]}\n")
			if guarded := "nw_dst=" + sensor.Addr().String() + ",nw_proto=47  drop"; strings.Contains(out, guarded) == strings.Contains(sources, "from") {
				t.Errorf("apply says\n%s\nwant %q unless all are senders", out, guarded)
			}
			s.settle()
			wire, atA, atB := wire{s.capture(sensor), s}, s.capture(a), s.capture(b)
			var sent, seen, forA, forB [][]byte
			for _, from := range []*ovstest.Guest{a, b, sensor} {
				for _, to := range []ovstest.Endpoint{a, b, sensor, ovstest.Broadcast} {
					if to == ovstest.Endpoint(from) {
						continue
					}
					frames := [][]byte{udp(from, to), ovstest.Tagged(udp(from, to), 10)}
					s.send(from, frames...)
					sent = append(sent, frames...)
					all := to.HardwareAddr()[0] == 0xff
					if from != sensor && (all || to == ovstest.Endpoint(sensor)) {
						seen = append(seen, frames...)
					}
					if from != a && (all || to == ovstest.Endpoint(a)) {
						forA = append(forA, frames...)
					}
					if from != b && (all || to == ovstest.Endpoint(b)) {
						forB = append(forB, frames...)
					}
				}
			}
			s.check(wire.Fence(s.ctx, a, b))
			s.check(atA.Fence(s.ctx, b, a))
			s.check(atB.Fence(s.ctx, a, b))
			wire.want(sent, seen)
			s.wantExactly(atA, forA...)
			s.wantExactly(atB, forB...)
			s.wantNoLoop()
			s.wantNoChanges()
		})
	}
}
