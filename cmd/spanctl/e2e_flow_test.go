package main

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spanctl/ovs/ovstest"
)

// The flow tests (e2e_flow_*_test.go) are of what needs rules on a tap bridge: exclude and include, balance, sample, max_rate,
// and sessions that share some destinations.

// quiet is the endpoint with an address that is not its guest's own, which answers nothing.
func quiet(e ovstest.Endpoint) ovstest.Station {
	return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom4([4]byte{10, 8, e.HardwareAddr()[4], e.HardwareAddr()[5]})}
}

// six is likewise, with an IPv6 address.
func six(e ovstest.Endpoint) ovstest.Station {
	return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom16([16]byte{0: 0xfd, 14: e.HardwareAddr()[4], 15: e.HardwareAddr()[5]})}
}

// tcp is a TCP segment with a payload of its own, over IPv4 or IPv6 as the addresses are.
func tcp(from, to ovstest.Endpoint, sport, dport uint16) []byte {
	return tcpOf(from, to, sport, dport, ovstest.Payload("tcp"))
}

func tcpOf(from, to ovstest.Endpoint, sport, dport uint16, payload []byte) []byte {
	segment := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), ACK: true, PSH: true, Window: 1000, Seq: 1, Ack: 1}
	if from.Addr().Is6() {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
		if err := segment.SetNetworkLayerForChecksum(ip); err != nil {
			panic(err) // it is a network layer
		}
		return layered(from, to, layers.EthernetTypeIPv6, ip, segment, gopacket.Payload(payload))
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	if err := segment.SetNetworkLayerForChecksum(ip); err != nil {
		panic(err) // it is a network layer
	}
	return layered(from, to, layers.EthernetTypeIPv4, ip, segment, gopacket.Payload(payload))
}

// split is the packet in three fragments, the last one as long as it needs to be: an untagged frame whose IP header has no
// options, with 48 bytes or more behind it.
func split(frame []byte) [][]byte {
	const ethernet, ip4, ip6, piece = 14, 20, 40, 16
	var list [][]byte
	for i := range 3 {
		more, offset := uint16(1), uint16(i*piece)
		part := func(body []byte) []byte {
			if i == 2 {
				more = 0
				return body[offset:]
			}
			return body[offset : offset+piece]
		}
		if binary.BigEndian.Uint16(frame[12:]) == uint16(layers.EthernetTypeIPv4) {
			body := part(frame[ethernet+ip4 : ethernet+binary.BigEndian.Uint16(frame[ethernet+2:])])
			head := slices.Clone(frame[:ethernet+ip4])
			ip := head[ethernet:]
			binary.BigEndian.PutUint16(ip[2:], uint16(ip4+len(body)))
			binary.BigEndian.PutUint16(ip[6:], more<<13|offset/8)
			binary.BigEndian.PutUint16(ip[10:], 0)
			binary.BigEndian.PutUint16(ip[10:], checksum(ip))
			list = append(list, append(head, body...))
			continue
		}
		body := part(frame[ethernet+ip6 : ethernet+ip6+binary.BigEndian.Uint16(frame[ethernet+4:])])
		head := slices.Clone(frame[:ethernet+ip6])
		header := binary.BigEndian.AppendUint16([]byte{head[ethernet+6], 0}, offset|more)
		header = binary.BigEndian.AppendUint32(header, 7)
		head[ethernet+6] = byte(layers.IPProtocolIPv6Fragment)
		binary.BigEndian.PutUint16(head[ethernet+4:], uint16(len(header)+len(body)))
		list = append(list, slices.Concat(head, header, body))
	}
	return list
}

// checksum is RFC 1071's.
func checksum(header []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
