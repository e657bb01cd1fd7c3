package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Flow is an OpenFlow rule of a bridge, in the words of ovs-ofctl(8) and
// ovs-fields(7).
type Flow struct {
	Cookie   uint64
	Table    int
	Priority int
	// Match is the fields that a packet must have, separated by commas, ports by
	// their numbers, as NormalMatch gives it; Actions is what is then done, "drop" for nothing.
	Match, Actions string
	// Packets and Bytes are how many matched, since the rule is there.
	Packets, Bytes uint64
}

// A Meter is an OpenFlow meter of a bridge that drops what is over its rate.
type Meter struct {
	ID uint32
	// Rate is in kbit/s, or in packets/s if Packets is set; Burst in kbit or
	// packets.
	Rate, Burst uint32
	Packets     bool
	// Dropped counts the packets that were over the rate.
	Dropped uint64
}

// NormalMatch is an OpenFlow match with its fields in alphabetical order, numbers in
// decimal, or with a mask in hexadecimal, and addresses as Go writes them: equal
// matches are then the same text, however ovs-ofctl and we print them.
func NormalMatch(match string) string {
	fields := strings.Split(match, ",")
	for i, field := range fields {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			fields[i] = name
			continue
		}
		if prefix, err := netip.ParsePrefix(value); err == nil {
			fields[i] = name + "=" + prefix.Masked().String()
			continue
		}
		parts := strings.Split(value, "/")
		for j, part := range parts {
			if n, err := strconv.ParseUint(part, 0, 64); err == nil && len(parts) > 1 {
				parts[j] = fmt.Sprintf("0x%x", n)
			} else if err == nil {
				parts[j] = strconv.FormatUint(n, 10)
			} else if address, err := netip.ParseAddr(part); err == nil {
				parts[j] = address.String()
			}
		}
		fields[i] = name + "=" + strings.Join(parts, "/")
	}
	slices.SortFunc(fields, func(a, b string) int {
		return cmp.Or(cmp.Compare(rankOf(a), rankOf(b)), cmp.Compare(a, b))
	})
	return strings.Join(fields, ",")
}

// rankOf puts the port first, then the protocol, as people read them.
func rankOf(field string) int {
	name, _, hasValue := strings.Cut(field, "=")
	switch {
	case name == "in_port":
		return 0
	case !hasValue:
		return 1
	}
	return 2
}
