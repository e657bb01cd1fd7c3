package policy

import (
	"bytes"
	"reflect"
	"slices"
)

// salvageTries is how often a text that does not parse is cut further.
const salvageTries = 8

// salvage gives what is wrong before a syntax error, and would be wrong
// whatever stands after it: the text is cut before the line of the error, and
// what its end leaves open is not held against it.
func (d *decoder) salvage(data []byte, syntax *Error) []Error {
	text, err := scan(data)
	if err != nil || syntax.Path != "yaml" {
		return nil
	}
	for range salvageTries {
		lines := bytes.SplitAfter(text, []byte("\n"))
		cut := min(syntax.Line-1, len(lines))
		if cut < 1 {
			return nil
		}
		next := []byte(nil)
		if cut < len(lines) {
			next = lines[cut]
		}
		text = bytes.Join(lines[:cut], nil)
		root, err := parseYAML(text)
		if err != nil {
			if err.Path != "yaml" || err.Line > cut {
				return nil
			}
			syntax = err
			continue
		}
		if p := versionProblem(root); p != nil {
			return nil
		}
		part := newDecoder(d.file)
		part.open = openNodes(root, lines[:cut], next)
		part.value(reflect.ValueOf(&Document{}).Elem(), root, nil, &field{})
		return part.errs
	}
	return nil
}

// openNodes are the last node of a cut text and those it stands in. A scalar
// is closed if the line after the cut is not indented deeper than it.
func openNodes(root *node, lines [][]byte, next []byte) map[*node]bool {
	open := map[*node]bool{}
	for n := root; n != nil && !open[n]; {
		open[n] = true
		switch {
		case n.kind == kindList && len(n.items) > 0:
			n = n.items[len(n.items)-1]
		case n.kind == kindMap && len(n.entries) > 0:
			n = slices.MaxFunc(n.entries, func(a, b entry) int {
				if a.key.line != b.key.line {
					return a.key.line - b.key.line
				}
				return a.key.column - b.key.column
			}).value
		case n.kind == kindText || n.kind == kindNumber || n.kind == kindBool:
			if n.line <= len(lines) && indent(next) <= indent(lines[n.line-1]) && len(bytes.TrimSpace(next)) > 0 {
				delete(open, n)
			}
			n = nil
		default:
			n = nil
		}
	}
	return open
}

func indent(line []byte) int { return len(line) - len(bytes.TrimLeft(line, " ")) }
