package policy

import (
	"strings"
	"unicode/utf8"
)

// Globs are matched against the whole name, character by character:
//
//	*       any characters, also none, also /
//	?       any one character
//	[a-z0]  one character of the class; [^…] and [!…] one that is not in it
//	\x      the character x itself, also within a class
//
// [path.Match] agrees wherever neither / nor [! occurs.

// ValidGlob says what is wrong with pattern, or nil.
func ValidGlob(pattern string) error {
	if p := checkGlob(pattern); p != nil {
		return p
	}
	return nil
}

func checkGlob(pattern string) *problem {
	if pattern == "" {
		return problemf("give a name or a glob, * for every one", "is empty and matches nothing")
	}
	for i := 0; i < len(pattern); {
		switch pattern[i] {
		case '\\':
			if i+1 == len(pattern) {
				return problemf(`end it with \\ for a backslash`, `glob %s ends in a lone backslash`, quoted(pattern))
			}
			i += 2
		case '[':
			_, n, ok := matchClass(pattern[i:], 0)
			if !ok {
				return problemf(`write [a-z] for one character of a class or \[ for a bracket`, `glob %s has a bad [ class`, quoted(pattern))
			}
			i += n
		default:
			i++
		}
	}
	return nil
}

// Glob reports whether pattern matches all of name; a pattern that is not
// valid matches nothing.
func Glob(pattern, name string) bool {
	// The last * seen, and what it has taken: on a mismatch it takes one more
	// character. Earlier ones need no second try.
	star, taken := -1, 0
	p, n := 0, 0
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, taken = p, n
			p++
			continue
		}
		r, size := utf8.DecodeRuneInString(name[n:])
		if width, ok := matchOne(pattern[p:], r); ok {
			p, n = p+width, n+size
			continue
		}
		if star < 0 {
			return false
		}
		_, size = utf8.DecodeRuneInString(name[taken:])
		taken += size
		p, n = star+1, taken
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches r against the first element of pattern, which is not *,
// and gives that element's length.
func matchOne(pattern string, r rune) (width int, ok bool) {
	if pattern == "" {
		return 0, false
	}
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		in, n, valid := matchClass(pattern, r)
		return n, valid && in
	case '\\':
		if len(pattern) == 1 {
			return 0, false
		}
		c, n := utf8.DecodeRuneInString(pattern[1:])
		return 1 + n, c == r
	}
	c, n := utf8.DecodeRuneInString(pattern)
	return n, c == r
}

// matchClass reads the [ class at the start of pattern: whether r is in it,
// its length, and whether it is well formed.
func matchClass(pattern string, r rune) (in bool, length int, ok bool) {
	i, not := 1, false
	if i < len(pattern) && (pattern[i] == '^' || pattern[i] == '!') {
		not = true
		i++
	}
	for first := true; ; first = false {
		if i < len(pattern) && pattern[i] == ']' && !first {
			return in != not, i + 1, true
		}
		lo, n, ok := classRune(pattern[i:])
		if !ok {
			return false, 0, false
		}
		i += n
		hi := lo
		if i < len(pattern) && pattern[i] == '-' {
			hi, n, ok = classRune(pattern[i+1:])
			if !ok || hi < lo {
				return false, 0, false
			}
			i += 1 + n
		}
		in = in || lo <= r && r <= hi
	}
}

func classRune(pattern string) (r rune, length int, ok bool) {
	escape := 0
	switch {
	case pattern == "" || pattern[0] == '-' || pattern[0] == ']':
		return 0, 0, false
	case pattern[0] == '\\':
		escape = 1
	}
	if len(pattern) == escape {
		return 0, 0, false
	}
	r, n := utf8.DecodeRuneInString(pattern[escape:])
	return r, escape + n, true
}

// GlobPrefix is the literal text, escapes resolved, that every match of
// pattern starts with; literal says that nothing follows it, so that only
// that very name matches.
func GlobPrefix(pattern string) (prefix string, literal bool) {
	end := strings.IndexAny(pattern, `*?[\`)
	if end < 0 {
		return pattern, true
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*', '?', '[':
			return b.String(), false
		case '\\':
			if i++; i == len(pattern) {
				return b.String(), false
			}
			b.WriteByte(pattern[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}
