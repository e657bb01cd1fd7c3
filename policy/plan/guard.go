package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"spanctl/policy"
)

// guards reports whether rules can keep the leak's packets out of the group's
// copies, which go into a tunnel: where there is OpenFlow, and in the userspace
// datapath where it is known for whom ovs-vswitchd itself asks by ARP.
func (c *compiler) guards(g *group, l leak) bool {
	return g.delivery.tunnels() && c.snap.Local && l.tunnel.remote.IsValid() && (l.device >= 0 || datapathOf(&c.snap.Bridges[g.bridge]) != "netdev")
}

// tunnels reports whether copies go into a tunnel, be it Open vSwitch's or the kernel's.
func (d *delivery) tunnels() bool {
	return slices.ContainsFunc(d.targets, func(t target) bool { return t.wraps() != nil })
}

// hears reports whether the group copies what comes from outside this host: there
// the far end of a tunnel may itself be a host that sends its copies here, and what
// both copy of each other would have no end.
func (c *compiler) hears(g *group) bool {
	list, every := c.merge(g)
	return every.from != nil || slices.ContainsFunc(list, func(s source) bool {
		return s.from != nil && (c.roles[s.port] == policy.RoleUplink || c.roles[s.port] == roleUnknown)
	})
}

// A guard is packets that must not be copied to a group's destinations: a match of
// the policy language, and what that cannot say.
type guard struct {
	policy.Match
	// more is a field of OpenFlow that must hold too, empty for none; fragment tells
	// that it is that of fragments.
	more     string
	fragment bool
}

// matches are the guard's OpenFlow matches.
func (g *guard) matches() []string {
	list := matches(g.Match)
	for i := range list {
		list[i] = joinFields(list[i], g.more)
	}
	return list
}

// holds reports whether the packet is one of those, as far as it says: none says that
// it is a message of ICMP.
func (g *guard) holds(p *policy.Packet) bool {
	return g.Match.Holds(p) && (g.more == "" || g.fragment && p.Fragment != "" || p.EtherType == policy.EtherTypeARP)
}

// against are the guards against a leak: packets of tunnels to and from the far end,
// what the host asks to find it, and what either end answers if nobody listens.
func (l *leak) against() []guard {
	t := l.tunnel
	if !t.remote.IsValid() {
		return nil
	}
	far := netip.PrefixFrom(t.remote, t.remote.BitLen())
	udp := func(port string) guard {
		n, _ := strconv.ParseUint(port, 10, 16)
		return guard{Match: policy.Match{Protocol: policy.ProtocolUDP, Net: far, DstPort: policy.Ranges{{First: uint16(n), Last: uint16(n)}}}}
	}
	list := []guard{ // the far end may be a host that sends its copies here by a tunnel of another kind
		{Match: policy.Match{Protocol: policy.ProtocolGRE, Net: far}},
		udp(udpPort("vxlan", nil)), udp(udpPort("geneve", nil)),
		{Match: policy.Match{Net: far}, more: "nw_frag=yes", fragment: true}, // no ports are seen on them, and on IPv6's later ones no protocol
	}
	if t.kind == "vxlan" || t.kind == "geneve" {
		list = append(list, udp(udpPort(t.kind, t.options)))
	}
	if t.pskFile != "" { // ESP, by itself or in UDP
		list = append(list, guard{Match: policy.Match{Protocol: policy.ProtocolESP, Net: far}}, udp("4500"))
	}
	message := func(protocol policy.Protocol, number int) guard {
		return guard{Match: policy.Match{Protocol: protocol, Net: far}, more: fmt.Sprintf("icmp_type=%d", number)}
	}
	if t.remote.Is4() {
		list = append(list, message(policy.ProtocolICMP, 3)) // unreachable
	} else {
		list = append(list, message(policy.ProtocolICMP6, 1), message(policy.ProtocolICMP6, 4)) // unreachable, and a next header that is not known
	}
	return append(list, l.route.asks(t.remote))
}

// asks is the question by which the host finds the link-layer address of the next
// hop to the remote.
func (r Route) asks(remote netip.Addr) guard {
	hop, source := remote, netip.Prefix{}
	if r.NextHop.IsValid() {
		hop = r.NextHop
	}
	if r.Source.IsValid() {
		source = netip.PrefixFrom(r.Source, r.Source.BitLen())
	}
	if hop.Is6() {
		return guard{Match: policy.Match{Protocol: policy.ProtocolICMP6, Src: source}, more: fmt.Sprintf("icmp_type=135,nd_target=%s", hop)}
	}
	return guard{Match: policy.Match{EtherType: policy.EtherTypeARP, Src: source, Dst: netip.PrefixFrom(hop, hop.BitLen())}, more: "arp_op=1"}
}
