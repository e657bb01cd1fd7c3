package policy

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

// Rate is a limit per second, in bits or in packets: exactly one of them is
// not 0. The zero Rate is no limit. Units are decimal: 1kbps is 1000bps.
type Rate struct {
	Bits, Packets uint64
}

// ratePattern is the text of a Rate, for the schema.
const ratePattern = `^[0-9]+(\.[0-9]+)?([kKMG]?bps|[kKM]?pps)$`

// rateUnits are the units of a Rate's text, largest first.
var rateUnits = []struct {
	name    string
	packets bool
	factor  uint64
}{
	{"Gbps", false, 1e9},
	{"Mbps", false, 1e6},
	{"kbps", false, 1e3},
	{"bps", false, 1},
	{"Mpps", true, 1e6},
	{"kpps", true, 1e3},
	{"pps", true, 1},
}

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r == Rate{} }

// String is the shortest exact text in one unit, as "500Mbps" or "20kpps".
func (r Rate) String() string {
	n := r.Bits
	if r.Packets != 0 {
		n = r.Packets
	}
	for _, u := range rateUnits {
		if u.packets == (r.Packets != 0) && n%u.factor == 0 && (n != 0 || u.factor == 1) {
			return strconv.FormatUint(n/u.factor, 10) + u.name
		}
	}
	return "0bps"
}

// MarshalText gives String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a number and a unit, without a space.
func (r *Rate) UnmarshalText(text []byte) error {
	v, p := parseRate(string(text))
	if p != nil {
		return p
	}
	*r = v
	return nil
}

func parseRate(text string) (Rate, *problem) {
	const example = "write a number and one of bps, kbps, Mbps, Gbps, pps, kpps, Mpps, as 500Mbps or 20kpps"
	end := strings.LastIndexAny(text, "0123456789.") + 1
	number, unit := text[:end], text[end:]
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return Rate{}, problemf(example, "%q is not a rate", text)
	}
	if unit == "" {
		return Rate{}, problemf(example, "%q has no unit", text)
	}
	unit = strings.Replace(unit, "K", "k", 1)
	for _, u := range rateUnits {
		if u.name != unit {
			if strings.EqualFold(u.name, strings.TrimSpace(unit)) {
				return Rate{}, problemf("write "+number+u.name, "%q is not a rate", text)
			}
			continue
		}
		// A big.Rat of digits and one point is exact and has no exponent.
		exact, ok := new(big.Rat).SetString(number)
		if !ok || len(number) > 32 {
			return Rate{}, problemf(example, "%q is not a rate", text)
		}
		exact.Mul(exact, new(big.Rat).SetInt(new(big.Int).SetUint64(u.factor)))
		n := exact.Num()
		switch {
		case n.Sign() == 0:
			return Rate{}, problemf("give a rate above 0, or enabled: false to copy nothing", "%q lets no copy through", text)
		case !exact.IsInt() || !n.IsUint64() || n.Uint64() > math.MaxInt64:
			return Rate{}, problemf("give a whole number of bits or packets below 2^63", "%q cannot be counted", text)
		case u.packets:
			return Rate{Packets: n.Uint64()}, nil
		}
		return Rate{Bits: n.Uint64()}, nil
	}
	return Rate{}, problemf(example, "%q is not a unit", unit)
}
