package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A decoder fills Go values from nodes, and collects all that is wrong.
type decoder struct {
	file string
	errs []Error
	left int // nodes that may still be visited: aliases multiply them
	// open are the nodes of a truncated text that may go on where it was
	// truncated: what they lack is no error. See salvage.
	open map[*node]bool
	// unsound are the objects with something wrong in them.
	unsound map[*node]bool
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, left: nodesLimit, unsound: map[*node]bool{}}
}

func (d *decoder) report(n *node, p *path, is *problem) {
	d.errs = append(d.errs, Error{
		File: d.file, Line: n.line, Column: n.column,
		Path: p.String(), Problem: is.wrong, Remedy: is.right,
	})
}

// wrongKind reports a node of a kind that does not fit. What a truncated text
// ends in may have become a fitting one.
func (d *decoder) wrongKind(n *node, p *path, right string) {
	switch {
	case d.open[n]:
	case n.kind == kindNull:
		d.report(n, p, problemf("give it one or remove the field", "has no value"))
	default:
		d.report(n, p, problemf(right, "is %s", n.kind.what()))
	}
}

// visit counts a node against the budget.
func (d *decoder) visit(n *node, p *path) bool {
	if d.left--; d.left == -1 {
		d.report(n, p, tooMany)
	}
	return d.left >= 0
}

// value decodes n into v, which is settable; f describes the field that the
// value belongs to.
func (d *decoder) value(v reflect.Value, n *node, p *path, f *field) {
	if !d.visit(n, p) {
		return
	}
	t := v.Type()
	if parse, ok := textTypes[t]; ok {
		if text, ok := d.text(n, p); ok {
			value, is := parse(text)
			d.set(v, reflect.ValueOf(value), n, p, is)
		}
		return
	}
	switch {
	case t == rangesType:
		d.ranges(v, n, p, f)
	case t.Kind() == reflect.Pointer:
		inner := reflect.New(t.Elem())
		before := len(d.errs)
		d.value(inner.Elem(), n, p, f)
		if len(d.errs) == before || t.Elem().Kind() == reflect.Struct {
			v.Set(inner)
		}
	case t.Kind() == reflect.Struct:
		d.object(v, n, p)
	case t.Kind() == reflect.Slice:
		d.list(v, n, p, f)
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.String:
		d.texts(v, n, p, f)
	case t.Kind() == reflect.Map:
		d.sessions(v, n, p, f)
	case t.Kind() == reflect.Bool:
		d.boolean(v, n, p)
	case t.Kind() == reflect.String:
		d.word(v, n, p, f)
	default:
		d.number(v, n, p, f)
	}
}

// set stores a parsed value or reports why there is none.
func (d *decoder) set(v, value reflect.Value, n *node, p *path, is *problem) {
	if is != nil {
		if !d.open[n] {
			d.report(n, p, is)
		}
		return
	}
	v.Set(value)
}

// text gives the text of a scalar; a number stands for its own digits.
func (d *decoder) text(n *node, p *path) (string, bool) {
	switch n.kind {
	case kindText, kindNumber:
		if is := checkText(n.text, ""); is != nil {
			d.set(reflect.Value{}, reflect.Value{}, n, p, is)
			return "", false
		}
		return n.text, true
	case kindBool:
		d.set(reflect.Value{}, reflect.Value{}, n, p, problemf("quote it if it is meant as text: "+quoted(n.text), "%s is not text", n.text))
	default:
		d.wrongKind(n, p, "give one text")
	}
	return "", false
}

func (d *decoder) word(v reflect.Value, n *node, p *path, f *field) {
	text, ok := d.text(n, p)
	if !ok {
		return
	}
	var is *problem
	if read := formats[f.as]; read != nil {
		if is = checkText(text, "\n\t"); is == nil {
			text, is = read(text)
		}
	} else if f.enum != nil && !slices.Contains(f.enum, text) {
		is = notOneOf(text, f.enum, "")
	}
	d.set(v, reflect.ValueOf(text).Convert(v.Type()), n, p, is)
}

func (d *decoder) boolean(v reflect.Value, n *node, p *path) {
	switch {
	case n.kind == kindBool:
		v.SetBool(strings.EqualFold(n.text, "true"))
	case n.kind == kindText || n.kind == kindNumber:
		right := "write true or false"
		switch strings.ToLower(n.text) {
		case "yes", "on", "y", "1", "true":
			right = "write true, without quotes"
		case "no", "off", "n", "0", "false":
			right = "write false, without quotes"
		}
		d.set(v, v, n, p, problemf(right, "%s is neither true nor false", n.valueText()))
	default:
		d.wrongKind(n, p, "write true or false")
	}
}

func (d *decoder) number(v reflect.Value, n *node, p *path, f *field) {
	want := "give a number"
	lo, hi := 0, int(^uint32(0)>>1)
	if f.min <= f.max {
		lo, hi = f.min, f.max
		want = fmt.Sprintf("give a number from %d to %d", lo, hi)
	} else if f.min > 0 {
		lo = f.min
	}
	if n.kind != kindNumber && n.kind != kindText {
		d.wrongKind(n, p, want)
		return
	}
	i, is := parseNumber(n.text, lo, hi)
	if is == nil && n.kind == kindText {
		is = problemf("write "+n.text+" without quotes", "%s is text", n.valueText())
	}
	value := reflect.ValueOf(i)
	d.set(v, value.Convert(v.Type()), n, p, is)
}

func (d *decoder) ranges(v reflect.Value, n *node, p *path, f *field) {
	limit := rangeLimits[f.as]
	want := fmt.Sprintf("give numbers from 0 to %d or ranges of them, as [100, 200-210]", limit)
	var out Ranges
	one := func(n *node, p *path) {
		if n.kind != kindNumber && n.kind != kindText {
			d.wrongKind(n, p, want)
			return
		}
		r, is := parseRange(n.text, limit)
		if is != nil {
			d.set(v, v, n, p, is)
			return
		}
		out = append(out, r)
	}
	if n.kind != kindList {
		one(n, p)
	} else {
		if len(n.items) == 0 && !d.open[n] {
			d.report(n, p, problemf("list at least one number, or remove the field", "is empty"))
		}
		for i, item := range n.items {
			if !d.visit(item, p) {
				return
			}
			one(item, p.item(i))
		}
	}
	if out != nil {
		v.Set(reflect.ValueOf(out.normalise()))
	}
}

// emptyMeans is what users of an empty list may have meant; lists that are
// not named here may be empty.
var emptyMeans = map[string]string{
	"sources":      "list at least one, role: all for every port",
	"destinations": "list at least one",
	"include":      "remove it to copy everything, or use enabled: false to copy nothing",
}

func (d *decoder) list(v reflect.Value, n *node, p *path, f *field) {
	if n.kind != kindList {
		d.wrongKind(n, p, "write a list: start each item with a dash")
		return
	}
	if right, ok := emptyMeans[f.name]; ok && len(n.items) == 0 && !d.open[n] {
		d.report(n, p, problemf(right, "is empty"))
	}
	if len(n.items) == 0 {
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		d.value(out.Index(i), item, p.item(i), f)
	}
	v.Set(out)
}
