package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Protocol is an IP protocol by its name or, where policies have no name for
// it, its decimal number. The zero Protocol is any.
type Protocol string

// The protocols that have names.
const (
	ProtocolICMP  Protocol = "icmp"
	ProtocolIGMP  Protocol = "igmp"
	ProtocolTCP   Protocol = "tcp"
	ProtocolUDP   Protocol = "udp"
	ProtocolGRE   Protocol = "gre"
	ProtocolESP   Protocol = "esp"
	ProtocolICMP6 Protocol = "icmp6"
	ProtocolSCTP  Protocol = "sctp"
)

// protocols are the names in the order of policy.md, with IANA's numbers.
var protocols = []struct {
	name   Protocol
	number uint8
}{
	{ProtocolTCP, 6},
	{ProtocolUDP, 17},
	{ProtocolSCTP, 132},
	{ProtocolICMP, 1},
	{ProtocolICMP6, 58},
	{ProtocolIGMP, 2},
	{ProtocolGRE, 47},
	{ProtocolESP, 50},
}

// Number is the IP protocol number; false for the zero Protocol.
func (p Protocol) Number() (uint8, bool) {
	for _, known := range protocols {
		if known.name == p {
			return known.number, true
		}
	}
	n, err := strconv.ParseUint(string(p), 10, 8)
	return uint8(n), err == nil
}

// hasPorts reports whether packets of p carry ports.
func (p Protocol) hasPorts() bool {
	return p == ProtocolTCP || p == ProtocolUDP || p == ProtocolSCTP
}

func parseProtocol(text string) (Protocol, *problem) {
	if text != "" && strings.Trim(text, "+-_.0123456789xoXOabcdefABCDEF") == "" && strings.ContainsAny(text[:1], "+-0123456789") {
		n, p := parseNumber(text, 0, 255)
		if p != nil {
			return "", p
		}
		for _, known := range protocols {
			if int(known.number) == n {
				return known.name, nil
			}
		}
		return Protocol(strconv.Itoa(n)), nil
	}
	names := make([]string, len(protocols))
	for i, known := range protocols {
		if string(known.name) == text {
			return known.name, nil
		}
		names[i] = string(known.name)
	}
	return "", notOneOf(text, names, " or a protocol number from 0 to 255")
}

// EtherType is an Ethernet type by its name or, where policies have no name
// for it, as 0xNNNN in lower case. The zero EtherType is any.
type EtherType string

// The Ethernet types that have names.
const (
	EtherTypeARP  EtherType = "arp"
	EtherTypeIPv4 EtherType = "ipv4"
	EtherTypeIPv6 EtherType = "ipv6"
	EtherTypeLLDP EtherType = "lldp"
)

// etherTypes are the names in the order of policy.md, with IEEE's numbers.
var etherTypes = []struct {
	name   EtherType
	number uint16
}{
	{EtherTypeARP, 0x0806}, {EtherTypeIPv4, 0x0800}, {EtherTypeIPv6, 0x86dd}, {EtherTypeLLDP, 0x88cc},
}

// Number is the Ethernet type's number; false for the zero EtherType.
func (e EtherType) Number() (uint16, bool) {
	for _, known := range etherTypes {
		if known.name == e {
			return known.number, true
		}
	}
	hex, ok := strings.CutPrefix(string(e), "0x")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 16)
	return uint16(n), err == nil
}

func parseEtherType(text string) (EtherType, *problem) {
	const want = " or 0xNNNN from 0x0600 to 0xffff"
	if hex, ok := strings.CutPrefix(text, "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 16)
		if err != nil || n < 0x600 || len(hex) != 4 {
			return "", problemf("give four hexadecimal digits from 0x0600 to 0xffff", "%s is not an Ethernet type", text)
		}
		for _, known := range etherTypes {
			if uint64(known.number) == n {
				return known.name, nil
			}
		}
		return EtherType(fmt.Sprintf("0x%04x", n)), nil
	}
	if n, err := strconv.ParseUint(text, 10, 16); err == nil && n >= 0x600 {
		return "", problemf(fmt.Sprintf("write 0x%04x", n), "%s is decimal, and Ethernet types are hexadecimal", text)
	}
	names := make([]string, len(etherTypes))
	for i, known := range etherTypes {
		if string(known.name) == text {
			return known.name, nil
		}
		names[i] = string(known.name)
	}
	return "", notOneOf(text, names, want)
}
