package policy

import (
	"strings"
)

// nearest is the candidate that text was probably meant to be, or "".
func nearest(text string, candidates []string) string {
	if len(text) > 64 {
		return ""
	}
	best, bestDistance := "", 3
	folded := strings.ToLower(strings.ReplaceAll(text, "-", "_"))
	for _, c := range candidates {
		if len(folded) >= 3 && strings.HasPrefix(c, folded) {
			return c
		}
	}
	for _, c := range candidates {
		d := distance(folded, c)
		if d < bestDistance && d < len(c)-len(c)/3 {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the number of letters to insert, drop, replace or swap with the
// next to turn a into b (optimal string alignment).
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

// notOneOf is the problem of a value outside a fixed list.
func notOneOf(text string, known []string, orElse string) *problem {
	right := "use " + orList(known) + orElse
	if near := nearest(text, known); near != "" {
		right = "did you mean " + near + "? " + right
	}
	return &problem{wrong: quoted(text) + " is not known here", right: right}
}

// orList is "a, b or c".
func orList(words []string) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
