package policy

import (
	"reflect"
	"strings"
)

// fields gives the entries of a map that count: the first of duplicates,
// which it reports, and of merged ones those that are not written out.
func (d *decoder) fields(n *node, p *path) []entry {
	if len(n.entries) == 0 {
		return nil
	}
	first := make(map[string]*node, len(n.entries))
	kept := make([]entry, 0, len(n.entries))
	for _, e := range n.entries {
		if e.merged {
			continue
		}
		if before, ok := first[e.key.text]; ok {
			d.report(e.key, p.field(e.key.text), problemf("keep one of them",
				"is given twice, the first time at %d:%d", before.line, before.column))
			continue
		}
		first[e.key.text] = e.key
		kept = append(kept, e)
	}
	for _, e := range n.entries {
		if _, ok := first[e.key.text]; e.merged && !ok {
			first[e.key.text] = e.key
			kept = append(kept, e)
		}
	}
	return kept
}

// texts decodes external_ids: literal keys with globs.
func (d *decoder) texts(v reflect.Value, n *node, p *path, f *field) {
	if n.kind != kindMap {
		d.wrongKind(n, p, "write key: value pairs, as {zone: dmz}")
		return
	}
	if len(n.entries) == 0 && !d.open[n] {
		d.report(n, p, problemf("give a key and a glob, as {zone: dmz}", "is empty"))
	}
	out := map[string]string{}
	inner := field{name: f.name, as: strings.TrimSuffix(f.as, "s")}
	for _, e := range d.fields(n, p) {
		at := p.field(e.key.text)
		if e.key.text == "" {
			d.report(e.key, p, problemf("name the key of external_ids", "has an empty key"))
		} else if is := checkText(e.key.text, "\n\t"); is != nil {
			d.report(e.key, at, is)
		}
		if !d.visit(e.value, at) {
			return
		}
		var text string
		d.word(reflect.ValueOf(&text).Elem(), e.value, at, &inner)
		out[e.key.text] = text
	}
	if len(out) > 0 {
		v.Set(reflect.ValueOf(out))
	}
}

func (d *decoder) sessions(v reflect.Value, n *node, p *path, f *field) {
	if n.kind != kindMap {
		d.wrongKind(n, p, "write sessions by name, as audit: and its fields below")
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.entries)))
	for _, e := range d.fields(n, p) {
		at := p.field(e.key.text)
		if !ValidSessionName(e.key.text) {
			d.report(e.key, at, problemf(nameRule, "%s is not a session name", quoted(e.key.text)))
		}
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(value, e.value, at, f)
		if !value.IsNil() {
			v.SetMapIndex(reflect.ValueOf(e.key.text), value)
		}
	}
}
