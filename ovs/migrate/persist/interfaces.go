package persist

import (
	"strings"
)

// interfaces is a file of ifupdown (interfaces(5)) as its lines. What is not changed stays as it was, byte for byte.
type interfaces struct {
	path  string
	lines []line
}

// line is one that ifupdown reads as one: with those that a backslash joins to it.
type line struct {
	raw    string   // as it stands in the file, with its end
	words  []string // none: blank, or a comment
	header int      // the line that begins its stanza of "iface" or "mapping", itself included; -1: none
}

// keywords begin a stanza, and "allow-…" does.
var keywords = map[string]bool{
	"iface": true, "mapping": true, "auto": true, "source": true, "source-directory": true, "no-auto-down": true,
	"no-scripts": true, "rename": true, "template": true,
}

func parseInterfaces(path, text string) *interfaces {
	f := &interfaces{path: path}
	header := -1
	for text != "" {
		l := line{header: -1}
		end := physical(text)
		if begin := strings.TrimLeft(text[:end], " \t"); !strings.HasPrefix(begin, "#") {
			for continued(text[:end]) && end < len(text) {
				end += physical(text[end:])
			}
			l.words = strings.Fields(strings.ReplaceAll(text[:end], "\\\n", ""))
		}
		l.raw, text = text[:end], text[end:]
		if len(l.words) > 0 {
			if word := l.words[0]; keywords[word] || strings.HasPrefix(word, "allow-") {
				header = -1
				if word == "iface" || word == "mapping" {
					header = len(f.lines)
				}
			}
			l.header = header
		}
		f.lines = append(f.lines, l)
	}
	return f
}

// physical is where the first line of the text ends.
func physical(text string) int {
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

func continued(text string) bool { return strings.HasSuffix(text, "\\\n") }

// text is the file, changed lines as they were changed.
func (f *interfaces) text() string {
	var b strings.Builder
	for _, l := range f.lines {
		b.WriteString(l.raw)
	}
	return b.String()
}

// stanzas are the lines where stanzas of "iface NAME" begin.
func (f *interfaces) stanzas(name string) (at []int) {
	for i, l := range f.lines {
		if l.header == i && l.words[0] == "iface" && len(l.words) > 1 && l.words[1] == name {
			at = append(at, i)
		}
	}
	return at
}

// option is a line of a stanza. A key is the same with "-" and with "_", as scripts see it (interfaces(5)).
type option struct {
	*line
	key, value string
}

// options are those of the stanza that begins at that line.
func (f *interfaces) options(header int) (all []option) {
	for i := header + 1; i < len(f.lines); i++ {
		l := &f.lines[i]
		if len(l.words) > 0 && l.header != header {
			break
		}
		if len(l.words) > 0 {
			all = append(all, option{l, strings.ReplaceAll(l.words[0], "-", "_"), strings.Join(l.words[1:], " ")})
		}
	}
	return all
}

// value is that of the stanza's first option of that key.
func (f *interfaces) value(header int, key string) string {
	for _, o := range f.options(header) {
		if o.key == key {
			return o.value
		}
	}
	return ""
}

// indent is the blank before the line.
func (l *line) indent() string { return l.raw[:len(l.raw)-len(strings.TrimLeft(l.raw, " \t"))] }

// become makes the line these, each with its indentation; none: it goes.
func (l *line) become(lines ...string) {
	indent := l.indent()
	l.raw = ""
	for _, text := range lines {
		l.raw += indent + text + "\n"
	}
}

// comment makes the line a comment that says why, after these lines.
func (l *line) comment(why string, before ...string) {
	indent, lines := l.indent(), strings.SplitAfter(l.raw, "\n")
	l.become(append(before, "# "+why)...)
	for _, text := range lines {
		if text != "" {
			l.raw += indent + "# " + strings.TrimLeft(strings.TrimSuffix(text, "\n"), " \t") + "\n"
		}
	}
}

// rename makes a word of the line another; the blanks between words stay.
func (l *line) rename(from, to string) {
	var b strings.Builder
	for rest := l.raw; rest != ""; {
		blank, word, after := cutWord(rest)
		if word == from {
			word = to
		}
		b.WriteString(blank + word)
		rest = after
	}
	l.raw = b.String()
}

// drop takes a word out of a list ("auto eth0 eth1"), with the blank before it: the line, if it was the only one.
func (l *line) drop(drop string) {
	var b strings.Builder
	words := 0
	for rest := l.raw; rest != ""; {
		blank, word, after := cutWord(rest)
		if word != drop {
			b.WriteString(blank + word)
		}
		if word != "" && word != drop {
			words++
		}
		rest = after
	}
	l.raw = b.String()
	if words == 1 {
		l.raw = ""
	}
}

// cutWord cuts the first word off a line, with the blank before it.
func cutWord(text string) (blank, word, after string) {
	const blanks = " \t\n\\"
	n := len(text) - len(strings.TrimLeft(text, blanks))
	blank, text = text[:n], text[n:]
	if n = strings.IndexAny(text, blanks); n < 0 {
		n = len(text)
	}
	return blank, text[:n], text[n:]
}
