package policy

import (
	"strconv"
	"strings"
)

// A path is where a node stands in a document; nil is the document itself.
// Paths are linked, and spelled out only when a problem is reported.
type path struct {
	parent *path
	name   string
	index  int // of a list item; -1 for a field
}

func (p *path) field(name string) *path { return &path{parent: p, name: name, index: -1} }

func (p *path) item(i int) *path { return &path{parent: p, index: i} }

// String is sessions.audit.sources[0]; "document" for nil.
func (p *path) String() string {
	if p == nil {
		return "document"
	}
	var b strings.Builder
	p.write(&b)
	return b.String()
}

func (p *path) write(b *strings.Builder) {
	if p.parent != nil {
		p.parent.write(b)
	}
	switch {
	case p.index >= 0:
		b.WriteString("[" + strconv.Itoa(p.index) + "]")
		return
	case !plainKey(p.name):
		b.WriteString("[" + quoted(p.name) + "]")
		return
	case p.parent != nil:
		b.WriteByte('.')
	}
	b.WriteString(p.name)
}

// plainKey reports whether a key can stand in a path without quotes.
func plainKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return key != "" && len(key) <= quotedMax
}
