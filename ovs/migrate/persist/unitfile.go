package persist

import (
	"strings"
)

// unitFile is a file in the syntax of systemd (systemd.syntax(7)) as its lines. What is not changed stays as it was, byte
// for byte.
type unitFile struct {
	lines []assignment
}

// assignment is a line of a file, with those that a backslash joins to it.
type assignment struct {
	raw        string
	section    string // that the line is in; of a header, its own
	key, value string // empty: a header, a comment, blank
}

func parseUnitFile(text string) *unitFile {
	f := &unitFile{}
	section := ""
	for text != "" {
		end := physical(text)
		begin := strings.TrimSpace(text[:end])
		comment := begin == "" || begin[0] == '#' || begin[0] == ';'
		for !comment && continued(text[:end]) && end < len(text) {
			end += physical(text[end:])
		}
		a := assignment{raw: text[:end]}
		text = text[end:]
		if !comment {
			whole := strings.TrimSpace(strings.ReplaceAll(a.raw, "\\\n", " "))
			if name, ok := strings.CutPrefix(whole, "["); ok && strings.HasSuffix(name, "]") {
				section = strings.TrimSuffix(name, "]")
			} else if key, value, ok := strings.Cut(whole, "="); ok {
				a.key, a.value = strings.TrimSpace(key), strings.TrimSpace(value)
			}
		}
		a.section = section
		f.lines = append(f.lines, a)
	}
	return f
}

func (f *unitFile) text() string {
	var b strings.Builder
	for _, a := range f.lines {
		b.WriteString(a.raw)
	}
	return b.String()
}

// values are what is assigned to a key, in order; the empty value takes back those before (systemd.syntax(7)).
func (f *unitFile) values(section, key string) (values []string) {
	for _, a := range f.lines {
		if a.section == section && a.key == key {
			values = append(values, a.value)
			if a.value == "" {
				values = nil
			}
		}
	}
	return values
}

// last is the last value of a key.
func (f *unitFile) last(section, key string) string {
	if values := f.values(section, key); len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// words are the words of all values of a key.
func (f *unitFile) words(section, key string) (words []string) {
	for _, value := range f.values(section, key) {
		words = append(words, strings.Fields(value)...)
	}
	return words
}

// drop takes a section away, with its header and comments.
func (f *unitFile) drop(section string) {
	for i := range f.lines {
		if f.lines[i].section == section {
			f.lines[i].raw = ""
		}
	}
}
