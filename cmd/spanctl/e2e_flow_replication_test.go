package main

import (
	"fmt"
	"slices"
	"testing"

	"spanctl/ovs/ovstest"
)

// replication is the ports that DRBD uses.
const replication = "exclude: [{protocol: tcp, port: 7788-7799}]"

// excluded are frames of DRBD, between the guests: not copied. One tag is as none.
func excluded(a, b ovstest.Endpoint) [][]byte {
	var list [][]byte
	for _, pair := range [][2]ovstest.Endpoint{{quiet(a), quiet(b)}, {six(a), six(b)}} {
		for _, port := range []uint16{7788, 7789, 7791, 7792, 7795, 7796, 7799} {
			list = append(list, tcp(pair[0], pair[1], port, 40000), tcp(pair[0], pair[1], 40000, port), tcp(pair[0], pair[1], port, port))
		}
		whole := tcp(pair[0], pair[1], 7788, 7788)
		list = append(list, ovstest.Tagged(whole, 10), ovstest.Tagged(whole, 4094), ovstest.Tagged(whole, 5<<13|10), ovstest.Tagged(whole, 5<<13))
		list = append(list, ovstest.QinQ(whole, 10)) // a service tag alone
	}
	return list
}

// besides are frames that are nearly DRBD's, and are copied. Under two tags the switch sees the second alone and nothing
// behind it (other_config:vlan-limit is 1), and in fragments it sees no ports.
func besides(a, b ovstest.Endpoint) [][]byte {
	var list [][]byte
	for _, pair := range [][2]ovstest.Endpoint{{quiet(a), quiet(b)}, {six(a), six(b)}} {
		for _, port := range []uint16{0, 1, 80, 7780, 7787, 7800, 7804, 65535} {
			list = append(list, tcp(pair[0], pair[1], port, 40000), tcp(pair[0], pair[1], 40000, port))
		}
		list = append(list, ovstest.UDP(pair[0], pair[1], 7788, 7789, ovstest.Payload("udp")))
		drbd := tcp(pair[0], pair[1], 7788, 7789)
		list = append(list, ovstest.QinQ(drbd, 10, 20), ovstest.Tagged(drbd, 10, 20), ovstest.QinQ(drbd, 10, 20, 30))
		for _, fragment := range split(tcpOf(pair[0], pair[1], 7788, 7789, append(ovstest.Payload("parts"), make([]byte, 80)...))) {
			list = append(list, fragment, ovstest.Tagged(fragment, 10))
		}
	}
	return list
}

// The mission's own policy: replication is left out, and all else is copied, byte for byte, once. Production has everything.
func TestE2EFlowReplicationIsLeftOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b := s.guests["a"], s.guests["b"]
	c, d := s.add(ovstest.GuestConfig{Name: "c", Tag: 10}), s.add(ovstest.GuestConfig{Name: "d", Tag: 10})
	up := s.uplink("up")
	s.greet(a, b, up, c, d)
	before := s.database()
	s.apply("  audit: {sources: [{role: all}], " + replication + ", destinations: [{vm: audit}]}\n")
	s.settle()
	said := s.said()
	atAudit := s.capture(s.guests["audit"])
	copies := s.wantReplication([][2]*ovstest.Guest{{a, b}, {b, a}, {a, up}, {up, b}})
	// What an access port sends has its tag at a trunk (ovs-facts 16), and is DRBD's all the same.
	atD := s.capture(d)
	drbd, other := tcp(quiet(c), quiet(d), 40000, 7788), tcp(quiet(c), quiet(d), 40000, 7787)
	s.send(c, drbd, other)
	copies = append(copies, ovstest.Tagged(other, 10))
	s.check(atD.Fence(s.ctx, c, d))
	s.wantExactly(atD, drbd, other)
	s.check(atAudit.Fence(s.ctx, a, b))
	s.wantExactly(atAudit, copies...)
	s.wantSilence(said)
	s.wantNoChanges()
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", before, s.database(), ofItself, configuration)
}

// Likewise of two bridges, to two guests and by tunnels.
func TestE2EFlowReplicationIsLeftOutAtEveryDestination(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	s.add(ovstest.GuestConfig{Name: "second", Bridge: "br1", Tag: 10})
	sensor := s.collector("sensor")
	before := s.database()
	s.apply(fmt.Sprintf(`
  audit:
    sources: [{role: all, bridge: "br[01]"}]
    %s
    destinations: [{vm: audit}, {erspan: {remote: %[2]s, session: 100}}, {vm: second}, {vxlan: {remote: %[2]s, vni: 7}}, {gre: {remote: %[2]s, key: 7}}]
`, replication, sensor.Addr()))
	s.settle()
	said := s.said()
	locals := []*ovstest.Capture{s.capture(s.guests["audit"]), s.capture(s.guests["second"])}
	atSensor := s.capture(sensor)
	a, b, c, d := s.guests["a"], s.guests["b"], s.guests["c"], s.guests["d"]
	copies := s.wantReplication([][2]*ovstest.Guest{{a, b}, {d, c}})
	for _, at := range append(locals, atSensor) {
		s.check(at.Fence(s.ctx, a, b))
		s.check(at.Fence(s.ctx, c, d))
	}
	for _, at := range locals {
		s.wantExactly(at, copies...)
	}
	s.wantTunnels(atSensor, []string{"erspan II session 100 index 0", "vxlan vni 7 port 4789", "gre key 7"}, copies...)
	s.wantSilence(said)
	s.wantNoChanges()
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", before, s.database(), ofItself, configuration)
}

// wantReplication sends DRBD's frames and others of every kind from one guest of each pair to the other, and wants these to
// have them. It returns those that are to be copied.
func (s *site) wantReplication(pairs [][2]*ovstest.Guest) (copies [][]byte) {
	s.Helper()
	for _, pair := range pairs {
		from, to := pair[0], pair[1]
		atTo := s.capture(to)
		drbd := excluded(from, to)
		others := slices.Concat(besides(from, to), everyKind(from, to), [][]byte{udp(from, to)})
		var forTo [][]byte
		for i, frame := range slices.Concat(drbd, others) {
			s.send(from, frame)
			if i%20 == 0 {
				s.check(atTo.Fence(s.ctx, from, to)) // the switch takes a few at a time
			}
			if forwarded(frame, to) {
				forTo = append(forTo, frame)
			}
		}
		copies = append(copies, others...)
		s.check(atTo.Fence(s.ctx, from, to))
		s.wantExactly(atTo, forTo...)
		s.check(atTo.Close())
	}
	return copies
}
