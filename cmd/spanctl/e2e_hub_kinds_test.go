package main

import (
	"fmt"
	"net/netip"
	"testing"

	"spanctl/ovs/ovstest"
)

// sixDestinations is a session to the audit guest and five tunnels to one collector.
func sixDestinations(remote netip.Addr) (session string, tunnels []string) {
	session = fmt.Sprintf(`
  audit:
    sources: [{role: all, bridge: "br[01]"}]
    destinations:
      - vm: audit
      - erspan: {remote: "%[1]s", session: 100}
      - erspan: {remote: "%[1]s", session: 101, type: III}
      - gre: {remote: "%[1]s", key: 7, seq: true}
      - vxlan: {remote: "%[1]s", vni: 100}
      - geneve: {remote: "%[1]s", vni: 200}
`, remote)
	return session, []string{
		"erspan II session 100 index 0",
		"erspan III session 101 hwid 0 direction 0",
		"gre key 7",
		"vxlan vni 100 port 4789",
		"geneve vni 200 port 6081",
	}
}

func TestE2EHubCopiesEveryKindOnceToSixDestinations(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	s.wantEveryKind(s.collector("sensor"))
}

func TestE2EHubCopiesEveryKindOnceToSixDestinationsOverIPv6(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	s.wantEveryKind(s.addCollector(ovstest.CollectorConfig{
		Name: "sensor", MTU: 1600,
		Host: netip.MustParsePrefix("2001:db8::1/64"), IP: netip.MustParsePrefix("2001:db8::10/64"),
	}))
}

// wantEveryKind sends frames of every kind on both bridges, and wants each of six destinations to have each of them once,
// byte for byte, production to have what it ever has, and ovs-vswitchd to say nothing.
func (s *site) wantEveryKind(sensor *ovstest.Guest) {
	s.Helper()
	session, tunnels := sixDestinations(sensor.Addr())
	s.apply(session)
	s.settle()
	atAudit, atSensor := s.capture(s.guests["audit"]), s.capture(sensor)
	said := s.said()
	var copies [][]byte
	for _, pair := range [][2]string{{"a", "b"}, {"c", "d"}} {
		from, to := s.guests[pair[0]], s.guests[pair[1]]
		atTo := s.capture(to)
		var forTo [][]byte
		for _, frame := range append(everyKind(from, to), udp(from, to)) {
			s.send(from, frame)
			copies = append(copies, frame)
			if forwarded(frame, to) {
				forTo = append(forTo, frame)
			}
		}
		back := udp(to, from)
		s.send(to, back)
		copies = append(copies, back)
		s.check(atTo.Fence(s.ctx, from, to))
		s.wantExactly(atTo, forTo...)
		s.check(atAudit.Fence(s.ctx, from, to))
		s.check(atSensor.Fence(s.ctx, from, to))
	}
	s.wantExactly(atAudit, copies...)
	s.wantTunnels(atSensor, tunnels, copies...)
	s.wantSilence(said)
}
