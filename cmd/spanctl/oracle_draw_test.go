package main

import (
	"fmt"
	"slices"
	"strconv"

	"pgregory.net/rapid"
)

// What is drawn prefers what is at the edges: few names, VLANs, addresses and ports, so that policies and packets meet.
// The first of the choices is the simplest, to which failing cases shrink.

// pick draws one of the choices.
func pick[T any](t *rapid.T, label string, choices ...T) T {
	return rapid.SampledFrom(choices).Draw(t, label)
}

// oneIn draws true once in n times.
func oneIn(t *rapid.T, n int, label string) bool {
	return rapid.IntRange(0, 1<<20-1).Draw(t, label)%n == n-1
}

// some draws one or more of the choices, in their order.
func some[T any](t *rapid.T, label string, choices []T) []T {
	first := rapid.IntRange(0, len(choices)-1).Draw(t, label)
	out := []T{choices[first]}
	for _, c := range choices[first+1:] {
		if oneIn(t, 2, label) {
			out = append(out, c)
		}
	}
	return out
}

// portMAC is the address of what is behind a port.
func portMAC(number int) string { return fmt.Sprintf("02:00:00:00:00:%02x", number) }

// drawHost draws the bridges, their ports, and the ports that copies may go to, which are named audit0 and so on.
func drawHost(t *rapid.T, c *oracleCase) (audits []oraclePort) {
	number := 0
	for b := range rapid.IntRange(1, 3).Draw(t, "bridges") {
		bridge := oracleBridge{Name: fmt.Sprintf("br%d", b)}
		if oneIn(t, 4, "own port") {
			bridge.Ports = append(bridge.Ports, oraclePort{Name: bridge.Name, IDs: drawIDs(t, number, true)})
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "ports") {
			number++
			p := oraclePort{Name: fmt.Sprintf("n%d%c", b, 'a'+i), IDs: drawIDs(t, number, false)}
			if oneIn(t, 8, "bond") {
				p.Members = []string{p.Name + "-0", p.Name + "-1"}
			}
			if oneIn(t, 6, "ids of the port") {
				p.PortIDs = map[string]string{"rack": pick(t, "rack", "r1", "r2")}
			}
			drawVLANColumns(t, &p)
			bridge.Ports = append(bridge.Ports, p)
		}
		c.Bridges = append(c.Bridges, bridge)
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "audits") {
		p := oraclePort{Name: fmt.Sprintf("audit%d", i), IDs: map[string]string{"vm-id": fmt.Sprintf("ids-%d", i), "sensor": strconv.Itoa(i)}}
		if oneIn(t, 5, "second NIC") {
			p.IDs["vm-id"] = "ids-0"
		}
		if oneIn(t, 8, "NIC") {
			p.IDs["spanctl-role"] = "uplink"
		}
		drawVLANColumns(t, &p)
		bridge := &c.Bridges[rapid.IntRange(0, len(c.Bridges)-1).Draw(t, "bridge of audit")]
		bridge.Ports = append(bridge.Ports, p)
		audits = append(audits, p)
	}
	if oneIn(t, 6, "foreign mirror") {
		bridge := &c.Bridges[rapid.IntRange(0, len(c.Bridges)-1).Draw(t, "bridge of theirs")]
		m := oracleForeign{Bridge: bridge.Name, Output: "theirs"}
		if oneIn(t, 2, "of one port") {
			m.Src = []string{rapid.SampledFrom(bridge.Ports).Draw(t, "port").Name}
		}
		p := oraclePort{Name: m.Output}
		drawVLANColumns(t, &p)
		bridge.Ports = append(bridge.Ports, p)
		c.Foreign = append(c.Foreign, m)
	}
	for b := 1; b < len(c.Bridges); b++ {
		if oneIn(t, 3, "patch") {
			c.Patches = append(c.Patches, []string{c.Bridges[b-1].Name, c.Bridges[b].Name})
		}
	}
	return audits
}

// drawIDs draws external_ids of Interfaces: what makes a port a guest's, names its guest, or says its role.
func drawIDs(t *rapid.T, number int, own bool) map[string]string {
	ids := map[string]string{}
	if !own {
		if vm := pick(t, "vm", "web-1", "web-2", "db-1", ""); vm != "" {
			ids[pick(t, "vm key", "vm-id", "xs-vm-uuid", "iface-id")] = vm
		}
		if oneIn(t, 3, "has mac") {
			ids["attached-mac"] = portMAC(number)
		}
	}
	if zone := pick(t, "zone", "", "dmz", "lan"); zone != "" {
		ids["zone"] = zone
	}
	if oneIn(t, 5, "has role") {
		ids["spanctl-role"] = pick(t, "role", "guest", "uplink", "host", "none")
	}
	if oneIn(t, 10, "has tag") {
		ids["spanctl"] = pick(t, "tag", "s0", "s1", "s0,s2")
	}
	return ids
}

func drawVLANColumns(t *rapid.T, p *oraclePort) {
	switch pick(t, "VLANs", "all", "all", "access", "some", "native-tagged", "native-untagged", "dot1q-tunnel") {
	case "access":
		p.Tag = pick[uint16](t, "access", 10, 20)
	case "some":
		p.Trunks = oracleRanges{{0, 0}, {10, 11}, {4094, 4094}}
	case "native-tagged":
		p.Mode, p.Tag = "native-tagged", 10
	case "native-untagged":
		p.Mode, p.Tag = "native-untagged", 20
	case "dot1q-tunnel":
		p.Mode, p.Tag = "dot1q-tunnel", 10
	}
}

// someVLANs are the sets of VLANs that selectors and matches name.
var someVLANs = []oracleRanges{{{10, 10}}, {{0, 0}}, {{10, 20}}, {{0, 0}, {20, 20}}, {{1, 4094}}, {{11, 19}, {4094, 4094}}, {{0, 10}}}

func drawSelector(t *rapid.T, c *oracleCase) oracleSelector {
	var e oracleSelector
	switch pick(t, "selector", "role all", "role", "interface", "vm", "ids", "mac", "bridge") {
	case "role all":
		e.Role = "all"
	case "role":
		e.Role = pick(t, "role", "guest", "uplink", "host")
	case "interface":
		e.Interface = pick(t, "interface", "n0a", "n0*", "n?a", "n0[ab]", "n1b", "n0a-1", "br0", "*", "audit0")
	case "vm":
		e.VM = pick(t, "vm", "web-1", "web-*", "*", "db-?", "ids-0")
	case "ids":
		e.IDs = map[string]string{pick(t, "key", "zone", "zone", "rack"): pick(t, "value", "dmz", "*", "r1", "l?n")}
	case "mac":
		e.MAC = portMAC(rapid.IntRange(1, 4).Draw(t, "mac"))
	case "bridge":
		e.Bridge = pick(t, "bridge", "br0", "br[01]", "*")
	}
	if e.Role == "" && oneIn(t, 8, "and role") {
		e.Role = pick(t, "role", "guest", "uplink", "host")
	}
	if e.Bridge == "" && oneIn(t, 4, "and bridge") {
		e.Bridge = pick(t, "bridge", "br0", "br1", "br[02]")
	}
	if oneIn(t, 4, "and vlans") {
		e.VLANs = pick(t, "vlans", someVLANs...)
	}
	if oneIn(t, 3, "and direction") {
		e.Direction = pick(t, "direction", "from", "to", "both")
	}
	return e
}

// drawSessions draws sessions that share few treatments, and few destinations.
func drawSessions(t *rapid.T, c *oracleCase, audits []oraclePort) {
	treatments := []oracleTreatment{drawTreatment(t, c), drawTreatment(t, c)}
	c.Sessions = drawSome(t, c, audits, treatments)
	if oneIn(t, 4, "before") {
		c.Before = drawSome(t, c, audits, append(treatments, drawTreatment(t, c)))
	}
}

func drawSome(t *rapid.T, c *oracleCase, audits []oraclePort, treatments []oracleTreatment) map[string]oracleSession {
	sessions := map[string]oracleSession{}
	for i := range rapid.IntRange(1, 3).Draw(t, "sessions") {
		s := oracleSession{Treatment: pick(t, "treatment", treatments...)}
		for range rapid.IntRange(1, 3).Draw(t, "sources") {
			s.Sources = append(s.Sources, drawSelector(t, c))
		}
		if oneIn(t, 4, "has except") {
			s.Except = []oracleSelector{drawSelector(t, c)}
		}
		for _, p := range some(t, "destinations", audits) {
			s.Destinations = append(s.Destinations, drawDestination(t, c, p))
		}
		if oneIn(t, 4, "the other way around") {
			slices.Reverse(s.Destinations)
		}
		if oneIn(t, 12, "has an absent one") {
			s.Destinations = append(s.Destinations, oracleDestination{VM: "absent"})
		}
		if len(s.Destinations) < 2 {
			s.Treatment.Balance = ""
		}
		if oneIn(t, 12, "disabled") {
			s.Enabled = new(bool)
		}
		sessions[fmt.Sprintf("s%d", i)] = s
	}
	return sessions
}

// drawDestination draws words for a port.
func drawDestination(t *rapid.T, c *oracleCase, p oraclePort) oracleDestination {
	var nics []string // of the guest, by ofport
	for _, b := range c.Bridges {
		for _, other := range b.Ports {
			if other.IDs["vm-id"] == p.IDs["vm-id"] {
				nics = append(nics, other.Name)
			}
		}
	}
	d := oracleDestination{Dedicated: p.IDs["spanctl-role"] == "uplink"}
	switch pick(t, "named by", "interface", "vm", "ids") {
	case "interface":
		d.Interface = p.Name
	case "vm":
		d.VM = p.IDs["vm-id"]
		if n := slices.Index(nics, p.Name); len(nics) > 1 {
			d.NIC = &n
		}
	case "ids":
		d.IDs = map[string]string{"sensor": p.IDs["sensor"]}
	}
	return d
}

func drawTreatment(t *rapid.T, c *oracleCase) oracleTreatment {
	var r oracleTreatment
	if oneIn(t, 5, "snaplen") {
		r.Snaplen = pick(t, "bytes", 64, 14, 15, 100, 65535)
	}
	r.StripVLAN = oneIn(t, 5, "strip_vlan")
	switch pick(t, "machinery", "rules", "rules", "mirrors", "rules", "filter") {
	case "mirrors": // without what needs rules
		return r
	case "filter": // one match that a Mirror can hold (OVS 3.4)
		r.Include = []oracleMatch{drawFilter(t)}
		return r
	}
	if oneIn(t, 2, "include") {
		r.Include = drawMatches(t)
	}
	if oneIn(t, 2, "exclude") {
		r.Exclude = drawMatches(t)
	}
	if oneIn(t, 3, "balance") {
		r.Balance = "flow"
	}
	if oneIn(t, 6, "sample") {
		r.Sample = pick(t, "1/N", "1/2", "1/3", "1/10")
	}
	if oneIn(t, 8, "max_rate") {
		r.MaxRate = pick(t, "rate", "40Gbps", "4Mpps")
	}
	if oneIn(t, 4, "fails open") && r.Include == nil && r.Balance == "" {
		r.Fail = "open" // refused where destinations are shared
	}
	return r
}

// drawFilter draws a match that is one OpenFlow match without masks.
func drawFilter(t *rapid.T) oracleMatch {
	var m oracleMatch
	switch pick(t, "filter", "tcp", "icmp", "arp", "lldp", "mac", "udp6") {
	case "tcp":
		m.Protocol, m.EtherType = pick(t, "protocol", "tcp", "udp", "sctp"), "ipv4"
		m.DstPort = pick(t, "dst_port", oracleRanges{{53, 53}}, nil, oracleRanges{{0, 0}}, oracleRanges{{7788, 7788}})
		m.Src = pick(t, "src", "", "10.20.3.4", "0.0.0.0/0")
	case "udp6":
		m.Protocol, m.Dst = "udp", "2001:db8::1"
		m.SrcPort = pick(t, "src_port", nil, oracleRanges{{53, 53}}, oracleRanges{{0, 0}})
	case "icmp":
		m.Protocol = pick(t, "protocol", "icmp", "icmp6")
	case "arp":
		m.EtherType, m.Dst = "arp", pick(t, "dst", "", "10.20.3.4")
	case "lldp":
		m.EtherType = pick(t, "ethertype", "lldp", "0x8100", "0x88b5")
	case "mac":
		m.SrcMAC = portMAC(1)
	}
	if m.Protocol != "" && oneIn(t, 4, "has dscp") {
		m.DSCP = new(uint8(46))
	}
	return m
}

func drawMatches(t *rapid.T) []oracleMatch {
	var list []oracleMatch
	for range rapid.IntRange(1, 3).Draw(t, "matches") {
		list = append(list, drawMatch(t))
	}
	return list
}

// Networks, ports and more that matches name.
var (
	networks = map[string][]string{
		"ipv4": {"10.20.0.0/16", "10.20.3.0/24", "10.20.3.4", "192.0.2.0/31", "0.0.0.0/0", "128.0.0.0/1", "10.20.3.4/30"},
		"ipv6": {"2001:db8::/32", "2001:db8:0:1::/64", "2001:db8::1", "::/0", "2001:db8::8/125", "fe80::/10"},
	}
	somePorts = []oracleRanges{
		{{53, 53}}, {{80, 80}, {443, 443}}, {{7788, 7799}}, {{1024, 65535}}, {{0, 0}}, {{0, 1023}}, {{0, 65535}}, {{1, 65534}}, {{65535, 65535}}, {{0, 7}, {21, 100}},
	}
	someProtocols = map[string][]string{
		"":     {"tcp", "udp", "sctp", "gre", "esp", "89", "6", "255"},
		"ipv4": {"tcp", "udp", "icmp", "igmp", "sctp", "1", "44", "esp", "0"},
		"ipv6": {"tcp", "udp", "icmp6", "58", "sctp", "44", "gre"},
	}
)

// drawMatch draws fields that agree with each other: what no packet can satisfy is refused.
func drawMatch(t *rapid.T) oracleMatch {
	var m oracleMatch
	has := func(field string, n int) bool { return oneIn(t, n, "has "+field) }
	family := pick(t, "family", "", "ipv4", "ipv6", "arp", "other")
	switch family {
	case "arp":
		m.EtherType = pick(t, "arp", "arp", "0x0806")
	case "other":
		m.EtherType = pick(t, "ethertype", "lldp", "0x88b5", "0x8100", "0x88a8", "0x88cc", "0x0600")
	case "ipv4", "ipv6":
		if has("ethertype", 4) {
			m.EtherType = family
		}
	}
	if networks := networks[map[string]string{"arp": "ipv4", "ipv4": "ipv4", "ipv6": "ipv6"}[family]]; networks != nil {
		switch pick(t, "addresses", "net", "src", "dst", "src and dst", "none", "net and src") {
		case "net":
			m.Net = pick(t, "net", networks...)
		case "src":
			m.Src = pick(t, "src", networks...)
		case "dst":
			m.Dst = pick(t, "dst", networks...)
		case "src and dst":
			m.Src, m.Dst = pick(t, "src", networks...), pick(t, "dst", networks...)
		case "net and src":
			m.Net, m.Src = pick(t, "net", networks...), pick(t, "src", networks...)
		}
	}
	if family != "arp" && family != "other" {
		if has("protocol", 2) {
			m.Protocol = pick(t, "protocol", someProtocols[family]...)
		}
		if slices.Contains([]string{"", "tcp", "udp", "sctp", "6"}, m.Protocol) {
			switch pick(t, "ports", "port", "none", "dst_port", "src_port", "both", "port and dst_port") {
			case "port":
				m.Port = pick(t, "port", somePorts...)
			case "src_port":
				m.SrcPort = pick(t, "src_port", somePorts...)
			case "dst_port":
				m.DstPort = pick(t, "dst_port", somePorts...)
			case "both":
				m.SrcPort, m.DstPort = pick(t, "src_port", somePorts...), pick(t, "dst_port", somePorts...)
			case "port and dst_port":
				m.Port, m.DstPort = pick(t, "port", somePorts...), pick(t, "dst_port", somePorts...)
			}
		}
		if has("dscp", 3) {
			m.DSCP = new(pick[uint8](t, "dscp", 46, 46, 0, 63))
		}
	}
	if has("vlan", 5) {
		m.VLAN = pick(t, "vlan", someVLANs...)
	}
	switch pick(t, "addresses", "none", "none", "none", "mac", "src_mac", "dst_mac", "mac and src_mac") {
	case "mac":
		m.MAC = portMAC(1)
	case "src_mac":
		m.SrcMAC = portMAC(2)
	case "dst_mac":
		m.DstMAC = pick(t, "mac", portMAC(1), "ff:ff:ff:ff:ff:ff")
	case "mac and src_mac":
		m.MAC, m.SrcMAC = portMAC(1), portMAC(2)
	}
	// A session with more than 16,384 rules is refused, as the reference says. These are 2,000 at most.
	if m.rules() > 2000 {
		m.VLAN = nil
	}
	if m.rules() > 2000 {
		m.Port = nil
	}
	if yamlOf(m) == yamlOf(oracleMatch{}) {
		m.Protocol = "tcp"
	}
	return m
}

// rules is about how many OpenFlow rules the match needs, at most.
func (m *oracleMatch) rules() int {
	n := 6 // protocols and IP versions
	for _, field := range []oracleRanges{m.VLAN, m.SrcPort, m.DstPort, m.Port} {
		n *= max(1, field.blocks())
	}
	for _, either := range []bool{m.Net != "", m.MAC != "", m.Port != nil} {
		if either {
			n *= 2
		}
	}
	return n
}

// blocks is how many blocks of numbers that a mask can say the ranges are.
func (r oracleRanges) blocks() int {
	n := 0
	for _, one := range r {
		for first, last := int(one[0]), int(one[1]); first <= last; n++ {
			size := 1
			for first%(2*size) == 0 && first+2*size-1 <= last && size < 1<<15 {
				size *= 2
			}
			first += size
		}
	}
	return n
}
