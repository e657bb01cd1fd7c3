package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// TestE2ETraceOfAnyPacket holds that matches hold for the packets for which the rules hold that are made of them: whatever
// is asked, the policy and the switch agree.
func TestE2ETraceOfAnyPacket(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "one", "two")
	s.add(ovstest.GuestConfig{Name: "tagged", Tag: 10})
	s.add(ovstest.GuestConfig{Name: "trunk", Trunks: []int{10, 20}})
	s.greet(s.guests["a"], s.guests["b"])
	draw := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[draw.IntN(len(from))] }
	match := func() string {
		return pick("{protocol: tcp}", "{protocol: udp, port: 53}", "{port: 0-1023}", "{src_port: [0, 5-9], protocol: sctp}", "{dst_port: 65535}", "{ethertype: arp}", "{ethertype: ipv6}", "{vlan: 0}",
			"{vlan: [10, 15-20]}", "{ethertype: arp, net: 10.0.0.0/8}", "{net: 10.20.0.0/16}", "{src: 2001:db8::/32}", "{dst: 10.20.0.1}", "{protocol: icmp}", "{protocol: icmp6}", "{protocol: 89}", "{dscp: 46}",
			"{dscp: 0, protocol: tcp}", "{mac: \"02:00:00:00:00:02\"}", "{src_mac: \"02:00:00:00:00:03\"}", "{ethertype: lldp}", "{ethertype: \"0x88b5\"}", "{net: 0.0.0.0/0}", "{protocol: gre, dst: 2001:db8::7}")
	}
	list := func() string {
		matches := make([]string, 1+draw.IntN(4))
		for i := range matches {
			matches[i] = match()
		}
		return "[" + strings.Join(matches, ", ") + "]"
	}
	copied, not := 0, 0
	for range 3 {
		s.apply(fmt.Sprintf("  x: {sources: [{interface: \"*\", direction: %s}], include: %s, exclude: %s, destinations: [{vm: one}]}\n"+
			"  y: {sources: [{role: all, vlans: [0, 10]}], exclude: %s, destinations: [{vm: one}, {vm: two}], balance: flow}\n", pick("from", "to"), list(), list(), list()))
		for range 25 {
			words := []string{"trace", "--all", "--in", pick("vif-a", "vif-b", "vif-tagged", "vif-trunk", "br0")}
			switch pick("4", "4", "6", "arp", "other") {
			case "4":
				words = append(words, pick("tcp", "udp", "sctp", "icmp", "protocol=89", "gre"), "src="+pick("10.20.0.1", "10.1.0.1", "192.0.2.1"), "dst="+pick("10.20.0.1", "11.0.0.1"), "dscp="+pick("0", "46"))
			case "6":
				words = append(words, pick("tcp", "udp", "icmp6", "protocol=89", "gre"), "src="+pick("2001:db8::7", "fd00::1"), "dst="+pick("2001:db8::7", "fd00::1"), "dscp=0")
			case "arp":
				words = append(words, "arp", "src="+pick("10.20.0.1", "192.0.2.1"))
			default:
				words = append(words, pick("lldp", "ethertype=0x88b5", "ethertype=0x88b6"))
			}
			ported := strings.ContainsAny(words[4][:1], "tus")
			if ported && draw.IntN(2) == 0 {
				words = append(words, "src_port="+pick("0", "5", "53", "1024"), "dst_port="+pick("0", "53", "1023", "65535"))
			} else if strings.Contains(strings.Join(words, " "), "dscp") {
				words = append(words, pick("vlan=0", "fragment=first", "fragment=later"))
			}
			if !strings.Contains(strings.Join(words, " "), "vlan=") {
				words = append(words, "vlan="+pick("0", "0", "10", "17", "20"))
			}
			if draw.IntN(2) == 0 {
				words = append(words, "src_mac="+pick("02:00:00:00:00:02", "02:00:00:00:00:03"), "dst_mac="+pick("02:00:00:00:00:02", s.guests["b"].HardwareAddr().String()))
			}
			code, out, err := s.spanctl(words...)
			copied += strings.Count(out, "session x: copied")
			not += strings.Count(out, "session x: not copied")
			if code != exitOK {
				s.Errorf("%s exits %d\n%s%s\nof\n%s", strings.Join(words, " "), code, out, err, s.want(exitOK, "get"))
			}
		}
	}
	if copied < 10 || not < 10 {
		s.Errorf("%d packets are copied and %d are not: that says little", copied, not)
	}
}
