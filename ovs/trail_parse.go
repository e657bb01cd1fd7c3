package ovs

import (
	"strconv"
	"strings"
	"unicode"

	"spanctl/policy/plan"
)

// ParseTrail reads the comment of a transaction of spanctl, and reports whether it is
// one: others may write anything.
func ParseTrail(comment string) (Trail, bool) {
	var t Trail
	s := &scanner{rest: comment}
	s.text("spanctl ")
	t.Verb = s.word()
	s.text(" by ")
	t.By = s.word()
	s.text(" (pid ")
	t.PID = s.number()
	s.text(")")
	if s.may(" ") {
		t.Step = s.word()
	}
	for sep := ": "; s.may(sep); sep = "; " {
		if t.Sessions == nil {
			t.Sessions = map[string][]plan.Reason{}
		}
		name := s.word()
		t.Sessions[name] = nil
		for sep := ": "; s.may(sep); sep = ", " {
			t.Sessions[name] = append(t.Sessions[name], plan.Reason(s.word()))
		}
	}
	return t, !s.failed && s.rest == ""
}

// scanner reads a text from its beginning. What is not as asked fails it for good.
type scanner struct {
	rest   string
	failed bool
}

// may goes over a text if it comes next.
func (s *scanner) may(text string) bool {
	rest, found := strings.CutPrefix(s.rest, text)
	if s.failed || !found {
		return false
	}
	s.rest = rest
	return true
}

func (s *scanner) text(text string) {
	if !s.may(text) {
		s.failed = true
	}
}

func (s *scanner) number() int {
	end := strings.IndexFunc(s.rest, func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.Atoi(s.rest[:max(end, 0)])
	if err != nil {
		s.failed = true
		return 0
	}
	s.rest = s.rest[end:]
	return n
}

// none stands for an empty word.
const none = "-"

// word writes a text so that it cannot be taken for anything else: as it is, or quoted
// as in Go.
func word(text string) string {
	switch {
	case text == "":
		return none
	case text == none || strings.ContainsFunc(text, isEnd):
		return strconv.Quote(text)
	}
	return text
}

// isEnd reports whether a rune cannot be in a word without quotes; of bytes that are
// no UTF-8 the replacement character stands for them.
func isEnd(r rune) bool {
	return strings.ContainsRune(`"():;,`, r) || r == unicode.ReplacementChar || r == ' ' || !unicode.IsPrint(r)
}

// word reads what the function word has written, and nothing else that would mean the
// same.
func (s *scanner) word() string {
	written := s.rest
	if end := strings.IndexFunc(s.rest, isEnd); end >= 0 {
		written = s.rest[:end]
	}
	text := written
	if written == none {
		text = ""
	} else if strings.HasPrefix(s.rest, `"`) {
		written, _ = strconv.QuotedPrefix(s.rest)
		text, _ = strconv.Unquote(written) // what is not quoted right is not written alike
	}
	if s.failed || word(text) != written {
		s.failed = true
		return ""
	}
	s.rest = s.rest[len(written):]
	return text
}
