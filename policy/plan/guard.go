package plan

import (
	"fmt"
	"net/netip"
	"slices"

	"spanctl/policy"
)

// guards reports whether rules can keep the leak's packets out of the group's
// copies, which go into a tunnel: where there is OpenFlow, and in the userspace
// datapath where it is known for whom ovs-vswitchd itself asks by ARP.
func (c *compiler) guards(g *group, l leak) bool {
	return g.delivery.tunnels() && c.snap.Local && (l.device >= 0 || datapathOf(&c.snap.Bridges[g.bridge]) != "netdev")
}

func (d *delivery) tunnels() bool {
	return slices.ContainsFunc(d.targets, func(t target) bool { return t.tunnel != nil })
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

// guardMatches are the packets that must not be copied to the group's
// destinations: those of the tunnels that cross its bridge, in both directions,
// what the host asks to find their far ends, and what these answer if nobody
// listens there.
func guardMatches(g *group) []string {
	var list []string
	for _, l := range g.guards {
		list = append(list, l.tunnel.guard(l.route)...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (t *tunnel) guard(route Route) []string {
	if !t.remote.IsValid() {
		return nil
	}
	ip, suffix, from, to := "ip", "", "nw_src", "nw_dst"
	answers := []string{"icmp,icmp_type=3"} // unreachable
	if t.remote.Is6() {
		ip, suffix, from, to = "ipv6", "6", "ipv6_src", "ipv6_dst"
		answers = []string{"icmp6,icmp_type=1", "icmp6,icmp_type=4"} // unreachable, and a next header that is not known
	}
	// The far end may be a host that sends its copies here by a tunnel of another kind.
	kinds := []string{ip + ",nw_proto=47", "udp" + suffix + ",tp_dst=" + udpPort("vxlan", nil), "udp" + suffix + ",tp_dst=" + udpPort("geneve", nil)}
	if t.kind == "vxlan" || t.kind == "geneve" {
		kinds = append(kinds, "udp"+suffix+",tp_dst="+udpPort(t.kind, t.options))
	}
	if t.pskFile != "" { // ESP, by itself or in UDP
		kinds = append(kinds, ip+",nw_proto=50", "udp"+suffix+",tp_dst=4500")
	}
	kinds = append(kinds, ip+",nw_frag=yes") // the switch sees no ports on them, and on IPv6's later ones no protocol
	var list []string
	for _, match := range slices.Concat(kinds, answers) { // answers of this host's too, to what the far end sends
		list = append(list, fmt.Sprintf("%s,%s=%s", match, to, t.remote), fmt.Sprintf("%s,%s=%s", match, from, t.remote))
	}
	return append(list, route.asks(t.remote)...)
}

// asks are the questions by which the host finds the link-layer address of the next
// hop to the remote.
func (r Route) asks(remote netip.Addr) []string {
	hop := remote
	if r.NextHop.IsValid() {
		hop = r.NextHop
	}
	match, from := fmt.Sprintf("arp,arp_op=1,arp_tpa=%s", hop), "arp_spa"
	if hop.Is6() {
		match, from = fmt.Sprintf("icmp6,icmp_type=135,nd_target=%s", hop), "ipv6_src"
	}
	if r.Source.IsValid() {
		match += "," + from + "=" + r.Source.String()
	}
	return []string{match}
}
