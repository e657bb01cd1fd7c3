package plan

import (
	"fmt"
	"iter"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	"spanctl/policy"
)

// matches returns OpenFlow matches (ovs-fields(7)) of which at least one holds
// for each packet that a match of the list selects, and none for another: one for
// each IP version, side and mask. They are sorted.
//
// Under one VLAN tag the switch sees the packet's own headers, under two the inner
// tag only (other_config:vlan-limit is 1); on fragments it sees no ports.
//
// Of more than ruleLimit the rest is left out: they are refused.
func matches(list ...policy.Match) []string {
	var all []string
	for i := range list {
		for match := range eachMatch(&list[i]) {
			if all = append(all, match); len(all) > 2*ruleLimit { // some may be the same
				break
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func eachMatch(m *policy.Match) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, s := range sides(m) {
			for _, head := range heads(m, s) {
				for _, vlan := range vlanFields(m.VLAN) {
					for _, from := range portFields("tp_src", s.srcPort) {
						for _, to := range portFields("tp_dst", s.dstPort) {
							if !yield(joinFields(head, vlan, macField("dl_src", s.srcMAC), macField("dl_dst", s.dstMAC), from, to, s.whole(from, to))) {
								return
							}
						}
					}
				}
			}
		}
	}
}

// A side is what a match says about source and destination, where it left open
// which of both.
type side struct {
	src, dst         netip.Prefix
	srcMAC, dstMAC   string
	srcPort, dstPort policy.Ranges // nil: any
}

// sides resolves net, mac and port, each of which may hold on either side. What
// cannot be is left out.
func sides(m *policy.Match) []side {
	list := []side{{m.Src, m.Dst, m.SrcMAC, m.DstMAC, m.SrcPort, m.DstPort}}
	either := func(on bool, atSource, atDestination func(*side) bool) {
		if !on {
			return
		}
		var both []side
		for _, s := range list {
			for _, put := range []func(*side) bool{atSource, atDestination} {
				if at := s; put(&at) {
					both = append(both, at)
				}
			}
		}
		list = both
	}
	either(m.Net.IsValid(), func(s *side) bool { return narrowPrefix(&s.src, m.Net) }, func(s *side) bool { return narrowPrefix(&s.dst, m.Net) })
	either(m.MAC != "", func(s *side) bool { return narrowMAC(&s.srcMAC, m.MAC) }, func(s *side) bool { return narrowMAC(&s.dstMAC, m.MAC) })
	either(m.Port != nil, func(s *side) bool { return narrowPorts(&s.srcPort, m.Port) }, func(s *side) bool { return narrowPorts(&s.dstPort, m.Port) })
	return list
}

// narrowPrefix makes p what is in both, and reports whether anything is.
func narrowPrefix(p *netip.Prefix, other netip.Prefix) bool {
	switch {
	case !p.IsValid() || p.Overlaps(other) && other.Bits() > p.Bits():
		*p = other
	case !p.Overlaps(other):
		return false
	}
	return true
}

func narrowMAC(mac *string, other string) bool {
	if *mac == "" {
		*mac = other
	}
	return *mac == other
}

func narrowPorts(r *policy.Ranges, other policy.Ranges) bool {
	if *r == nil {
		*r = other
		return true
	}
	var both policy.Ranges
	for _, a := range *r {
		for _, b := range other {
			if first, last := max(a.First, b.First), min(a.Last, b.Last); first <= last {
				both = append(both, policy.Range{First: first, Last: last})
			}
		}
	}
	*r = both
	return len(both) > 0
}

// heads are the protocols of a match, with the fields that only they have.
func heads(m *policy.Match, s side) []string {
	switch number, _ := m.EtherType.Number(); m.EtherType {
	case policy.EtherTypeARP:
		return []string{joinFields("arp", prefixField("arp_spa", s.src), prefixField("arp_tpa", s.dst))}
	case "", policy.EtherTypeIPv4, policy.EtherTypeIPv6:
	default:
		if word, named := map[uint16]string{0x8035: "rarp", 0x8847: "mpls", 0x8848: "mplsm"}[number]; named {
			return []string{word} // as ovs-ofctl prints it
		}
		return []string{fmt.Sprintf("dl_type=0x%04x", number)}
	}
	ports := s.srcPort != nil || s.dstPort != nil
	if m.EtherType == "" && m.Protocol == "" && !ports && !s.src.IsValid() && !s.dst.IsValid() && m.DSCP == nil {
		return []string{""}
	}
	protocols := []policy.Protocol{m.Protocol}
	if m.Protocol == "" && ports {
		protocols = []policy.Protocol{policy.ProtocolTCP, policy.ProtocolUDP, policy.ProtocolSCTP}
	}
	tos := ""
	if m.DSCP != nil {
		tos = fmt.Sprintf("nw_tos=%d", *m.DSCP<<2)
	}
	var list []string
	if speaksIPv4(m, s) {
		for _, p := range protocols {
			list = append(list, joinFields(protocolField(p, "ip", ""), prefixField("nw_src", s.src), prefixField("nw_dst", s.dst), tos))
		}
	}
	if speaksIPv6(m, s) {
		for _, p := range protocols {
			list = append(list, joinFields(protocolField(p, "ipv6", "6"), prefixField("ipv6_src", s.src), prefixField("ipv6_dst", s.dst), tos))
		}
	}
	return list
}

func speaksIPv4(m *policy.Match, s side) bool {
	return m.EtherType != policy.EtherTypeIPv6 && m.Protocol != policy.ProtocolICMP6 && !s.src.Addr().Is6() && !s.dst.Addr().Is6()
}

func speaksIPv6(m *policy.Match, s side) bool {
	return m.EtherType != policy.EtherTypeIPv4 && m.Protocol != policy.ProtocolICMP && m.Protocol != policy.ProtocolIGMP && !s.src.Addr().Is4() && !s.dst.Addr().Is4()
}

// protocolField names the IP protocol, of the IP version that ip names and the
// suffix stands for.
func protocolField(p policy.Protocol, ip, suffix string) string {
	switch p {
	case "":
		return ip
	case policy.ProtocolTCP, policy.ProtocolUDP, policy.ProtocolSCTP:
		return string(p) + suffix
	case policy.ProtocolICMP, policy.ProtocolICMP6:
		return string(p)
	}
	number, _ := p.Number()
	return fmt.Sprintf("%s,nw_proto=%d", ip, number)
}

// prefixField is nothing for what holds for every address.
func prefixField(name string, p netip.Prefix) string {
	switch {
	case !p.IsValid() || p.Bits() == 0:
		return ""
	case p.IsSingleIP():
		return name + "=" + p.Addr().String()
	}
	return name + "=" + p.String()
}

// whole keeps fragments out of a match on ports that would hold for them: the
// switch takes their ports for 0 (ofproto-dpif, rule_dpif_lookup_from_table).
func (s side) whole(ports ...string) string {
	zero := func(field string) bool {
		return field == "" || strings.HasSuffix(field, "=0") || strings.Contains(field, "=0x0/")
	}
	if (s.srcPort != nil || s.dstPort != nil) && zero(ports[0]) && zero(ports[1]) {
		return "nw_frag=no"
	}
	return ""
}

func macField(name, mac string) string {
	if mac == "" {
		return ""
	}
	return name + "=" + mac
}

// portFields match the ports, each with a mask; one empty field for any port.
func portFields(name string, ports policy.Ranges) []string {
	if ports == nil {
		return []string{""}
	}
	var list []string
	for _, m := range masks(ports, 16) {
		switch m.mask {
		case 0: // every port
			list = append(list, "")
		case 0xffff:
			list = append(list, fmt.Sprintf("%s=%d", name, m.value))
		default:
			list = append(list, fmt.Sprintf("%s=0x%x/0x%x", name, m.value, m.mask))
		}
	}
	return list
}

// vlanFields match the VLANs; one empty field for any. A packet is in VLAN 0 if it
// has no tag, or one with the VID 0 (IEEE 802.1Q's priority tag).
func vlanFields(vlans policy.Ranges) []string {
	if vlans == nil {
		return []string{""}
	}
	var list []string
	var tagged policy.Ranges
	for _, r := range vlans {
		if r.First == 0 {
			list = append(list, "vlan_tci=0x0000/0x0fff")
			r.First = 1
		}
		if r.First <= r.Last {
			tagged = append(tagged, r)
		}
	}
	const present = 0x1000 // what ovs-fields(7) calls CFI in vlan_tci
	for _, m := range masks(tagged, 12) {
		if m.mask == 0xfff {
			list = append(list, fmt.Sprintf("dl_vlan=%d", m.value))
		} else {
			list = append(list, fmt.Sprintf("vlan_tci=0x%04x/0x%04x", present|m.value, present|m.mask))
		}
	}
	return list
}

// A masked is the numbers whose bits under the mask are those of value.
type masked struct{ value, mask uint16 }

// masks covers the ranges, and nothing else, with the fewest prefixes of numbers of
// so many bits.
func masks(ranges policy.Ranges, width int) []masked {
	var list []masked
	all := uint32(1)<<width - 1
	for _, r := range ranges {
		for first, last := uint32(r.First), uint32(r.Last); first <= last; {
			size := bits.TrailingZeros32(first | 1<<width) // the largest block that begins here
			for first+1<<size-1 > last {
				size--
			}
			list = append(list, masked{uint16(first), uint16(all &^ (1<<size - 1))})
			first += 1 << size
		}
	}
	return list
}

// joinFields puts fields into one match, less those that are empty.
func joinFields(fields ...string) string {
	return strings.Join(slices.DeleteFunc(fields, func(f string) bool { return f == "" }), ",")
}
