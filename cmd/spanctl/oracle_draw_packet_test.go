package main

import (
	"net/netip"
	"slices"
	"strconv"

	"pgregory.net/rapid"
)

// drawPacket draws a packet that is near to what one of the case's matches names, or any, or one that answers an earlier
// one or follows it.
func drawPacket(t *rapid.T, c *oracleCase, matches []oracleMatch, earlier []oraclePacket) oraclePacket {
	p := drawNewPacket(t, c, matches, earlier)
	if len(p.Tags) > 1 && p.Tags[0].VID == 0 && p.Tags[0].PCP == 0 {
		// A first tag that says nothing before a second one goes, and then Open vSwitch takes the packet for one that was
		// cut: it is dropped where it crosses a patch, as in the hub.
		p.Tags[0].PCP = 3
	}
	return p
}

func drawNewPacket(t *rapid.T, c *oracleCase, matches []oracleMatch, earlier []oraclePacket) oraclePacket {
	var p oraclePacket
	kinds := []string{"new", "new", "aimed", "aimed", "aimed", "answer", "again"}
	switch kind := pick(t, "packet", kinds...); {
	case kind == "answer" && len(earlier) > 0:
		p = rapid.SampledFrom(earlier).Draw(t, "answered")
		p.Src, p.Dst, p.SrcPort, p.DstPort, p.SrcMAC, p.DstMAC = p.Dst, p.Src, p.DstPort, p.SrcPort, p.DstMAC, p.SrcMAC
		if parsedMAC(p.SrcMAC)[0]&1 == 1 { // of a group: nobody sends with it
			p.SrcMAC = portMAC(1)
		}
		drawEntry(t, c, &p)
		return p
	case kind == "again" && len(earlier) > 0:
		p = rapid.SampledFrom(earlier).Draw(t, "followed")
		if oneIn(t, 2, "elsewhere") {
			drawEntry(t, c, &p)
		}
		if p.isIP() && oneIn(t, 3, "in fragments") {
			p.Frag = pick(t, "frag", "first", "later")
			if p.hasPorts() && oneIn(t, 2, "of another connection") {
				p.SrcPort++
			}
		}
		return p
	case kind == "aimed" && len(matches) > 0:
		m := rapid.SampledFrom(matches).Draw(t, "aim")
		p = drawAny(t, c, m.family(t))
		p.aim(t, &m)
	default:
		p = drawAny(t, c, pick(t, "kind", "ipv4", "ipv4", "ipv6", "arp", "0x88b5", "0x88cc", "llc", "ipv6"))
	}
	return p
}

// drawEntry draws where the packet comes from and with which tags.
func drawEntry(t *rapid.T, c *oracleCase, p *oraclePacket) {
	b := &c.Bridges[rapid.IntRange(0, len(c.Bridges)-1).Draw(t, "bridge")]
	ports := []string{b.Name}
	for i := range b.Ports {
		if b.Ports[i].Name != b.Name {
			ports = append(ports, b.Ports[i].interfaces()...)
		}
	}
	p.In = ports[(rapid.IntRange(0, len(ports)-1).Draw(t, "in")+1)%len(ports)]
	vlan := func() uint16 { return pick[uint16](t, "vid", 10, 11, 20, 9, 21, 19, 4094, 1, 4093, 0) }
	p.Tags = nil
	switch pick(t, "tags", "none", "one", "none", "one", "two", "priority", "service") {
	case "one":
		p.Tags = []oracleTag{{VID: vlan()}}
	case "two":
		p.Tags = []oracleTag{{VID: vlan()}, {VID: vlan(), PCP: pick[uint8](t, "inner pcp", 0, 2)}}
	case "priority":
		p.Tags = []oracleTag{{PCP: pick[uint8](t, "priority", 0, 5)}}
	case "service":
		p.Tags = []oracleTag{{VID: vlan(), TPID: 0x88a8}, {VID: vlan()}}
	}
	if len(p.Tags) > 0 && oneIn(t, 4, "has pcp") {
		p.Tags[0].PCP = pick[uint8](t, "pcp", 3, 7)
	}
}

// drawAny draws a packet of a kind.
func drawAny(t *rapid.T, c *oracleCase, kind string) oraclePacket {
	p := oraclePacket{Kind: kind}
	drawEntry(t, c, &p)
	p.SrcMAC = portMAC(rapid.IntRange(1, 8).Draw(t, "src_mac"))
	p.DstMAC = pick(t, "dst_mac", portMAC(1), portMAC(2), "ff:ff:ff:ff:ff:ff", portMAC(3), portMAC(4), "01:00:5e:00:00:fb", "33:33:00:00:00:01", "01:80:c2:00:00:0e")
	address := func() string { return drawNear(t, rapid.SampledFrom(networks[kind]).Draw(t, "network")) }
	port := func() uint16 { return drawNearRange(t, rapid.SampledFrom(somePorts).Draw(t, "ports"), 65535) }
	switch kind {
	case "ipv4", "ipv6":
		p.Src, p.Dst = address(), address()
		p.Proto = pick[uint8](t, "proto", 6, 17, 132, 1, 58, 2, 47, 50, 89, 255)
		if p.hasPorts() {
			p.SrcPort, p.DstPort = port(), port()
		}
		if oneIn(t, 3, "has dscp") {
			p.DSCP = pick[uint8](t, "dscp", 46, 45, 47, 63, 62)
		}
		p.ECN = pick[uint8](t, "ecn", 0, 0, 0, 3)
		p.Frag = pick(t, "frag", "", "", "", "", "", "", "first", "later")
		p.Options = oneIn(t, 10, "options")
	case "arp":
		kind = "ipv4"
		p.Src, p.Dst = address(), address()
	}
	if oneIn(t, 4, "long") {
		p.Length = pick(t, "length", 63, 64, 65, 99, 100, 101, 104, 1500)
	}
	return p
}

// drawNear draws an address at an edge of the network, within or just outside.
func drawNear(t *rapid.T, network string) string {
	prefix, err := netip.ParsePrefix(network)
	if err != nil {
		a := netip.MustParseAddr(network)
		prefix = netip.PrefixFrom(a, a.BitLen())
	}
	first := prefix.Addr()
	bytes := first.AsSlice()
	for i := prefix.Bits(); i < first.BitLen(); i++ {
		bytes[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	near := []netip.Addr{first, last, first.Next(), last.Next(), first.Prev(), last.Prev()}
	near = slices.DeleteFunc(near, func(a netip.Addr) bool { return !a.IsValid() })
	return rapid.SampledFrom(near).Draw(t, "address").String()
}

// drawNearRange draws a number at an edge of one of the ranges, within or just outside, and not above the limit.
func drawNearRange(t *rapid.T, r oracleRanges, limit uint16) uint16 {
	one := rapid.SampledFrom(r).Draw(t, "range")
	n := pick(t, "number", int(one[0]), int(one[1]), int(one[0])-1, int(one[1])+1, (int(one[0])+int(one[1]))/2)
	return uint16(min(max(n, 0), int(limit)))
}

// family draws a kind of packets that the match can hold for.
func (m *oracleMatch) family(t *rapid.T) string {
	switch m.EtherType {
	case "arp", "0x0806":
		return "arp"
	case "lldp":
		return "0x88cc"
	case "0x8100", "0x88a8": // what is within a second tag
		return "ipv4"
	case "":
	case "ipv4", "ipv6":
		return m.EtherType
	default:
		return m.EtherType
	}
	for _, network := range []string{m.Src, m.Dst, m.Net} {
		if prefix, err := netip.ParsePrefix(network); err == nil && prefix.Addr().Is6() {
			return "ipv6"
		}
		if a, err := netip.ParseAddr(network); err == nil && a.Is6() {
			return "ipv6"
		}
		if network != "" {
			return pick(t, "kind", "ipv4", "ipv4", "ipv4", "arp")
		}
	}
	return pick(t, "kind", "ipv4", "ipv6")
}

// aim sets what the match names, near to it.
func (p *oraclePacket) aim(t *rapid.T, m *oracleMatch) {
	hit := func() bool { return !oneIn(t, 6, "miss") }
	if named, ok := protocolNumbers[m.Protocol]; ok && hit() {
		p.Proto = named.number
	} else if n, err := strconv.Atoi(m.Protocol); err == nil && hit() && (p.Kind == "ipv4" || n != 0 && n != 44) {
		p.Proto = uint8(n)
	}
	if (m.Port != nil || m.SrcPort != nil || m.DstPort != nil) && !p.hasPorts() && hit() {
		p.Proto = pick[uint8](t, "proto", 6, 17, 132)
	}
	if p.isIP() || p.Kind == "arp" {
		for _, field := range []struct{ network, address *string }{
			{&m.Net, pick(t, "side", &p.Src, &p.Dst)}, {&m.Src, &p.Src}, {&m.Dst, &p.Dst},
		} {
			if *field.network != "" {
				if a := drawNear(t, *field.network); netip.MustParseAddr(a).Is6() == (p.Kind == "ipv6") {
					*field.address = a
				}
			}
		}
	}
	if p.hasPorts() {
		for _, field := range []struct {
			ranges oracleRanges
			port   *uint16
		}{{m.Port, pick(t, "side", &p.SrcPort, &p.DstPort)}, {m.SrcPort, &p.SrcPort}, {m.DstPort, &p.DstPort}} {
			if field.ranges != nil {
				*field.port = drawNearRange(t, field.ranges, 65535)
			}
		}
	} else {
		p.SrcPort, p.DstPort = 0, 0
	}
	if m.VLAN != nil && hit() {
		if vid := drawNearRange(t, m.VLAN, 4094); vid != 0 {
			p.Tags = []oracleTag{{VID: vid}}
		} else if len(p.Tags) > 0 {
			p.Tags[0].VID = 0
		}
	}
	if m.EtherType == "0x8100" || m.EtherType == "0x88a8" {
		inner := oracleTag{VID: 30}
		if m.EtherType == "0x88a8" {
			inner.TPID = 0x88a8
		}
		p.Tags = append(p.Tags[:min(1, len(p.Tags))], inner)
		if len(p.Tags) == 1 {
			p.Tags = append([]oracleTag{{VID: 10}}, p.Tags...)
		}
	}
	for _, field := range []struct{ mac, address *string }{
		{&m.MAC, pick(t, "side", &p.SrcMAC, &p.DstMAC)}, {&m.SrcMAC, &p.SrcMAC}, {&m.DstMAC, &p.DstMAC},
	} {
		if *field.mac != "" && hit() && !(field.address == &p.SrcMAC && *field.mac == "ff:ff:ff:ff:ff:ff") {
			*field.address = *field.mac
		}
	}
	if m.DSCP != nil && p.isIP() {
		p.DSCP = uint8(min(max(int(*m.DSCP)+pick(t, "off by", 0, 0, 0, 1, -1), 0), 63))
	}
}
