package plan

import (
	"slices"
	"strings"
	"testing"

	"spanctl/policy"
)

func parseMatch(t *testing.T, text string) *policy.Match {
	t.Helper()
	doc, err := policy.Parse("test", []byte("version: 1\nsessions:\n  s: {sources: [{role: all}], destinations: [{vm: v}], include: ["+text+"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return &doc.Sessions["s"].Include[0]
}

// A session whose include no packet can match copies nothing, rather than everything.
func TestIncludeThatNothingMatches(t *testing.T) {
	m := parseMatch(t, `{mac: "02:00:00:00:00:01", src_mac: "02:00:00:00:00:02", dst_mac: "02:00:00:00:00:03"}`)
	if list := matches(*m); len(list) > 0 {
		t.Fatalf("matches are %q", list)
	}
	session := &policy.Session{Include: []policy.Match{*m}, Destinations: []policy.Destination{{Interface: "x"}}}
	if tr := treatmentOf(session); !tr.chosen || tr.filter() != "" {
		t.Errorf("treatment is %+v", tr)
	}
	c := &compiler{numbers: map[string]int{}}
	d := &delivery{tap: &tap{}, treatment: treatmentOf(session), targets: []target{{port: -1, absent: "x"}}}
	for _, rule := range c.rules(&group{delivery: d}, 1, 0) {
		t.Errorf("rule %+v", rule)
	}
}

func TestMatches(t *testing.T) {
	for text, want := range map[string]string{
		`{protocol: tcp}`:                                               "tcp | tcp6",
		`{protocol: icmp}`:                                              "icmp",
		`{protocol: icmp6}`:                                             "icmp6",
		`{protocol: igmp}`:                                              "ip,nw_proto=2",
		`{protocol: 89}`:                                                "ip,nw_proto=89 | ipv6,nw_proto=89",
		`{ethertype: arp}`:                                              "arp",
		`{ethertype: lldp}`:                                             "dl_type=0x88cc",
		`{ethertype: ipv6, protocol: udp}`:                              "udp6",
		`{ethertype: arp, net: 10.0.0.0/8}`:                             "arp,arp_spa=10.0.0.0/8 | arp,arp_tpa=10.0.0.0/8",
		`{net: 10.20.0.0/16}`:                                           "ip,nw_dst=10.20.0.0/16 | ip,nw_src=10.20.0.0/16",
		`{src: 0.0.0.0/0}`:                                              "ip",
		`{dst: "2001:db8::1"}`:                                          "ipv6,ipv6_dst=2001:db8::1",
		`{src: 10.1.0.0/16, net: 10.0.0.0/8}`:                           "ip,nw_src=10.1.0.0/16 | ip,nw_src=10.1.0.0/16,nw_dst=10.0.0.0/8",
		`{src: 10.1.0.0/16, net: 11.0.0.0/8}`:                           "ip,nw_src=10.1.0.0/16,nw_dst=11.0.0.0/8",
		`{protocol: tcp, ethertype: ipv4, dst_port: 80}`:                "tcp,tp_dst=80",
		`{dst_port: 80, dst: 10.0.0.1}`:                                 "sctp,nw_dst=10.0.0.1,tp_dst=80 | tcp,nw_dst=10.0.0.1,tp_dst=80 | udp,nw_dst=10.0.0.1,tp_dst=80",
		`{protocol: udp, dst: 10.0.0.1, port: 7788-7799}`:               "udp,nw_dst=10.0.0.1,tp_dst=0x1e6c/0xfffc | udp,nw_dst=10.0.0.1,tp_dst=0x1e70/0xfff8 | udp,nw_dst=10.0.0.1,tp_src=0x1e6c/0xfffc | udp,nw_dst=10.0.0.1,tp_src=0x1e70/0xfff8",
		`{protocol: tcp, src: 10.0.0.1, dst_port: 0-65535}`:             "tcp,nw_src=10.0.0.1,nw_frag=no",
		`{protocol: sctp, ethertype: ipv6, src_port: 0-1, dst_port: 1}`: "sctp6,tp_src=0x0/0xfffe,tp_dst=1",
		`{protocol: sctp, ethertype: ipv6, src_port: 0-1, dst_port: 0}`: "sctp6,tp_src=0x0/0xfffe,tp_dst=0,nw_frag=no",
		`{vlan: 100}`:                                                   "dl_vlan=100",
		`{vlan: 0}`:                                                     "vlan_tci=0x0000/0x0fff",
		`{vlan: [0-3, 96-111]}`:                                         "dl_vlan=1 | vlan_tci=0x0000/0x0fff | vlan_tci=0x1002/0x1ffe | vlan_tci=0x1060/0x1ff0",
		`{mac: "02:00:00:00:00:01", dst_mac: "02:00:00:00:00:02"}`:      "dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02",
		`{dscp: 46}`:                                                    "ip,nw_tos=184 | ipv6,nw_tos=184",
		`{dscp: 0, ethertype: ipv4}`:                                    "ip,nw_tos=0",
	} {
		if got := strings.Join(matches(*parseMatch(t, text)), " | "); got != want {
			t.Errorf("%s: %s\nwant %s", text, got, want)
		}
	}
}

// Every range of 8 bits is covered exactly, with as few prefixes as there can be.
func TestMasksCoverExactly(t *testing.T) {
	const width = 8
	least := func(first, last int) int { // by the definition: the fewest aligned blocks
		n := 0
		var cover func(from, size int)
		cover = func(from, size int) {
			switch {
			case from > last || from+size-1 < first:
			case first <= from && from+size-1 <= last:
				n++
			default:
				cover(from, size/2)
				cover(from+size/2, size/2)
			}
		}
		cover(0, 1<<width)
		return n
	}
	for first := range 1 << width {
		for last := first; last < 1<<width; last++ {
			list := masks(policy.Ranges{{First: uint16(first), Last: uint16(last)}}, width)
			if len(list) != least(first, last) {
				t.Fatalf("%d-%d: %d masks, %d would do", first, last, len(list), least(first, last))
			}
			for n := range 1 << width {
				holds := slices.ContainsFunc(list, func(m masked) bool { return uint16(n)&m.mask == m.value })
				if holds != (first <= n && n <= last) {
					t.Fatalf("%d-%d: %d", first, last, n)
				}
			}
		}
	}
}
