package main

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A oracleField is a field of a match and whether it holds for a packet.
type oracleField struct {
	field string
	holds bool
}

// protocolNumbers are the names that matches may use, and the IP version (0: both) that they belong to.
var protocolNumbers = map[string]struct {
	number uint8
	kind   string
}{
	"tcp": {6, ""}, "udp": {17, ""}, "sctp": {132, ""}, "gre": {47, ""}, "esp": {50, ""},
	"icmp": {1, "ipv4"}, "igmp": {2, "ipv4"}, "icmp6": {58, "ipv6"},
}

var etherTypes = map[string]uint16{"arp": 0x0806, "ipv4": 0x0800, "ipv6": 0x86dd, "lldp": 0x88cc}

// etherType is the match's, 0 if it names none.
func (m *oracleMatch) etherType() uint16 {
	if n, ok := etherTypes[m.EtherType]; ok || m.EtherType == "" {
		return n
	}
	n, err := strconv.ParseUint(m.EtherType, 0, 16)
	if err != nil {
		panic(err) // they are written by us
	}
	return uint16(n)
}

// oracleHeaders are what the switch sees of a packet.
type oracleHeaders struct {
	*oraclePacket
	known     []oracleTag // within the switch: those that it knows of
	vlan      uint16
	etherType uint16 // after the outermost tag: of a packet with two, the type of the inner tag
	ip, arp   bool   // and not behind a second tag
	ports     bool   // they are shown
	proto     uint8
}

// seen is what the switch sees of the packet, of which it knows these tags.
func (o *oracle) seen(p *oraclePacket, known []oracleTag) oracleHeaders {
	h := oracleHeaders{oraclePacket: p, known: known, vlan: vlanOf(known), etherType: p.etherType(), proto: p.Proto}
	if len(p.Tags) > 1 {
		h.etherType = p.Tags[1].tpid()
		return h
	}
	h.ip, h.arp = p.isIP(), p.Kind == "arp"
	h.ports = p.hasPorts() && p.Frag == ""
	if p.Kind == "ipv6" && p.Frag == "later" {
		h.proto = 44 // the fragment header is the last that is read
	}
	return h
}

// fields says of each field of the match whether it holds.
func (m *oracleMatch) fields(h oracleHeaders) []oracleField {
	var list []oracleField
	add := func(present bool, field string, holds func() bool) {
		if present {
			list = append(list, oracleField{field, holds()})
		}
	}
	add(m.Protocol != "", "protocol", func() bool { return h.ip && m.protocol(h) })
	add(m.EtherType != "", "ethertype", func() bool { return h.etherType == m.etherType() })
	add(m.Src != "", "src", func() bool { return m.within(h, m.Src, h.Src) })
	add(m.Dst != "", "dst", func() bool { return m.within(h, m.Dst, h.Dst) })
	add(m.Net != "", "net", func() bool { return m.within(h, m.Net, h.Src) || m.within(h, m.Net, h.Dst) })
	add(m.SrcPort != nil, "src_port", func() bool { return h.ports && m.SrcPort.has(h.SrcPort) })
	add(m.DstPort != nil, "dst_port", func() bool { return h.ports && m.DstPort.has(h.DstPort) })
	add(m.Port != nil, "port", func() bool { return h.ports && (m.Port.has(h.SrcPort) || m.Port.has(h.DstPort)) })
	add(m.VLAN != nil, "vlan", func() bool { return m.VLAN.has(h.vlan) })
	add(m.SrcMAC != "", "src_mac", func() bool { return strings.EqualFold(m.SrcMAC, h.SrcMAC) })
	add(m.DstMAC != "", "dst_mac", func() bool { return strings.EqualFold(m.DstMAC, h.DstMAC) })
	add(m.MAC != "", "mac", func() bool { return strings.EqualFold(m.MAC, h.SrcMAC) || strings.EqualFold(m.MAC, h.DstMAC) })
	add(m.DSCP != nil, "dscp", func() bool { return h.ip && h.DSCP == *m.DSCP })
	return list
}

// onlyPort0 tells whether the match is about ports, and each that it names is 0.
func (m *oracleMatch) onlyPort0() bool {
	ports := slices.Concat(m.SrcPort, m.DstPort, m.Port)
	return len(ports) > 0 && !slices.ContainsFunc(ports, func(r [2]uint16) bool { return r != [2]uint16{} })
}

func (m *oracleMatch) protocol(h oracleHeaders) bool {
	if named, ok := protocolNumbers[m.Protocol]; ok {
		return h.proto == named.number && (named.kind == "" || named.kind == h.Kind)
	}
	n, err := strconv.ParseUint(m.Protocol, 10, 8)
	if err != nil {
		panic(err)
	}
	for _, named := range protocolNumbers { // a number that has a name is the name
		if named.number == uint8(n) && named.kind != "" && named.kind != h.Kind {
			return false
		}
	}
	return h.proto == uint8(n)
}

// within tells whether an address of the packet is in the network. ARP's addresses count only where the match says arp.
func (m *oracleMatch) within(h oracleHeaders, network, address string) bool {
	if !h.ip && (!h.arp || m.etherType() != etherTypes["arp"]) {
		return false
	}
	a := netip.MustParseAddr(address)
	if !strings.Contains(network, "/") {
		return a == netip.MustParseAddr(network)
	}
	return netip.MustParsePrefix(network).Contains(a)
}

// holds tells whether all fields hold, and notes which decided: each where all hold, or the one that alone does not.
func (m *oracleMatch) holds(h oracleHeaders, note func(field string, holds bool)) bool {
	list := m.fields(h)
	failed := 0
	for _, f := range list {
		if !f.holds {
			failed++
		}
	}
	for _, f := range list {
		if failed == 0 || failed == 1 && !f.holds {
			note(f.field, f.holds)
		}
	}
	return failed == 0
}

// key is the same for treatments that ask for the same in different words.
func (t *oracleTreatment) key() string {
	same := *t
	same.Include, same.Exclude = plainMatches(t.Include), plainMatches(t.Exclude)
	return yamlOf(same)
}

func plainMatches(list []oracleMatch) []oracleMatch {
	byText := map[string]oracleMatch{}
	for i := range list {
		m := list[i].plain()
		byText[yamlOf(m)] = m
	}
	var out []oracleMatch
	for _, text := range slices.Sorted(maps.Keys(byText)) {
		out = append(out, byText[text])
	}
	return out
}

// plain is the match with names in place of numbers, and without networks of all addresses.
func (m *oracleMatch) plain() oracleMatch {
	out := *m
	for name, number := range etherTypes {
		if m.etherType() == number {
			out.EtherType = name
		}
	}
	for name, named := range protocolNumbers {
		if m.Protocol == strconv.Itoa(int(named.number)) {
			out.Protocol = name
		}
	}
	for _, network := range []*string{&out.Src, &out.Dst, &out.Net} {
		if strings.HasSuffix(*network, "/0") {
			if out.EtherType == "" {
				out.EtherType = map[bool]string{false: "ipv4", true: "ipv6"}[strings.Contains(*network, ":")]
			}
			*network = ""
		}
	}
	if kind := protocolNumbers[out.Protocol].kind; kind != "" || out.Src+out.Dst+out.Net != "" {
		if out.EtherType == kind || out.EtherType != "arp" && kind == "" {
			out.EtherType = ""
		}
	}
	return out
}
