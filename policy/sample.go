package policy

import (
	"math"
	"strconv"
	"strings"
)

// Sample keeps one connection in N. The zero Sample, and N of 1, keeps all of
// them.
type Sample struct {
	N int
}

// samplePattern is the text of a Sample, for the schema.
const samplePattern = `^1/[1-9][0-9]*$`

// IsZero reports whether every connection is kept.
func (s Sample) IsZero() bool { return s.N <= 1 }

// String is "1/N".
func (s Sample) String() string { return "1/" + strconv.Itoa(max(s.N, 1)) }

// MarshalText gives "1/N".
func (s Sample) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "1/N"; 1/1 is the zero Sample.
func (s *Sample) UnmarshalText(text []byte) error {
	v, p := parseSample(string(text))
	if p != nil {
		return p
	}
	*s = v
	return nil
}

func parseSample(text string) (Sample, *problem) {
	const example = "write 1/N, as 1/8 to keep one connection in eight"
	one, rest, ok := strings.Cut(text, "/")
	if !ok || one != "1" {
		if _, p := parseNumber(text, 1, math.MaxInt32); p == nil {
			return Sample{}, problemf("write 1/"+text+" to keep one connection in "+text, "%q is not a share", text)
		}
		return Sample{}, problemf(example, "%q is not a share", text)
	}
	n, p := parseNumber(rest, 1, math.MaxInt32)
	if p != nil {
		return Sample{}, problemf(example, "%q is not a share", text)
	}
	if n == 1 {
		return Sample{}, nil
	}
	return Sample{N: n}, nil
}
