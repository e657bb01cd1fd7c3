package ovstest

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Endpoint is an address that frames are built from and to. Guest, VM, HostPort and Station are.
type Endpoint interface {
	HardwareAddr() net.HardwareAddr
	Addr() netip.Addr
}

// Station is an Endpoint that need not exist.
type Station struct {
	MAC net.HardwareAddr
	IP  netip.Addr
}

// HardwareAddr is s.MAC.
func (s Station) HardwareAddr() net.HardwareAddr { return s.MAC }

// Addr is s.IP.
func (s Station) Addr() netip.Addr { return s.IP }

// Broadcast is every station of an IPv4 network.
var Broadcast Endpoint = Station{MAC: layers.EthernetBroadcast, IP: netip.AddrFrom4([4]byte{255, 255, 255, 255})}

var payloads atomic.Uint64

// Payload is text that this process has not sent before and that no other payload contains, so that it can be
// recognized anywhere. The label is for people.
func Payload(label string) []byte {
	return fmt.Appendf(nil, "<%s/%d/%08d>", label, os.Getpid(), payloads.Add(1))
}

// UDP is a frame with a UDP datagram, over IPv4 or IPv6 as the addresses are, checksums right, padded to 60 bytes.
func UDP(src, dst Endpoint, sport, dport uint16, payload []byte) []byte {
	udp := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	eth, ip := network(src, dst, layers.IPProtocolUDP)
	must(udp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)))
	return serialize(eth, ip, udp, gopacket.Payload(payload))
}

// Ping is a frame with an ICMP echo request over IPv4.
func Ping(src, dst Endpoint, id, seq uint16, payload []byte) []byte {
	eth, ip := network(src, dst, layers.IPProtocolICMPv4)
	echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: id, Seq: seq}
	return serialize(eth, ip, echo, gopacket.Payload(payload))
}

// ARP is a broadcast frame in which src asks who has dst's address.
func ARP(src, dst Endpoint) []byte {
	from, to := src.Addr().As4(), dst.Addr().As4()
	return serialize(
		&layers.Ethernet{SrcMAC: src.HardwareAddr(), DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: src.HardwareAddr(), SourceProtAddress: from[:],
			DstHwAddress: make([]byte, 6), DstProtAddress: to[:],
		})
}

// Raw is a frame of any type to any address, such as a bridge's 01:80:c2:00:00:00.
func Raw(src Endpoint, dst net.HardwareAddr, etherType uint16, payload []byte) []byte {
	frame := append(append(make([]byte, 0, 14+len(payload)), dst...), src.HardwareAddr()...)
	return append(binary.BigEndian.AppendUint16(frame, etherType), payload...)
}

// Tagged is the frame with 802.1Q tags, the outermost first.
func Tagged(frame []byte, vids ...uint16) []byte { return tagged(frame, 0x8100, vids) }

// QinQ is the frame with an 802.1ad service tag around 802.1Q tags, the outermost first.
func QinQ(frame []byte, vids ...uint16) []byte { return tagged(frame, 0x88a8, vids) }

func tagged(frame []byte, outer uint16, vids []uint16) []byte {
	out := append(make([]byte, 0, len(frame)+4*len(vids)), frame[:12]...)
	for i, vid := range vids {
		tpid := uint16(0x8100)
		if i == 0 {
			tpid = outer
		}
		out = binary.BigEndian.AppendUint16(out, tpid)
		out = binary.BigEndian.AppendUint16(out, vid)
	}
	return append(out, frame[12:]...)
}

func network(src, dst Endpoint, protocol layers.IPProtocol) (*layers.Ethernet, gopacket.SerializableLayer) {
	eth := &layers.Ethernet{SrcMAC: src.HardwareAddr(), DstMAC: dst.HardwareAddr()}
	from, to := src.Addr().AsSlice(), dst.Addr().AsSlice()
	if src.Addr().Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		return eth, &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: from, DstIP: to}
	}
	eth.EthernetType = layers.EthernetTypeIPv6
	return eth, &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: from, DstIP: to}
}

func serialize(parts ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	must(gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...))
	return buf.Bytes()
}

// must holds for frames that cannot fail to build: only a payload longer than a packet does.
func must(err error) {
	if err != nil {
		panic("ovstest: building a frame: " + err.Error())
	}
}
