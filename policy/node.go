package policy

import (
	"strconv"
	"unicode/utf8"
)

// kind is what a node is.
type kind int

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindText
	kindList
	kindMap
)

// what names a kind in messages.
func (k kind) what() string {
	return [...]string{"nothing", "true or false", "a number", "text", "a list", "a set of fields"}[k]
}

// A node is a value of a document, YAML or JSON, with aliases and merge keys
// resolved: it may occur in several places of the tree.
type node struct {
	kind         kind
	line, column int
	text         string  // of a scalar, as written but unquoted
	items        []*node // of a list
	entries      []entry // of a map, in order, duplicates included
}

// An entry is a field of a map.
type entry struct {
	key, value *node
	merged     bool // came by <<: gives way to what is written out
}

// valueText names the value of a node in messages.
func (n *node) valueText() string {
	switch n.kind {
	case kindText:
		return quoted(n.text)
	case kindBool, kindNumber:
		return clip(n.text)
	}
	return n.kind.what()
}

// quotedMax is how much of a user's text a message shows.
const quotedMax = 60

func clip(text string) string {
	if len(text) <= quotedMax {
		return text
	}
	end := quotedMax
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// quoted is text as a message shows it: on one line and not too long.
func quoted(text string) string { return strconv.Quote(clip(text)) }
