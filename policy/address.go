package policy

import (
	"encoding/binary"
	mathbits "math/bits"
	"net/netip"
	"strings"
)

// macPattern is what parseMAC accepts, for the schema.
const macPattern = `^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$`

// parseMAC reads aa:bb:cc:dd:ee:ff in any case, and gives it in lower case.
func parseMAC(text string) (string, *problem) {
	const hex = "0123456789abcdef"
	mac := strings.ToLower(text)
	bare := strings.NewReplacer(":", "", "-", "", ".", "").Replace(mac)
	isHex := len(bare) == 12 && strings.Trim(bare, hex) == ""
	if isHex {
		want := make([]string, 6)
		for i := range want {
			want[i] = bare[2*i : 2*i+2]
		}
		if with := strings.Join(want, ":"); with == mac {
			return mac, nil
		} else {
			return "", problemf("write "+with, "%s is not written as a MAC address", quoted(text))
		}
	}
	return "", problemf("write six hexadecimal bytes, as 52:54:00:12:34:56", "%s is not a MAC address", quoted(text))
}

// parsePrefix reads a CIDR or a bare address, which stands for itself alone.
func parsePrefix(text string) (netip.Prefix, *problem) {
	addr, bits, isCIDR := strings.Cut(text, "/")
	a, p := parseAddr(addr)
	if p != nil && a.IsValid() {
		return netip.Prefix{}, p
	}
	if p != nil {
		return netip.Prefix{}, problemf("write an address or a CIDR, as 10.20.0.0/16 or 2001:db8::/32", "%s is not an address or a CIDR", quoted(text))
	}
	if !isCIDR {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	if mask, err := netip.ParseAddr(bits); err == nil && mask.Is4() && a.Is4() {
		b := mask.As4()
		ones := mathbits.LeadingZeros32(^binary.BigEndian.Uint32(b[:]))
		return netip.Prefix{}, problemf("write "+netip.PrefixFrom(a, ones).String(), "%s has a netmask", quoted(text))
	}
	n, p := parseNumber(bits, 0, a.BitLen())
	if p != nil {
		return netip.Prefix{}, problemf(p.right+" after the /", "prefix length of %s: %s", quoted(text), p.wrong)
	}
	prefix := netip.PrefixFrom(a, n)
	if right := prefix.Masked(); right != prefix {
		return netip.Prefix{}, problemf("write "+right.String()+" for the network or "+a.String()+" for the one address",
			"%s has host bits set", text)
	}
	return prefix, nil
}

// parseAddr reads an address without a zone.
func parseAddr(text string) (netip.Addr, *problem) {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, problemf("write an IPv4 or IPv6 address, as 192.0.2.10 or 2001:db8::10 (names are not looked up)",
			"%s is not an address", quoted(text))
	case a.Zone() != "":
		return a, problemf("write "+a.WithZone("").String(), "%s has a zone, which no other host can use", text)
	case a.Is4In6():
		return a, problemf("write "+a.Unmap().String(), "%s is an IPv4 address written as IPv6", text)
	}
	return a, nil
}
