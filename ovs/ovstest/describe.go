package ovstest

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Describe is a frame on one line for people, what is inside a tunnel included:
//
//	vlan 10 10.9.0.1 > 10.9.0.2 TCP 43210 > 80 [SYN] len 60
//
// The length is the frame's. It never fails: what it does not know it names by number.
func Describe(frame []byte) string {
	words := sentence(frame)
	if len(words) == 0 {
		words = append(words, "malformed")
	}
	return fmt.Sprintf("%s len %d", strings.Join(words, " "), len(frame))
}

// sentence is what each header of a frame says, the outermost first.
func sentence(frame []byte) []string {
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	var words []string
	var eth *layers.Ethernet
	for _, layer := range packet.Layers() {
		if e, ok := layer.(*layers.Ethernet); ok {
			eth = e
			continue
		}
		said := header(layer)
		if said == "" {
			continue
		}
		words = append(words, said)
		if _, tag := layer.(*layers.Dot1Q); !tag {
			eth = nil
		}
		if gre, ok := layer.(*layers.GRE); ok && gre.Protocol == typeERSPANIII {
			words = append(words, erspanIII(gre.Payload)...)
		}
	}
	if eth != nil { // nothing above the last Ethernet header was understood
		words = append(words, fmt.Sprintf("%s > %s type 0x%04x", eth.SrcMAC, eth.DstMAC, etherType(packet, eth)))
	}
	return words
}

// etherType is the type behind all tags.
func etherType(packet gopacket.Packet, eth *layers.Ethernet) uint16 {
	t := eth.EthernetType
	for _, layer := range packet.Layers() {
		if tag, ok := layer.(*layers.Dot1Q); ok {
			t = tag.Type
		}
	}
	return uint16(t)
}

// typeERSPANIII is GRE's protocol type of ERSPAN Type III, which gopacket does not know.
const typeERSPANIII layers.EthernetType = 0x22eb

// erspanIII is an ERSPAN Type III header (12 bytes, 8 more if its last bit is set) and the frame behind it.
func erspanIII(data []byte) []string {
	if len(data) < 12 {
		return []string{"ERSPAN III malformed"}
	}
	words := []string{fmt.Sprintf("ERSPAN III session %d:", binary.BigEndian.Uint16(data[2:])&0x3ff)}
	rest := data[12:]
	if data[11]&1 == 1 {
		rest = rest[min(8, len(rest)):]
	}
	return append(words, sentence(rest)...)
}
