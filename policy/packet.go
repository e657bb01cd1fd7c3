package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
)

// A Packet is one packet by the header fields that matches speak of.
type Packet struct {
	EtherType EtherType  `json:"ethertype"`
	Protocol  Protocol   `json:"protocol,omitempty"` // of IP packets
	Src       netip.Addr `json:"src,omitzero"`       // of IP packets and, the sender's, of ARP's
	Dst       netip.Addr `json:"dst,omitzero"`       // likewise, the target's
	SrcPort   uint16     `json:"src_port,omitempty"`
	DstPort   uint16     `json:"dst_port,omitempty"`
	VLAN      uint16     `json:"vlan"` // of the outermost tag; 0 is untagged
	SrcMAC    string     `json:"src_mac,omitempty"`
	DstMAC    string     `json:"dst_mac,omitempty"`
	DSCP      uint8      `json:"dscp,omitempty"`
	Fragment  Fragment   `json:"fragment,omitempty"`
}

// A Fragment says which part of a packet it is; the zero Fragment is a whole
// packet.
type Fragment string

// The first fragment has the ports, later ones do not.
const (
	FragmentFirst Fragment = "first"
	FragmentLater Fragment = "later"
)

// IP reports whether it is a packet of IPv4 or IPv6.
func (p *Packet) IP() bool { return p.EtherType == EtherTypeIPv4 || p.EtherType == EtherTypeIPv6 }

// HasPorts reports whether the packet carries ports.
func (p *Packet) HasPorts() bool { return p.Protocol.hasPorts() && p.Fragment != FragmentLater }

// ProtocolSeen is the protocol as the switch sees it: of a later fragment over IPv6
// that of the fragment header, whatever is in it (lib/flow.c, OVS 3.1).
func (p *Packet) ProtocolSeen() Protocol {
	if p.EtherType == EtherTypeIPv6 && p.Fragment == FragmentLater {
		return "44"
	}
	return p.Protocol
}

// String is the packet in the words of ParsePacket.
func (p *Packet) String() string {
	var words []string
	add := func(present bool, format string, args ...any) {
		if present {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	_, named := bareWords[string(p.Protocol)]
	add(named, "%s", p.Protocol)
	add(p.Protocol != "" && !named, "protocol=%s", p.Protocol)
	_, named = bareWords[string(p.EtherType)]
	add(p.Protocol == "" && named, "%s", p.EtherType)
	add(p.Protocol == "" && !named, "ethertype=%s", p.EtherType)
	add(p.Src.IsValid(), "src=%s", p.Src)
	add(p.Dst.IsValid(), "dst=%s", p.Dst)
	add(p.HasPorts(), "src_port=%d dst_port=%d", p.SrcPort, p.DstPort)
	add(p.DSCP != 0, "dscp=%d", p.DSCP)
	add(p.Fragment != "", "fragment=%s", p.Fragment)
	add(p.VLAN != 0, "vlan=%d", p.VLAN)
	add(p.SrcMAC != "", "src_mac=%s", p.SrcMAC)
	add(p.DstMAC != "", "dst_mac=%s", p.DstMAC)
	return strings.Join(words, " ")
}

// Holds reports whether the match holds for a packet, as the switch sees it: a
// fragment, the first one too, has no ports (ofproto-dpif's default, OVS 3.1).
func (m *Match) Holds(p *Packet) bool {
	carries := p.IP() || m.EtherType == EtherTypeARP && p.EtherType == EtherTypeARP // addresses
	either := func(holds func(src bool) bool) bool { return holds(true) || holds(false) }
	address := func(prefix netip.Prefix, src bool) bool {
		at := p.Dst
		if src {
			at = p.Src
		}
		return carries && at.IsValid() && prefix.Contains(at)
	}
	port := func(set Ranges, src bool) bool {
		at := p.DstPort
		if src {
			at = p.SrcPort
		}
		return p.IP() && p.Protocol.hasPorts() && p.Fragment == "" && set.Contains(at)
	}
	family := protocolFamily(m.Protocol)
	switch {
	case m.EtherType != "" && m.EtherType != p.EtherType,
		m.Protocol != "" && (!p.IP() || m.Protocol != p.ProtocolSeen() || family != 0 && family != etherFamily(p.EtherType)),
		m.Src.IsValid() && !address(m.Src, true),
		m.Dst.IsValid() && !address(m.Dst, false),
		m.Net.IsValid() && !either(func(src bool) bool { return address(m.Net, src) }),
		m.SrcPort != nil && !port(m.SrcPort, true),
		m.DstPort != nil && !port(m.DstPort, false),
		m.Port != nil && !either(func(src bool) bool { return port(m.Port, src) }),
		m.VLAN != nil && !m.VLAN.Contains(p.VLAN),
		m.SrcMAC != "" && m.SrcMAC != p.SrcMAC,
		m.DstMAC != "" && m.DstMAC != p.DstMAC,
		m.MAC != "" && m.MAC != p.SrcMAC && m.MAC != p.DstMAC,
		m.DSCP != nil && (!p.IP() || *m.DSCP != p.DSCP):
		return false
	}
	return true
}

// String is the match as YAML in one line: {protocol: tcp, port: 80}.
func (m *Match) String() string {
	var parts []string
	v := reflect.ValueOf(m).Elem()
	for _, field := range fieldsOf(v.Type()).list {
		if value := v.FieldByIndex(field.index); !value.IsZero() {
			f := &formatter{}
			f.value(value, 0)
			parts = append(parts, field.name+":"+strings.TrimSuffix(f.out.String(), "\n"))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
