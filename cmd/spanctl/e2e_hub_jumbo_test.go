package main

import (
	"net/netip"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// Packets that a destination has no room for are lost there, as plan and status say, and nowhere else.
func TestE2EHubJumboFramesAreLostWhereThePathIsNarrow(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.check(s.lab.AddBridge(s.ctx, "br1"))
	for name, bridge := range map[string]string{"a": "br0", "b": "br0", "audit": "br0", "c": "br1", "d": "br1"} {
		s.add(ovstest.GuestConfig{Name: name, Bridge: bridge, MTU: 9000})
	}
	s.add(ovstest.GuestConfig{Name: "small"})
	s.greet(s.guests["a"], s.guests["b"])
	s.greet(s.guests["c"], s.guests["d"])
	wide := s.addCollector(ovstest.CollectorConfig{Name: "wide", MTU: 9100})
	narrow := s.addCollector(ovstest.CollectorConfig{
		Name: "narrow", Bridge: "br-ext2",
		Host: netip.MustParsePrefix("198.51.100.1/24"), IP: netip.MustParsePrefix("198.51.100.10/24"),
	})
	file := s.policy(`
  audit:
    sources: [{role: guest, bridge: "br[01]"}]
    destinations:
      - {vm: audit}
      - {vm: small}
      - erspan: {remote: ` + wide.Addr().String() + `, session: 100}
      - vxlan: {remote: ` + narrow.Addr().String() + `, vni: 100}
`)
	notes := []string{
		"copies of packets over 1500 bytes are lost: that is the MTU of destination vif-small, and source vif-",
		"copies of packets over 1450 bytes are lost: the path to vxlan 198.51.100.10 vni 100 carries 1500 bytes, 50 of which the tunnel adds, and source vif-",
	}
	for _, told := range []string{s.want(exitOK, "plan", "-f", file), s.want(exitOK, "apply", "-f", file), s.want(exitOK, "status")} {
		if !strings.Contains(told, notes[0]) || !strings.Contains(told, notes[1]) || strings.Contains(told, "path to erspan") || strings.Contains(told, "destination vif-audit,") {
			s.Errorf("want these notes alone\n%s\nin\n%s", strings.Join(notes, "\n"), told)
		}
	}
	s.settle()
	atAudit, atSmall, atWide, atNarrow := s.capture(s.guests["audit"]), s.capture(s.guests["small"]), s.capture(wide), s.capture(narrow)
	var all, upTo1500, upTo1450 [][]byte
	for _, pair := range [][2]string{{"a", "b"}, {"c", "d"}} {
		from, to := s.guests[pair[0]], s.guests[pair[1]]
		atTo := s.capture(to)
		var sent [][]byte
		for _, size := range []int{9000, 60, 1501, 1500, 1451, 1450, 9000, 5000, 1400} {
			payload := ovstest.Payload("jumbo")
			frame := ovstest.UDP(from, to, 1, 2, append(payload, make([]byte, size)...)[:size-20-8])
			sent = append(sent, frame)
			s.send(from, frame)
			s.check(atTo.WaitPayload(s.ctx, payload, 1)) // or what comes behind it is lost with one that is too large
			if size <= 1500 {
				upTo1500 = append(upTo1500, frame)
			}
			if size <= 1450 {
				upTo1450 = append(upTo1450, frame)
			}
		}
		s.check(atTo.Fence(s.ctx, from, to))
		s.wantExactly(atTo, sent...)
		all = append(all, sent...)
	}
	for _, c := range []*ovstest.Capture{atAudit, atSmall, atWide, atNarrow} {
		s.check(c.Fence(s.ctx, s.guests["a"], s.guests["b"]))
	}
	s.wantExactly(atAudit, all...)
	s.wantExactly(atSmall, upTo1500...)
	s.wantTunnels(atWide, []string{"erspan II session 100 index 0"}, all...)
	s.wantTunnels(atNarrow, []string{"vxlan vni 100 port 4789"}, upTo1450...)
	for _, line := range s.complaints() {
		if !strings.HasSuffix(line, "Message too long") {
			t.Errorf("ovs-vswitchd says %s", line)
		}
	}
}
