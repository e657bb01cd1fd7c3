package policy

import (
	"strings"
	"testing"
)

func TestParsePacket(t *testing.T) {
	for words, want := range map[string]string{
		"": "tcp src=192.0.2.1 dst=192.0.2.2 src_port=49152 dst_port=49153",
		"tcp src=10.0.0.1 dst=10.0.0.2 dst_port=80": "tcp src=10.0.0.1 dst=10.0.0.2 src_port=49152 dst_port=80",
		"udp src=2001:db8::5":                       "udp src=2001:db8::5 dst=2001:db8::2 src_port=49152 dst_port=49153",
		"protocol=17 vlan=10":                       "udp src=192.0.2.1 dst=192.0.2.2 src_port=49152 dst_port=49153 vlan=10",
		"protocol=89":                               "protocol=89 src=192.0.2.1 dst=192.0.2.2",
		"ipv6":                                      "tcp src=2001:db8::1 dst=2001:db8::2 src_port=49152 dst_port=49153",
		"icmp dscp=46":                              "icmp src=192.0.2.1 dst=192.0.2.2 dscp=46",
		"icmp6":                                     "icmp6 src=2001:db8::1 dst=2001:db8::2",
		"arp dst=10.0.0.2":                          "arp src=192.0.2.1 dst=10.0.0.2",
		"lldp":                                      "lldp",
		"ethertype=0x88B5 src_mac=52:54:00:AA:BB:CC": "ethertype=0x88b5 src_mac=52:54:00:aa:bb:cc",
		"ethertype=0x0800 sctp src_port=0":           "sctp src=192.0.2.1 dst=192.0.2.2 src_port=0 dst_port=49153",
		"udp fragment=later":                         "udp src=192.0.2.1 dst=192.0.2.2 fragment=later",
		"udp fragment=first dst_port=53":             "udp src=192.0.2.1 dst=192.0.2.2 src_port=49152 dst_port=53 fragment=first",
		"vlan=0 dst_mac=ff:ff:ff:ff:ff:ff":           "tcp src=192.0.2.1 dst=192.0.2.2 src_port=49152 dst_port=49153 dst_mac=ff:ff:ff:ff:ff:ff",
	} {
		p, err := ParsePacket(strings.Fields(words))
		if err != nil {
			t.Errorf("%q: %v", words, err)
			continue
		}
		if got := p.String(); got != want {
			t.Errorf("%q is %q, want %q", words, got, want)
		}
		if again, err := ParsePacket(strings.Fields(p.String())); err != nil || *again != *p {
			t.Errorf("%q does not read as itself: %v, %v", p, again, err)
		}
	}
}

func TestParsePacketErrors(t *testing.T) {
	for words, want := range map[string]string{
		"tpc": "tpc: \"tpc\" is not known here; did you mean tcp? use arp, esp, gre, icmp, icmp6, igmp, ipv4, ipv6, lldp, sctp, tcp or udp, or FIELD=VALUE with one of " +
			"protocol, ethertype, src, dst, src_port, dst_port, vlan, src_mac, dst_mac, dscp or fragment",
		"tcp udp":                        "udp: tcp was said already; remove one of the two",
		"tcp protocol=6":                 "protocol=6: tcp was said already; remove one of the two",
		"dport=80":                       "dport=80: \"dport\" is not known here; use protocol, ethertype, src, dst, src_port, dst_port, vlan, src_mac, dst_mac, dscp or fragment",
		"dst_port=99999":                 "dst_port=99999: 99999 is out of range; give a number from 0 to 65535",
		"vlan=4095":                      "vlan=4095: 4095 is out of range; give a number from 0 to 4094",
		"src=10.0.0.0/8":                 "src=10.0.0.0/8: a packet has one address, not a network; write 10.0.0.0",
		"src=web":                        "src=web: \"web\" is not an address; write an IPv4 or IPv6 address, as 192.0.2.10 or 2001:db8::10 (names are not looked up)",
		"port=80":                        "port=80: a packet has one on each side; write src_port= or dst_port=",
		"icmp dst_port=80":               "dst_port=80: protocol icmp has no ports; use tcp, udp or sctp, or remove it",
		"icmp src=2001:db8::1":           "icmp: is of IPv4, and the packet is of IPv6; write icmp6 for IPv6",
		"src=10.0.0.1 dst=2001:db8::1":   "src=10.0.0.1: the packet is of IPv6; use addresses of one IP version",
		"arp dscp=3":                     "dscp=3: a packet of ethertype arp has none; remove it",
		"lldp src=10.0.0.1":              "src=10.0.0.1: a packet of ethertype lldp has none; remove it, or write src_mac=",
		"ethertype=0x8100":               "ethertype=0x8100: a VLAN tag is no packet by itself; write vlan=N for the tag, and the type of what is in it",
		"udp fragment=later dst_port=53": "dst_port=53: later fragments have no ports; remove it, or write fragment=first",
		"udp fragment=middle":            "fragment=middle: \"middle\" is not known here; use first or later",
		"src_mac=5254.00aa.bbcc":         "src_mac=5254.00aa.bbcc: \"5254.00aa.bbcc\" is not written as a MAC address; write 52:54:00:aa:bb:cc",
		"vlan=x dst_port=y":              "vlan=x: \"x\" is not a number; give a number from 0 to 4094\ndst_port=y: \"y\" is not a number; give a number from 0 to 65535",
	} {
		_, err := ParsePacket(strings.Fields(words))
		if err == nil || err.Error() != want {
			t.Errorf("%q says\n  %v, want\n  %s", words, err, want)
		}
	}
}

func TestMatchHolds(t *testing.T) {
	const web = "tcp src=10.0.0.1 dst=10.20.0.2 dst_port=80 vlan=10 src_mac=52:54:00:00:00:01 dst_mac=52:54:00:00:00:02 dscp=46"
	for _, c := range []struct{ match, holds, not string }{
		{"protocol: tcp", web, "udp"},
		{"protocol: tcp", "tcp src=2001:db8::1", "arp"},
		{"protocol: icmp", "icmp", "icmp6"},
		{"protocol: 89", "protocol=89 ipv6", "tcp"},
		{"ethertype: ipv4", web, "tcp ipv6"},
		{"protocol: udp", "udp fragment=later", "udp ipv6 fragment=later"},
		{"protocol: udp", "udp ipv6 fragment=first", "protocol=44 ipv6"},
		{"protocol: 44", "udp ipv6 fragment=later", "udp fragment=later"},
		{"ethertype: arp", "arp", "tcp"},
		{"ethertype: \"0x88b5\"", "ethertype=0x88b5", "lldp"},
		{"src: 10.0.0.0/8", web, "tcp src=11.0.0.1 dst=10.0.0.1"},
		{"src: 10.0.0.0/8", "protocol=89 src=10.1.1.1", "arp src=10.0.0.1"},
		{"{ethertype: arp, src: 10.0.0.0/8}", "arp src=10.0.0.1", "arp dst=10.0.0.1"},
		{"dst: 2001:db8::/32", "udp dst=2001:db8::9", "udp src=2001:db8::9 dst=2001:db9::1"},
		{"net: 10.20.0.0/16", web, "tcp src=10.0.0.1 dst=10.0.0.2"},
		{"net: 10.20.0.0/16", "tcp src=10.20.0.1 dst=10.0.0.2", "arp src=10.20.0.1"},
		{"src: 0.0.0.0/0", web, "tcp ipv6"},
		{"dst_port: 80", web, "tcp src_port=80"},
		{"dst_port: 80", "udp dst_port=80", "tcp dst_port=80 fragment=first"},
		{"src_port: 80", "sctp src_port=80", "tcp dst_port=80"},
		{"port: [79-81]", web, "icmp"},
		{"port: 0-65535", web, "udp fragment=later"},
		{"{protocol: udp, port: 53}", "udp src_port=53", "tcp dst_port=53"},
		{"vlan: 10", web, "tcp"},
		{"vlan: 0", "tcp vlan=0", web},
		{"vlan: [5-20, 30]", "arp vlan=30", "arp vlan=21"},
		{"src_mac: 52:54:00:00:00:01", web, "tcp dst_mac=52:54:00:00:00:01"},
		{"dst_mac: 52:54:00:00:00:02", web, "tcp src_mac=52:54:00:00:00:02"},
		{"mac: 52:54:00:00:00:02", web, "tcp"},
		{"dscp: 46", web, "tcp dscp=45"},
		{"dscp: 0", "tcp", "arp"},
		{"{protocol: tcp, net: 10.20.0.0/16, port: 80, vlan: 10}", web, "tcp src=10.0.0.1 dst=10.20.0.2 dst_port=80"},
	} {
		m := matchOf(t, c.match)
		for words, want := range map[string]bool{c.holds: true, c.not: false} {
			p, err := ParsePacket(strings.Fields(words))
			if err != nil {
				t.Fatal(err)
			}
			if m.Holds(p) != want {
				t.Errorf("%s holds for %q: %t, want %t", m, p, !want, want)
			}
		}
	}
}

func TestMatchString(t *testing.T) {
	for _, text := range []string{"{protocol: tcp, port: 7788-7799}", "{ethertype: arp}", "{net: 10.20.0.0/16, src_port: [1, 3-5], mac: \"52:54:00:00:00:02\", dscp: 0}", "{net: \"2001:db8::/32\"}"} {
		if got := matchOf(t, text).String(); got != text {
			t.Errorf("%s is %s", text, got)
		}
	}
}

func matchOf(t *testing.T, text string) *Match {
	t.Helper()
	if !strings.HasPrefix(text, "{") {
		text = "{" + text + "}"
	}
	doc, err := Parse("test", []byte("version: 1\nsessions:\n  s: {sources: [{role: all}], include: ["+text+"], destinations: [{vm: audit}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return &doc.Sessions["s"].Include[0]
}
