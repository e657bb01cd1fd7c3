package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// packetFields are the words of a packet that have a value, in the order of the
// reference.
var packetFields = []string{"protocol", "ethertype", "src", "dst", "src_port", "dst_port", "vlan", "src_mac", "dst_mac", "dscp", "fragment"}

// bareWords are the words that stand alone, with the field whose value they are.
var bareWords = func() map[string]string {
	words := map[string]string{}
	for _, known := range protocols {
		words[string(known.name)] = "protocol"
	}
	for _, known := range etherTypes {
		words[string(known.name)] = "ethertype"
	}
	return words
}()

// ParsePacket reads a packet from words: "tcp", "src=10.0.0.1", "dst_port=80".
// What is not said is filled in, but for MAC addresses: a packet is IPv4 and TCP, IPv6 if an
// address is, from 192.0.2.1 to 192.0.2.2 or 2001:db8::1 to ::2, and the ports are
// 49152 and 49153. The error is one line for each problem.
func ParsePacket(words []string) (*Packet, error) {
	r := &packetReader{said: map[string]string{}}
	for _, word := range words {
		r.word(word)
	}
	if r.errs == nil {
		r.complete()
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return &r.packet, nil
}

// A packetReader reads a packet; what it finds wrong is in errs.
type packetReader struct {
	packet Packet
	said   map[string]string // by field, the word
	errs   []error
}

func (r *packetReader) wrong(word string, p *problem) {
	if p != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", word, p))
	}
}

func (r *packetReader) has(field string) bool { return r.said[field] != "" }

func (r *packetReader) word(word string) {
	key, value, pair := strings.Cut(word, "=")
	if !pair {
		key, value = bareWords[word], word
		if key == "" {
			r.wrong(word, notOneOf(word, slices.Sorted(maps.Keys(bareWords)), ", or FIELD=VALUE with one of "+orList(packetFields)))
			return
		}
	}
	if before := r.said[key]; before != "" {
		r.wrong(word, problemf("remove one of the two", "%s was said already", before))
		return
	}
	r.said[key] = word
	p := &r.packet
	var wrong *problem
	var n int
	switch key {
	case "protocol":
		p.Protocol, wrong = parseProtocol(value)
	case "ethertype":
		p.EtherType, wrong = parseEtherType(value)
		if p.EtherType == "0x8100" || p.EtherType == "0x88a8" {
			wrong = problemf("write vlan=N for the tag, and the type of what is in it", "a VLAN tag is no packet by itself")
		}
	case "src":
		p.Src, wrong = packetAddress(value)
	case "dst":
		p.Dst, wrong = packetAddress(value)
	case "src_port":
		n, wrong = parseNumber(value, 0, 65535)
		p.SrcPort = uint16(n)
	case "dst_port":
		n, wrong = parseNumber(value, 0, 65535)
		p.DstPort = uint16(n)
	case "vlan":
		n, wrong = parseNumber(value, 0, 4094)
		p.VLAN = uint16(n)
	case "src_mac":
		p.SrcMAC, wrong = parseMAC(value)
	case "dst_mac":
		p.DstMAC, wrong = parseMAC(value)
	case "dscp":
		n, wrong = parseNumber(value, 0, 63)
		p.DSCP = uint8(n)
	case "fragment":
		if p.Fragment = Fragment(value); p.Fragment != FragmentFirst && p.Fragment != FragmentLater {
			wrong = notOneOf(value, []string{string(FragmentFirst), string(FragmentLater)}, "")
		}
	case "net", "port", "mac":
		names := map[string]string{"net": "src= or dst=", "port": "src_port= or dst_port=", "mac": "src_mac= or dst_mac="}
		wrong = problemf("write "+names[key], "a packet has one on each side")
	default:
		wrong = notOneOf(key, packetFields, "")
	}
	r.wrong(word, wrong)
}

func packetAddress(text string) (netip.Addr, *problem) {
	if a, _, isCIDR := strings.Cut(text, "/"); isCIDR {
		return netip.Addr{}, problemf("write "+a, "a packet has one address, not a network")
	}
	return parseAddr(text)
}

// complete fills in what was not said, and refuses what no packet can be.
func (r *packetReader) complete() {
	p := &r.packet
	refuse := func(field, right, wrong string, args ...any) {
		if r.has(field) {
			r.wrong(r.said[field], problemf(right, wrong, args...))
		}
	}
	if p.EtherType == "" {
		p.EtherType = EtherTypeIPv4
		if p.Src.Is6() || p.Dst.Is6() || protocolFamily(p.Protocol) == 6 {
			p.EtherType = EtherTypeIPv6
		}
	}
	if !p.IP() {
		for _, field := range []string{"protocol", "src_port", "dst_port", "dscp", "fragment"} {
			refuse(field, "remove it", "a packet of ethertype %s has none", p.EtherType)
		}
		if p.EtherType != EtherTypeARP {
			refuse("src", "remove it, or write src_mac=", "a packet of ethertype %s has none", p.EtherType)
			refuse("dst", "remove it, or write dst_mac=", "a packet of ethertype %s has none", p.EtherType)
			return
		}
	} else if p.Protocol == "" {
		p.Protocol = ProtocolTCP
	}
	family := etherFamily(p.EtherType)
	if f := protocolFamily(p.Protocol); f != 0 && f != family {
		other := map[Protocol]string{ProtocolICMP: "write icmp6 for IPv6", ProtocolICMP6: "write icmp for IPv4", ProtocolIGMP: "use an IPv4 address"}
		refuse("protocol", other[p.Protocol], "is of IPv%d, and the packet is of IPv%d", f, family)
	}
	for _, side := range []struct {
		field string
		addr  *netip.Addr
		last  byte
	}{{"src", &p.Src, 1}, {"dst", &p.Dst, 2}} {
		switch {
		case !side.addr.IsValid():
			*side.addr = exampleAddress(family, side.last)
		case side.addr.Is6() != (family == 6):
			refuse(side.field, "use addresses of one IP version", "the packet is of IPv%d", family)
		}
	}
	switch {
	case !p.IP():
	case !p.Protocol.hasPorts():
		for _, field := range []string{"src_port", "dst_port"} {
			refuse(field, "use tcp, udp or sctp, or remove it", "protocol %s has no ports", p.Protocol)
		}
	case p.Fragment == FragmentLater:
		for _, field := range []string{"src_port", "dst_port"} {
			refuse(field, "remove it, or write fragment=first", "later fragments have no ports")
		}
	default:
		if !r.has("src_port") {
			p.SrcPort = 49152
		}
		if !r.has("dst_port") {
			p.DstPort = 49153
		}
	}
}

// exampleAddress is one of a network that is kept for examples (RFC 5737, RFC 3849).
func exampleAddress(family int, last byte) netip.Addr {
	if family == 6 {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: last})
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, last})
}
