package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spanctl/ovs/ovstest"
)

// everyKind is frames of every kind that a hub copies: all but those that their sender tags 4095 (fact 18).
func everyKind(a, b ovstest.Endpoint) [][]byte {
	list := slices.DeleteFunc(oddities(a, b), func(frame []byte) bool {
		return binary.BigEndian.Uint16(frame[12:]) == 0x8100 && frame[14]&0xf == 0xf && frame[15] == 0xff
	})
	return slices.Concat(list, tags(a, b), sizes(a, b), fragments(a, b), controls(a, b), nested(a, b))
}

// tags are frames with tags that oddities leave out.
func tags(a, b ovstest.Endpoint) [][]byte {
	everybody := udp(a, ovstest.Broadcast)
	return [][]byte{
		everybody, ovstest.Tagged(everybody, 10), ovstest.QinQ(everybody, 10, 20),
		ovstest.Tagged(udp(a, b), 4094), ovstest.Tagged(udp(a, b), 10, 4095), ovstest.Tagged(udp(a, b), 10, 20, 30),
		ovstest.QinQ(udp(a, b), 10), ovstest.QinQ(udp(a, b), 5<<13, 10), // a service tag alone, priority alone
		ovstest.QinQ(ovstest.ARP(a, b), 10, 20),
	}
}

// sizes are the shortest frame that there is, short ones that Ethernet would pad, and the longest.
func sizes(a, b ovstest.Endpoint) [][]byte {
	var list [][]byte
	for _, length := range []int{14, 15, 18, 42, 59, 60, 61, 64, 1513, 1514} {
		list = append(list, ovstest.Raw(a, b.HardwareAddr(), 0x88b5, make([]byte, length-14)))
	}
	cut := udp(a, b)[:30] // an IP header with nothing behind it that it promises
	return append(list, cut, ovstest.Tagged(cut, 10), ovstest.Tagged(list[2], 10), ovstest.Tagged(list[len(list)-1][:1510], 10, 20))
}

// fragments are the first, a middle and the last part of a datagram, over both versions of IP.
func fragments(a, b ovstest.Endpoint) [][]byte {
	var list [][]byte
	for i, more := range []bool{true, true, false} {
		ip := &layers.IPv4{
			Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, Id: 7, FragOffset: uint16(i * 10),
			SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice(),
		}
		offset := uint16(i * 10 << 3)
		if more {
			ip.Flags = layers.IPv4MoreFragments
			offset |= 1
		}
		part := append(ovstest.Payload("fragment"), make([]byte, 80)...)[:80]
		list = append(list, layered(a, b, layers.EthernetTypeIPv4, ip, gopacket.Payload(part)))
		header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{byte(layers.IPProtocolUDP), 0}, offset), 7)
		list = append(list, layered(a, b, layers.EthernetTypeIPv6, ip6(a, b, layers.IPProtocolIPv6Fragment), gopacket.Payload(append(header, part...))))
	}
	return append(list, ovstest.Tagged(list[0], 10), ovstest.Tagged(list[2], 10))
}

// controls are the protocols that networks are run with.
func controls(a, b ovstest.Endpoint) [][]byte {
	station := func(mac ...byte) ovstest.Station { return ovstest.Station{MAC: net.HardwareAddr(mac)} }
	raw := func(what string, etherType uint16, to ...byte) []byte {
		return ovstest.Raw(a, to, etherType, ovstest.Payload(what))
	}
	snap := func(what string, to ...byte) []byte {
		data := append([]byte{0xaa, 0xaa, 3, 0, 0, 0xc}, ovstest.Payload(what)...)
		return ovstest.Raw(a, to, uint16(len(data)), data)
	}
	icmp6 := func(to ovstest.Station, message ...byte) []byte {
		return layered(a, to, layers.EthernetTypeIPv6, ip6(a, to, layers.IPProtocolICMPv6), gopacket.Payload(append(message, ovstest.Payload("icmp6")...)))
	}
	nodes := station(0x33, 0x33, 0, 0, 0, 1)
	solicited := station(0x33, 0x33, 0xff, 0, 0, 2)
	igmp := &layers.IPv4{Version: 4, TTL: 1, Protocol: layers.IPProtocolIGMP, SrcIP: a.Addr().AsSlice(), DstIP: net.IP{224, 0, 0, 22}}
	return [][]byte{
		icmp6(solicited, 135, 0, 0, 0, 0, 0, 0, 0), icmp6(nodes, 134, 0, 0, 0), icmp6(nodes, 136, 0, 0, 0),
		layered(a, station(1, 0, 0x5e, 0, 0, 22), layers.EthernetTypeIPv4, igmp, gopacket.Payload(ovstest.Payload("igmp"))),
		raw("802.1X", 0x888e, 1, 0x80, 0xc2, 0, 0, 3), raw("PTP peer", 0x88f7, 1, 0x80, 0xc2, 0, 0, 0xe), raw("PTP", 0x88f7, 1, 0x1b, 0x19, 0, 0, 0),
		raw("provider", 38, 1, 0x80, 0xc2, 0, 0, 8), raw("GVRP", 38, 1, 0x80, 0xc2, 0, 0, 0x21), raw("loop", 0x9000, 0xcf, 0, 0, 0, 0, 0),
		snap("CDP", 1, 0, 0xc, 0xcc, 0xcc, 0xcc), snap("PVST", 1, 0, 0xc, 0xcc, 0xcc, 0xcd),
		udp(a, a), // its receiver is where it came from: nobody has it
	}
}

// nested are frames with others inside, tunnels of the guests' own among them.
func nested(a, b ovstest.Endpoint) [][]byte {
	inner := udp(a, b)
	tunnel := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolGRE, SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice()}
	return [][]byte{
		ovstest.UDP(a, b, 5000, 4789, append([]byte{8, 0, 0, 0, 0, 0, 100, 0}, inner...)),
		ovstest.UDP(a, b, 5000, 6081, append([]byte{0, 0, 0x65, 0x58, 0, 0, 100, 0}, inner...)),
		layered(a, b, layers.EthernetTypeIPv4, tunnel, &layers.GRE{Protocol: layers.EthernetTypeTransparentEthernetBridging}, gopacket.Payload(inner)),
		ovstest.Raw(a, b.HardwareAddr(), 0x8847, append([]byte{0, 6, 0x41, 64}, inner[14:]...)),          // MPLS
		ovstest.Raw(a, b.HardwareAddr(), 0x8864, append([]byte{0x11, 0, 0, 1, 0, 50}, inner[14:]...)),    // PPPoE
		ovstest.Raw(a, b.HardwareAddr(), 0x88e7, append([]byte{0, 0, 0, 7}, inner...)),                   // 802.1ah
		ovstest.Raw(a, b.HardwareAddr(), 0x894f, append([]byte{0, 0x46, 2, 3, 0, 0, 1, 0xff}, inner...)), // NSH
	}
}

func ip6(from, to ovstest.Endpoint, next layers.IPProtocol) *layers.IPv6 {
	address := func(e ovstest.Endpoint) net.IP {
		ip := netip.AddrFrom16([16]byte{0: 0xfd, 15: e.HardwareAddr()[5]})
		if e.HardwareAddr()[0]&1 == 1 {
			ip = netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 15: e.HardwareAddr()[5]})
		}
		return ip.AsSlice()
	}
	return &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: next, SrcIP: address(from), DstIP: address(to)}
}

// layered is a frame of the layers behind an Ethernet header.
func layered(from, to ovstest.Endpoint, etherType layers.EthernetType, parts ...gopacket.SerializableLayer) []byte {
	eth := &layers.Ethernet{SrcMAC: from.HardwareAddr(), DstMAC: to.HardwareAddr(), EthernetType: etherType}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append([]gopacket.SerializableLayer{eth}, parts...)...)
	if err != nil {
		panic(err) // frames of this file's making can be built
	}
	return buf.Bytes()
}

// forwarded tells whether a bridge that knows all stations forwards the frame to the station: see reaches. Cisco's
// groups are reserved as those of the IEEE (ovs-vswitchd.conf.db(5), forward-bpdu).
func forwarded(frame []byte, to ovstest.Endpoint) bool {
	return reaches(frame, to) && !(frame[0] == 1 && frame[2] == 0xc)
}
