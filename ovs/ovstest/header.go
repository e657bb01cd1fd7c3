package ovstest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// header is one header in words, empty for what does not matter to people.
func header(layer gopacket.Layer) string {
	switch l := layer.(type) {
	case *layers.Dot1Q:
		return fmt.Sprintf("vlan %d", l.VLANIdentifier)
	case *layers.IPv4:
		return fmt.Sprintf("%s > %s%s", l.SrcIP, l.DstIP, unknown(l.Protocol))
	case *layers.IPv6:
		return fmt.Sprintf("%s > %s%s", l.SrcIP, l.DstIP, unknown(l.NextHeader))
	case *layers.TCP:
		return fmt.Sprintf("TCP %d > %d [%s]", l.SrcPort, l.DstPort, flags(l))
	case *layers.UDP:
		return fmt.Sprintf("UDP %d > %d", l.SrcPort, l.DstPort)
	case *layers.ICMPv4:
		return icmp(l)
	case *layers.ICMPv6:
		return "ICMPv6 " + l.TypeCode.String()
	case *layers.ARP:
		return arp(l)
	case *layers.GRE:
		return "GRE"
	case *layers.ERSPANII:
		return fmt.Sprintf("ERSPAN session %d:", l.SessionID)
	case *layers.VXLAN:
		return fmt.Sprintf("VXLAN %d:", l.VNI)
	case *layers.Geneve:
		return fmt.Sprintf("Geneve %d:", l.VNI)
	case *layers.STP:
		return "STP"
	case *layers.LinkLayerDiscovery:
		return "LLDP"
	}
	return ""
}

// unknown names an IP protocol that no header here follows.
func unknown(p layers.IPProtocol) string {
	switch p {
	case layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4, layers.IPProtocolICMPv6,
		layers.IPProtocolGRE:
		return ""
	}
	return fmt.Sprintf(" protocol %d", uint8(p))
}

func flags(l *layers.TCP) string {
	var set []string
	for _, f := range []struct {
		on   bool
		name string
	}{{l.SYN, "SYN"}, {l.FIN, "FIN"}, {l.RST, "RST"}, {l.PSH, "PSH"}, {l.ACK, "ACK"}, {l.URG, "URG"}} {
		if f.on {
			set = append(set, f.name)
		}
	}
	return strings.Join(set, " ")
}

func icmp(l *layers.ICMPv4) string {
	switch l.TypeCode.Type() {
	case layers.ICMPv4TypeEchoRequest:
		return fmt.Sprintf("ICMP echo request id %d seq %d", l.Id, l.Seq)
	case layers.ICMPv4TypeEchoReply:
		return fmt.Sprintf("ICMP echo reply id %d seq %d", l.Id, l.Seq)
	}
	return "ICMP " + l.TypeCode.String()
}

func arp(l *layers.ARP) string {
	from, to := ipv4(l.SourceProtAddress), ipv4(l.DstProtAddress)
	if l.Operation == layers.ARPRequest {
		return fmt.Sprintf("ARP who-has %s tell %s", to, from)
	}
	return fmt.Sprintf("ARP %s is-at %s", from, net.HardwareAddr(l.SourceHwAddress))
}

func ipv4(b []byte) string {
	if a, ok := netip.AddrFromSlice(b); ok {
		return a.String()
	}
	return "?"
}
