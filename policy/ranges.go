package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Range is the integers First to Last, both included.
type Range struct {
	First, Last uint16
}

// String is "100" or "200-210".
func (r Range) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return strconv.Itoa(int(r.First)) + "-" + strconv.Itoa(int(r.Last))
}

// Ranges is a set of integers. Every function of this package gives it
// normalised: ascending, disjoint, adjacent ranges merged, so that equal sets
// are equal slices. nil means that the policy does not say.
type Ranges []Range

// normalise sorts and merges rs, in place.
func (rs Ranges) normalise() Ranges {
	slices.SortFunc(rs, func(a, b Range) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n > 0 && int(r.First) <= int(out[n-1].Last)+1 {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Contains reports whether n is in the set.
func (rs Ranges) Contains(n uint16) bool {
	i, found := slices.BinarySearchFunc(rs, n, func(r Range, n uint16) int {
		return cmp.Compare(r.First, n)
	})
	return found || i > 0 && n <= rs[i-1].Last
}

// Union is the set of what is in either; nil only if both are nil.
func (rs Ranges) Union(other Ranges) Ranges {
	if rs == nil && other == nil {
		return nil
	}
	return append(append(make(Ranges, 0, len(rs)+len(other)), rs...), other...).normalise()
}

// Equal reports whether both hold the same integers.
func (rs Ranges) Equal(other Ranges) bool { return slices.Equal(rs, other) }

// String is "100,200-210".
func (rs Ranges) String() string {
	parts := make([]string, len(rs))
	for i, r := range rs {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}

// MarshalJSON gives a list of numbers and "first-last" strings.
func (rs Ranges) MarshalJSON() ([]byte, error) {
	if rs == nil {
		return []byte("null"), nil
	}
	items := make([]any, len(rs))
	for i, r := range rs {
		if r.First == r.Last {
			items[i] = r.First
		} else {
			items[i] = r.String()
		}
	}
	return json.Marshal(items)
}

// parseRange reads "100" or "200-210", each number at most limit.
func parseRange(text string, limit int) (Range, *problem) {
	first, last, isRange := strings.Cut(text, "-")
	switch {
	case strings.ContainsAny(text, ", "):
		return Range{}, problemf(fmt.Sprintf("list them, as [100, 200-210], with numbers from 0 to %d", limit),
			"%s is not a number or a range", quoted(text))
	case !isRange || first == "" && isDigits(last):
		n, p := parseNumber(text, 0, limit)
		return Range{uint16(n), uint16(n)}, p
	case strings.Trim(text, "-0123456789xXoObBaAcCdDeEfF_") != "", first == "", last == "", strings.Contains(last, "-"):
		return Range{}, problemf(fmt.Sprintf("give numbers from 0 to %d or ranges of them, as [100, 200-210]", limit),
			"%s is not a number or a range", quoted(text))
	}
	a, p := parseNumber(first, 0, limit)
	if p != nil {
		return Range{}, p
	}
	b, p := parseNumber(last, 0, limit)
	if p != nil {
		return Range{}, p
	}
	if a > b {
		return Range{}, problemf("write "+Range{uint16(b), uint16(a)}.String(), "range %s is inverted", text)
	}
	return Range{uint16(a), uint16(b)}, nil
}
