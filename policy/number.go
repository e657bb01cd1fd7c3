package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// parseNumber reads a decimal integer from lo to hi. What YAML would read as
// octal, hexadecimal or a float is refused, because readers of a policy
// disagree on what it means.
func parseNumber(text string, lo, hi int) (int, *problem) {
	want := fmt.Sprintf("give a number from %d to %d", lo, hi)
	digits := strings.TrimPrefix(strings.TrimPrefix(text, "-"), "+")
	switch {
	case digits == "" || strings.Trim(digits, "0123456789") != "":
		if n, err := strconv.ParseInt(text, 0, 64); err == nil {
			return 0, problemf(fmt.Sprintf("write %d", n), "%s is not decimal, and numbers are decimal", text)
		}
		if strings.Trim(digits, "0123456789.eE+-") == "" && digits != "" && '0' <= digits[0] && digits[0] <= '9' && !strings.Contains(digits, "-") {
			return 0, problemf(want, "%s is not a whole number", text)
		}
		return 0, problemf(want, "%q is not a number", text)
	case len(digits) > 1 && digits[0] == '0':
		right := want
		if dec := strings.TrimLeft(digits, "0"); dec != "" {
			right = "write " + dec
		}
		return 0, problemf(right, "%s could be read as octal, and numbers are decimal", text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < int64(lo) || n > int64(hi) {
		return 0, problemf(want, "%s is out of range", text)
	}
	return int(n), nil
}
