package main

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
)

// An oraclePacket is a frame that enters the switch, by what it says. Expectations of golden cases stand beside it.
type oraclePacket struct {
	In     string      `yaml:"in"` // an Interface
	SrcMAC string      `yaml:"src_mac"`
	DstMAC string      `yaml:"dst_mac"`
	Tags   []oracleTag `yaml:"tags,omitempty,flow"` // the outermost first
	// Kind is ipv4, ipv6, arp, llc (a frame with a length in place of a type), or a type as 0x88b5.
	Kind string `yaml:"kind"`
	// Src and Dst are the addresses; of ARP the sender's and the target's.
	Src     string `yaml:"src,omitempty"`
	Dst     string `yaml:"dst,omitempty"`
	Proto   uint8  `yaml:"proto,omitempty"`
	SrcPort uint16 `yaml:"src_port,omitempty"` // of TCP, UDP and SCTP
	DstPort uint16 `yaml:"dst_port,omitempty"`
	DSCP    uint8  `yaml:"dscp,omitempty"`
	ECN     uint8  `yaml:"ecn,omitempty"`
	Frag    string `yaml:"frag,omitempty"`    // first or later
	Options bool   `yaml:"options,omitempty"` // has IPv4 options, or an IPv6 destination options header
	Length  int    `yaml:"length,omitempty"`  // of the frame, if it is not shorter by itself

	// Want is how many copies each destination gets, for golden cases.
	Want map[string]int `yaml:"want,omitempty,flow"`
}

// An oracleTag is an 802.1Q tag. The zero TPID is 0x8100.
type oracleTag struct {
	VID  uint16 `yaml:"vid"`
	PCP  uint8  `yaml:"pcp,omitempty"`
	TPID uint16 `yaml:"tpid,omitempty"`
}

func (t oracleTag) tpid() uint16 {
	if t.TPID == 0 {
		return 0x8100
	}
	return t.TPID
}

// bytes are the tag and nothing else.
func (t oracleTag) bytes() []byte {
	b := binary.BigEndian.AppendUint16(nil, t.tpid())
	return binary.BigEndian.AppendUint16(b, uint16(t.PCP)<<13|t.VID)
}

// withTags is a frame with these tags in place of all of its own.
func withTags(frame []byte, tags []oracleTag) []byte {
	out := append([]byte(nil), frame[:12]...)
	for _, t := range tags {
		out = append(out, t.bytes()...)
	}
	rest := frame[12:]
	for len(rest) >= 4 && (binary.BigEndian.Uint16(rest) == 0x8100 || binary.BigEndian.Uint16(rest) == 0x88a8) {
		rest = rest[4:]
	}
	return append(out, rest...)
}

func parsedMAC(s string) []byte {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err) // they are written by us
	}
	return m
}

// etherType is what follows the tags: a type, or 0 for a length.
func (p *oraclePacket) etherType() uint16 {
	switch p.Kind {
	case "ipv4":
		return 0x0800
	case "ipv6":
		return 0x86dd
	case "arp":
		return 0x0806
	case "llc":
		return 0
	}
	b, err := hex.DecodeString(strings.TrimPrefix(p.Kind, "0x"))
	if err != nil || len(b) != 2 {
		panic("kind " + p.Kind)
	}
	return binary.BigEndian.Uint16(b)
}

// isIP tells whether the packet is one of IPv4 or IPv6.
func (p *oraclePacket) isIP() bool { return p.Kind == "ipv4" || p.Kind == "ipv6" }

// frame is the whole packet as bytes. Checksums of TCP, UDP and SCTP are zero, that of IPv4 is right.
func (p *oraclePacket) frame() []byte {
	frame := append(parsedMAC(p.DstMAC), parsedMAC(p.SrcMAC)...)
	for _, t := range p.Tags {
		frame = append(frame, t.bytes()...)
	}
	body := p.body(max(0, p.Length-len(frame)-2))
	kind := p.etherType()
	if p.Kind == "llc" {
		kind = uint16(len(body))
	}
	frame = binary.BigEndian.AppendUint16(frame, kind)
	return append(frame, body...)
}

// body is what follows the type, at least as long as said.
func (p *oraclePacket) body(length int) []byte {
	switch p.Kind {
	case "ipv4":
		return p.ipv4(length)
	case "ipv6":
		return p.ipv6(length)
	case "arp":
		b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
		b = append(append(b, parsedMAC(p.SrcMAC)...), netip.MustParseAddr(p.Src).AsSlice()...)
		b = append(append(b, make([]byte, 6)...), netip.MustParseAddr(p.Dst).AsSlice()...)
		return oraclePadded(b, length)
	case "llc":
		return oraclePadded([]byte{0x42, 0x42, 3}, max(length, 38))
	}
	return oraclePadded(nil, max(length, 46))
}

func oraclePadded(b []byte, length int) []byte {
	for len(b) < length {
		b = append(b, byte(len(b)))
	}
	return b
}

func (p *oraclePacket) ipv4(length int) []byte {
	header := 20
	if p.Options {
		header = 28
	}
	upper := p.upper(length - header)
	b := []byte{0x40 | byte(header/4), p.DSCP<<2 | p.ECN}
	b = binary.BigEndian.AppendUint16(b, uint16(header+len(upper)))
	b = append(b, 0x12, 0x34)
	fragment := map[string]uint16{"": 0x4000, "first": 0x2000, "later": 185}[p.Frag]
	b = binary.BigEndian.AppendUint16(b, fragment)
	b = append(b, 64, p.Proto, 0, 0)
	b = append(append(b, netip.MustParseAddr(p.Src).AsSlice()...), netip.MustParseAddr(p.Dst).AsSlice()...)
	for len(b) < header {
		b = append(b, 1) // no operation, RFC 791
	}
	binary.BigEndian.PutUint16(b[10:], ipChecksum(b))
	return append(b, upper...)
}

func (p *oraclePacket) ipv6(length int) []byte {
	var extensions []byte
	next := p.Proto
	if p.Frag != "" { // RFC 8200, section 4.5: offset in units of 8 bytes, or "more"
		offset := map[string]uint16{"first": 1, "later": 185 << 3}[p.Frag]
		extensions = binary.BigEndian.AppendUint16([]byte{next, 0}, offset)
		extensions = append(extensions, 0, 0, 0x12, 0x34)
		next = 44
	}
	if p.Options {
		extensions = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, extensions...)
		next = 60
	}
	rest := append(extensions, p.upper(length-40-len(extensions))...)
	class := p.DSCP<<2 | p.ECN
	b := []byte{0x60 | class>>4, class << 4, 0, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	b = append(b, next, 64)
	b = append(append(b, netip.MustParseAddr(p.Src).AsSlice()...), netip.MustParseAddr(p.Dst).AsSlice()...)
	return append(b, rest...)
}

// hasPorts tells whether the packet's protocol has ports, whatever fragment it is.
func (p *oraclePacket) hasPorts() bool {
	return p.isIP() && (p.Proto == 6 || p.Proto == 17 || p.Proto == 132)
}

// upper is what follows the IP headers.
func (p *oraclePacket) upper(length int) []byte {
	var b []byte
	if p.Frag != "later" {
		if p.hasPorts() {
			b = binary.BigEndian.AppendUint16(b, p.SrcPort)
			b = binary.BigEndian.AppendUint16(b, p.DstPort)
		}
		switch p.Proto {
		case 6:
			b = append(b, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x10, 0, 0, 0, 0, 0)
		case 17:
			b = binary.BigEndian.AppendUint16(b, uint16(max(8, length)))
			b = append(b, 0, 0)
		case 132:
			b = append(b, 0, 0, 0, 1, 0, 0, 0, 0)
		case 1, 58:
			b = append(b, map[uint8]byte{1: 8, 58: 128}[p.Proto], 0, 0, 0, 0, 1, 0, 1)
		}
	}
	return oraclePadded(b, max(length, 8))
}

// ipChecksum is that of RFC 1071, over a header whose own is zero.
func ipChecksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
