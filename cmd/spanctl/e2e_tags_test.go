package main

import (
	"fmt"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

const stripped = `
  audit:
    sources: [{role: all}]
    destinations: [{vm: audit}]
    strip_vlan: true
`

// auditPorts are the ports that an audit guest may have.
var auditPorts = []ovstest.GuestConfig{
	{Name: "plain"},
	{Name: "access", Tag: 10},
	{Name: "access-2", Tag: 10, PortColumns: []string{"vlan_mode=access"}},
	{Name: "untagged", Tag: 10, PortColumns: []string{"vlan_mode=native-untagged"}},
	{Name: "tagged", Tag: 10, PortColumns: []string{"vlan_mode=native-tagged"}},
	{Name: "tunnel", Tag: 10, PortColumns: []string{"vlan_mode=dot1q-tunnel"}},
	{Name: "trunk", Tag: 10, PortColumns: []string{"vlan_mode=trunk"}},
	{Name: "trunk-of-5", Trunks: []int{5}},
}

// tagKinds are frames from a to b with every kind of tag, and what is left of each without the outermost tag.
func tagKinds(a, b ovstest.Endpoint) (sent, strippedOnce [][]byte) {
	for _, tags := range [][]uint16{nil, {10}, {20}, {3<<13 | 30}, {10, 20}, {20, 30, 40}} {
		frame := udp(a, b)
		sent = append(sent, ovstest.Tagged(frame, tags...))
		if len(tags) > 0 {
			tags = tags[1:]
		}
		strippedOnce = append(strippedOnce, ovstest.Tagged(frame, tags...))
	}
	frame := udp(a, b)
	return append(sent, ovstest.QinQ(frame, 100, 10)), append(strippedOnce, ovstest.Tagged(frame, 10))
}

// Whatever the audit guest's port is, copies keep the tags they had, or lose the outermost; the port gets its mode back.
// Every port has a session of its own, all at once.
func TestE2EAuditPortOfEveryVLANModeHasTheTagsAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b")
	a, b := s.guests["a"], s.guests["b"]
	s.greet(a, b)
	before := map[string]string{}
	columns := func(name string) string {
		return s.vsctl("get", "Port", s.guests[name].Port(), "tag", "trunks", "vlan_mode", "external_ids")
	}
	for _, port := range auditPorts {
		s.add(port)
		before[port.Name] = columns(port.Name)
	}
	for _, strip := range []bool{false, true, false} {
		sessions := ""
		for _, port := range auditPorts {
			sessions += fmt.Sprintf("  %s: {sources: [{vm: '[ab]'}], destinations: [{vm: %s}], strip_vlan: %v}\n", port.Name, port.Name, strip)
		}
		s.apply(sessions)
		s.settle()
		captures := map[string]*ovstest.Capture{}
		for _, port := range auditPorts {
			captures[port.Name] = s.capture(s.guests[port.Name])
		}
		want, bare := tagKinds(a, b)
		s.send(a, want...)
		if strip {
			want = bare
		}
		for name, c := range captures {
			s.sub(fmt.Sprintf("%s, strip %v", name, strip), func(s *site) {
				s.check(c.Fence(s.ctx, b, a))
				s.wantExactly(c, want...)
				if now := columns(name); now != before[name] && !strings.Contains(now, "spanctl-saved-vlan_mode") {
					s.Errorf("the port was\n%s\nand is, without a note of the old mode,\n%s", before[name], now)
				}
			})
		}
	}
	s.want(exitOK, "delete", "--all")
	for name, columnsBefore := range before {
		if now := columns(name); now != columnsBefore {
			t.Errorf("%s: the port was\n%s\nand is after delete\n%s", name, columnsBefore, now)
		}
	}
}

func TestE2ESnaplenCutsOnTheWire(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.greet(a, b)
	for _, strip := range []string{"false", "true"} {
		s.apply(`  audit: {sources: [{vm: a, direction: from}], destinations: [{vm: audit}], snaplen: 64, strip_vlan: ` + strip + "}\n")
		s.settle()
		atAudit, atB := s.capture(audit), s.capture(b)
		var sent, want [][]byte
		for _, length := range []int{63, 64, 65, 200, 1514} {
			frame := ovstest.UDP(a, b, 1000, 2000, append(ovstest.Payload("cut"), make([]byte, length)...)[:length-42])
			tagged := ovstest.Tagged(frame, 10)
			sent = append(sent, frame, tagged)
			if strip == "true" {
				tagged = frame
			}
			want = append(want, frame[:min(64, length)], tagged[:min(64, len(tagged))])
		}
		s.send(a, sent...)
		// A marker that is shorter than the cut.
		s.check(atAudit.FenceFrame(s.ctx, a, func(payload []byte) []byte {
			return ovstest.Raw(a, b.HardwareAddr(), 0x88b5, payload)
		}))
		s.wantExactly(atAudit, want...)
		s.wantExactly(atB, sent...) // production is not cut
	}
}

func TestE2ERSPANCopiesIntoItsVLANOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.add(ovstest.GuestConfig{Name: "a", Tag: 10}), s.add(ovstest.GuestConfig{Name: "b", Tag: 10})
	other, probe := s.add(ovstest.GuestConfig{Name: "other", Tag: 20}), s.add(ovstest.GuestConfig{Name: "probe", Tag: 999})
	up := s.uplink("up")
	s.greet(a, b, other, up)
	s.apply("  rspan: {sources: [{vm: '[ab]'}], destinations: [{vlan: 999}]}\n")
	s.settle()
	atUp, atOther, atProbe, atB := s.capture(up), s.capture(other), s.capture(probe), s.capture(b)
	one, two, back, out := udp(a, b), udp(a, b), udp(b, a), udp(a, up)
	s.send(a, one, two, out)
	s.send(b, back)
	s.check(atUp.FenceFrame(s.ctx, a, func(payload []byte) []byte { return ovstest.UDP(a, up, 9, 9, payload) }))
	rspan := func(frame []byte) []byte { return ovstest.Tagged(frame, 999) }
	s.wantExactly(atUp, rspan(one), rspan(two), rspan(back), rspan(out), ovstest.Tagged(out, 10))
	s.wantExactly(atProbe, one, two, back, out)
	s.wantExactly(atB, one, two)
	s.wantExactly(atOther)
	s.want(exitOK, "delete", "--all")
	s.settle()
	sent := s.exchange(a, b, 5)
	s.check(atUp.FenceFrame(s.ctx, a, func(payload []byte) []byte { return ovstest.UDP(a, up, 9, 9, payload) }))
	for _, frame := range frames(sent, a, b) {
		if n := ovstest.CountPayload(atUp.Frames(), frame[42:]); n != 0 {
			t.Errorf("%d copies after delete", n)
		}
	}
}
