package main

import (
	"fmt"
	"testing"

	"spanctl/ovs/ovstest"
)

// What a session selects is what its hub copies: ports, directions and VLANs, on each bridge its own.
func TestE2EHubCopiesTheSelectionAlone(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	sensor := s.collector("sensor")
	a, b, c, d := s.guests["a"], s.guests["b"], s.guests["c"], s.guests["d"]
	// Each of a to b, b to a, c to d and d to c, untagged, in VLAN 10 and in VLAN 20; copied are those that the name says.
	for _, one := range []struct {
		sources string
		copied  []string
	}{
		{"{vm: a, direction: from, vlans: [10]}, {bridge: br1, role: all, vlans: [0]}", []string{"ab10", "cd0", "dc0"}},
		{"{vm: a, direction: to}, {vm: d, direction: from, vlans: [0, 20]}", []string{"ba0", "ba10", "ba20", "dc0", "dc20"}},
		{"{role: all, bridge: br0, vlans: [10, 20]}, {vm: b, direction: from, vlans: [0]}, {vm: c, vlans: [10]}", []string{"ab10", "ab20", "ba0", "ba10", "ba20", "cd10", "dc10"}},
	} {
		s.sub(one.sources, func(s *site) {
			// The last is for fences.
			s.apply(fmt.Sprintf("  audit: {sources: [%s, {vm: '[ac]', direction: from, vlans: [30]}], destinations: [{vm: audit}, {gre: {remote: %s, key: 7}}]}\n", one.sources, sensor.Addr()))
			s.settle()
			atAudit, atSensor := s.capture(s.guests["audit"]), s.capture(sensor)
			sent := map[string][]byte{}
			for _, pair := range [][2]*ovstest.Guest{{a, b}, {b, a}, {c, d}, {d, c}} {
				name := pair[0].Name() + pair[1].Name()
				sent[name+"0"] = udp(pair[0], pair[1])
				sent[name+"10"], sent[name+"20"] = ovstest.Tagged(udp(pair[0], pair[1]), 10), ovstest.Tagged(udp(pair[0], pair[1]), 20)
				s.send(pair[0], sent[name+"0"], sent[name+"10"], sent[name+"20"])
			}
			var want [][]byte
			for _, name := range one.copied {
				want = append(want, sent[name])
			}
			for _, at := range []*ovstest.Capture{atAudit, atSensor} {
				s.check(at.FenceFrame(s.ctx, a, func(payload []byte) []byte { return ovstest.Tagged(ovstest.UDP(a, b, 9, 9, payload), 30) }))
			}
			s.wantExactly(atAudit, want...)
			s.wantTunnels(atSensor, []string{"gre key 7"}, want...)
		})
	}
}
