package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spanctl/ovs/ovstest"
)

// An arrival is one packet of a tunnel, as a collector takes it apart.
type arrival struct {
	tunnel string  // what the tunnel's own header says: "erspan II session 100 index 0"
	outer  string  // what the IP header says: "192.0.2.1 > 192.0.2.7 ttl 64 tos 0 df false"
	seq    *uint32 // GRE's sequence number, nil if there is none
	cut    bool    // ERSPAN's header says that the frame is not whole
	inner  []byte  // the frame, byte for byte
}

// decode takes a packet apart. It is not ok if that is no tunnel's packet at all.
func decode(frame []byte) (a arrival, ok bool) {
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default).Layers()
	if len(packet) < 3 {
		return a, false
	}
	switch ip := packet[1].(type) {
	case *layers.IPv4:
		a.outer = fmt.Sprintf("%s > %s ttl %d tos %d df %v", ip.SrcIP, ip.DstIP, ip.TTL, ip.TOS, ip.Flags&layers.IPv4DontFragment != 0)
	case *layers.IPv6:
		a.outer = fmt.Sprintf("%s > %s ttl %d tos %d", ip.SrcIP, ip.DstIP, ip.HopLimit, ip.TrafficClass)
	default:
		return a, false
	}
	switch l := packet[2].(type) {
	case *layers.GRE:
		a.gre(l)
	case *layers.UDP:
		a.udp(l)
	default:
		return a, false
	}
	return a, true
}

// gre reads what GRE carries: frames, ERSPAN Type II or Type III.
func (a *arrival) gre(l *layers.GRE) {
	if l.SeqPresent {
		a.seq = &l.Seq
	}
	switch a.inner = l.Payload; l.Protocol {
	case layers.EthernetTypeTransparentEthernetBridging:
		a.tunnel = "gre"
		if l.KeyPresent {
			a.tunnel += fmt.Sprintf(" key %d", l.Key)
		}
	case layers.EthernetTypeERSPAN:
		if !l.SeqPresent { // draft-foschiano-erspan-03, section 4.1: nothing else tells it from type II
			a.tunnel = "erspan I"
			return
		}
		var e layers.ERSPANII
		if err := e.DecodeFromBytes(l.Payload, gopacket.NilDecodeFeedback); err != nil || e.Version != 1 || l.KeyPresent {
			a.tunnel = fmt.Sprintf("malformed erspan II: %v %+v", err, e)
			return
		}
		a.tunnel, a.cut, a.inner = fmt.Sprintf("erspan II session %d index %d", e.SessionID, e.Index), e.IsTruncated, e.Payload
	case 0x22eb:
		a.erspanIII(l.Payload)
	default:
		a.tunnel = fmt.Sprintf("gre of type %04x", uint16(l.Protocol))
	}
}

// erspanIII reads the header of draft-foschiano-erspan-03, section 4.3, which gopacket does not know.
func (a *arrival) erspanIII(data []byte) {
	if len(data) < 12 {
		a.tunnel = "malformed erspan III"
		return
	}
	session, flags := binary.BigEndian.Uint16(data[2:]), binary.BigEndian.Uint16(data[10:])
	if version, more := data[0]>>4, flags&1; version != 2 || more != 0 {
		a.tunnel = fmt.Sprintf("malformed erspan III: %x", data[:12])
		return
	}
	a.tunnel = fmt.Sprintf("erspan III session %d hwid %d direction %d", session&0x3ff, flags>>4&0x3f, flags>>3&1)
	a.cut, a.inner = session>>10&1 == 1, data[12:]
}

// udp reads what UDP carries: Geneve on ports 6081 to 6089, else VXLAN.
func (a *arrival) udp(l *layers.UDP) {
	if l.DstPort >= 6081 && l.DstPort <= 6089 {
		var g layers.Geneve
		if err := g.DecodeFromBytes(l.Payload, gopacket.NilDecodeFeedback); err != nil || g.Protocol != layers.EthernetTypeTransparentEthernetBridging {
			a.tunnel = fmt.Sprintf("malformed geneve: %v %+v", err, g)
			return
		}
		a.tunnel, a.inner = fmt.Sprintf("geneve vni %d port %d", g.VNI, l.DstPort), g.Payload
		return
	}
	var v layers.VXLAN
	if err := v.DecodeFromBytes(l.Payload, gopacket.NilDecodeFeedback); err != nil || !v.ValidIDFlag {
		a.tunnel = fmt.Sprintf("malformed vxlan: %v %+v", err, v)
		return
	}
	a.tunnel, a.inner = fmt.Sprintf("vxlan vni %d port %d", v.VNI, l.DstPort), v.Payload
}

// arrivals are the packets of tunnels that a collector has got, by tunnel.
func arrivals(c *ovstest.Capture) map[string][]arrival {
	byTunnel := map[string][]arrival{}
	for _, f := range c.Frames() {
		if a, ok := decode(f.Data); ok {
			byTunnel[a.tunnel] = append(byTunnel[a.tunnel], a)
		}
	}
	return byTunnel
}

// wantTunnels wants a collector to have each of the frames exactly once by each of the tunnels, and nothing by others.
func (s *site) wantTunnels(c *ovstest.Capture, tunnels []string, want ...[]byte) {
	s.Helper()
	got := arrivals(c)
	for tunnel := range got {
		if !slices.Contains(tunnels, tunnel) {
			s.Errorf("%d packets of another tunnel: %s", len(got[tunnel]), tunnel)
		}
	}
	for _, tunnel := range tunnels {
		var inner [][]byte
		for _, a := range got[tunnel] {
			inner = append(inner, a.inner)
			if a.cut && !(s.kernels() && extended(a.inner)) {
				s.Errorf("%s: marked as cut: %s", tunnel, ovstest.Describe(a.inner))
			}
		}
		s.wantFrames(tunnel+": ", inner, s.sendable(tunnel, want))
	}
	s.wantNumbers(got)
	s.check(c.Err())
}

// extended tells whether the kernel's datapath calls a whole frame cut, in ERSPAN's header: it compares the length of an
// IPv6 packet with what follows its extension headers (erspan_fb_xmit of Linux 6.1's ip_gre.c).
func extended(frame []byte) bool {
	for len(frame) > 18 && (frame[12] == 0x81 || frame[12] == 0x88 && frame[13] == 0xa8) {
		frame = frame[4:]
	}
	return len(frame) > 20 && frame[12] == 0x86 && frame[13] == 0xdd && (frame[20] == 0 || frame[20] == 44)
}

// sendable are those of the frames that tunnels of the lab's datapath send.
func (s *site) sendable(tunnel string, frames [][]byte) [][]byte {
	return slices.DeleteFunc(slices.Clone(frames), func(f []byte) bool { return s.kernels() && unsent(tunnel, f) })
}

// unsent tells whether tunnels of the kernel's datapath do not send the frame: one that says it is IP and has no whole
// header of that (pskb_inet_may_pull of Linux 6.1's ip_tunnels.h). GRE does not look behind tags, VXLAN nowhere.
func unsent(tunnel string, frame []byte) bool {
	kind, _, _ := strings.Cut(tunnel, " ")
	for kind == "geneve" && len(frame) > 18 && frame[12] == 0x81 {
		frame = frame[4:]
	}
	four, six := frame[12] == 8 && frame[13] == 0, frame[12] == 0x86 && frame[13] == 0xdd
	return (kind == "erspan" || kind == "gre" || kind == "geneve") && (four && len(frame) < 14+20 || six && len(frame) < 14+40)
}

// wantNumbers wants sequence numbers to count up in each tunnel, and none of them to be missing or double in all that are
// of one kind, GRE or ERSPAN: those share a counter (OVS 3.1, both datapaths), so that a collector of one of
// several sees gaps. In the kernel's datapath the first packet of a flow may be overtaken by others: ovs-vswitchd has it.
func (s *site) wantNumbers(got map[string][]arrival) {
	s.Helper()
	byKind := map[string][]uint32{}
	for tunnel, list := range got {
		var numbers []uint32
		for _, a := range list {
			if a.seq != nil {
				numbers = append(numbers, *a.seq)
			}
		}
		if len(numbers) != 0 && len(numbers) != len(list) || !s.kernels() && !slices.IsSorted(numbers) {
			s.Errorf("%s: %d packets have the numbers %d", tunnel, len(list), numbers)
		}
		kind, _, _ := strings.Cut(tunnel, " ")
		byKind[kind] = append(byKind[kind], numbers...)
	}
	for kind, numbers := range byKind {
		slices.Sort(numbers)
		for i := range numbers {
			if numbers[i] != numbers[0]+uint32(i) {
				s.Errorf("%s: numbers are missing or double: %d", kind, numbers)
				break
			}
		}
	}
}
