package policy

import (
	"net/netip"
)

// checkMatch refuses matches that no packet can satisfy: they would be
// written by mistake, and an exclude that never holds copies too much.
func (o *object) checkMatch(m *Match) {
	if len(o.node.entries) == 0 {
		o.wrong("", problemf("remove it, or say which packets", "an empty match holds for every packet"))
		return
	}
	if !o.sound {
		return
	}
	// What each field says about the IP version; the first is right.
	family, says := 0, ""
	for _, claim := range []struct {
		field  string
		family int
	}{
		{"ethertype", etherFamily(m.EtherType)},
		{"protocol", protocolFamily(m.Protocol)},
		{"src", prefixFamily(m.Src)},
		{"dst", prefixFamily(m.Dst)},
		{"net", prefixFamily(m.Net)},
	} {
		switch {
		case claim.family == 0:
		case family == 0:
			family, says = claim.family, claim.field
		case family != claim.family:
			o.wrong(claim.field, problemf("write one match for IPv4 and one for IPv6, or remove one of the two",
				"is IPv%d, but %s is IPv%d, so no packet matches", claim.family, says, family))
		}
	}
	if e := m.EtherType; e != "" && e != EtherTypeIPv4 && e != EtherTypeIPv6 {
		for _, name := range []string{"protocol", "src", "dst", "net", "dscp"} {
			// ARP carries IPv4 addresses: its sender's and its target's.
			address := name == "src" || name == "dst" || name == "net"
			if o.has(name) && !(e == EtherTypeARP && address && family != 6) {
				o.wrong(name, problemf("remove it or ethertype", "ethertype %s has none, so no packet matches", e))
			}
		}
	}
	o.checkPorts(m)
}

func (o *object) checkPorts(m *Match) {
	for _, name := range []string{"src_port", "dst_port", "port"} {
		switch {
		case !o.has(name):
		case m.Protocol != "" && !m.Protocol.hasPorts():
			o.wrong(name, problemf("use protocol tcp, udp or sctp, or remove it", "protocol %s has no ports, so no packet matches", m.Protocol))
		case m.EtherType != "" && m.EtherType != EtherTypeIPv4 && m.EtherType != EtherTypeIPv6:
			o.wrong(name, problemf("remove it or ethertype", "ethertype %s has no ports, so no packet matches", m.EtherType))
		}
	}
}

// etherFamily is the IP version whose addresses packets of e carry; 0 is any.
func etherFamily(e EtherType) int {
	switch e {
	case EtherTypeIPv4, EtherTypeARP:
		return 4
	case EtherTypeIPv6:
		return 6
	}
	return 0
}

// protocolFamily is the IP version that p belongs to; 0 is both.
func protocolFamily(p Protocol) int {
	switch p {
	case ProtocolICMP, ProtocolIGMP:
		return 4
	case ProtocolICMP6:
		return 6
	}
	return 0
}

func prefixFamily(p netip.Prefix) int {
	switch {
	case !p.IsValid():
		return 0
	case p.Addr().Is4():
		return 4
	}
	return 6
}
