package policy

import (
	"fmt"
	"reflect"
	"strings"
)

// An object is a decoded set of fields, for the checks that look at more than
// one of them.
type object struct {
	*decoder
	node   *node
	path   *path
	values map[string]*node
	// sound is false if a field of it is already reported: checks that
	// compare fields would only report the same again.
	sound bool
}

// has reports whether the field is written, be it with its zero value.
func (o *object) has(name string) bool { return o.values[name] != nil }

// wrong reports a problem of the object, at the field's value if name is one.
func (o *object) wrong(name string, is *problem) {
	if o.open[o.node] {
		return
	}
	if name == "" {
		o.report(o.node, o.path, is)
		return
	}
	n := o.values[name]
	if n == nil {
		n = o.node
	}
	o.report(n, o.path.field(name), is)
}

// object decodes n into the struct v.
func (d *decoder) object(v reflect.Value, n *node, p *path) {
	if n.kind != kindMap {
		d.wrongKind(n, p, "write fields, as "+exampleOf(v.Type()))
		return
	}
	before := len(d.errs)
	o := &object{decoder: d, node: n, path: p, values: make(map[string]*node, len(n.entries))}
	set := fieldsOf(v.Type())
	for _, e := range d.fields(n, p) {
		f := set.by[e.key.text]
		if f == nil {
			d.report(e.key, p.field(e.key.text), unknown(v.Type(), e.key.text, set))
			continue
		}
		o.values[f.name] = e.value
		d.value(v.FieldByIndex(f.index), e.value, p.field(f.name), f)
	}
	for i := range set.list {
		if f := &set.list[i]; f.required && !o.has(f.name) {
			o.wrong(f.name, missing(v.Type(), f.name))
		}
	}
	if d.left < 0 {
		return
	}
	o.sound = len(d.errs) == before
	defer func() {
		if len(d.errs) > before {
			d.unsound[n] = true
		}
	}()
	switch x := v.Addr().Interface().(type) {
	case *storedSession:
		o.checkSession(&x.Session)
	case *Session:
		o.checkSession(x)
	case *Selector:
		o.checkSelector(x)
	case *Match:
		o.checkMatch(x)
	case *Destination:
		o.checkDestination(x)
	case *ERSPAN:
		o.checkTunnel(&x.Tunnel)
		o.checkERSPAN(x)
	case *GRE:
		o.checkTunnel(&x.Tunnel)
	case *VXLAN:
		o.checkTunnel(&x.Tunnel)
	}
}

// exampleOf shows what a set of fields looks like.
func exampleOf(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Session]():
		return "sources: and destinations:"
	case reflect.TypeFor[Selector]():
		return `{role: guest} or {vm: "web-*"}`
	case reflect.TypeFor[Match]():
		return "{protocol: tcp, port: 443}"
	case reflect.TypeFor[Destination]():
		return "{vm: audit}"
	case reflect.TypeFor[Document]():
		return fmt.Sprintf("version: %d and sessions:", Version)
	case reflect.TypeFor[storedSession]():
		return `{"version":1,"sources":[{"role":"all"}],"destinations":[{"vm":"audit"}]}`
	case reflect.TypeFor[ERSPAN]():
		return "{remote: 192.0.2.10, session: 100}"
	}
	return "{remote: 192.0.2.10}"
}

func missing(t reflect.Type, name string) *problem {
	right := map[string]string{
		"version":      fmt.Sprintf("start the file with version: %d", Version),
		"sessions":     "name the sessions, as sessions: {audit: {sources: …, destinations: …}}",
		"sources":      "say what is copied, as sources: [{role: all}]",
		"destinations": "say where the copies go, as destinations: [{vm: audit}]",
		"remote":       "give the collector's address, as remote: 192.0.2.10",
	}[name]
	return &problem{wrong: "is missing", right: right}
}

// unknown is the problem of a field that the language does not have there.
func unknown(t reflect.Type, name string, set *fieldSet) *problem {
	if t == reflect.TypeFor[ERSPAN]() && (name == "psk_file" || name == "psk") {
		return problemf("use gre, geneve or vxlan with psk_file",
			"unknown field: ERSPAN cannot be encrypted, Open vSwitch ignores the key and the copies would go in clear")
	}
	right := "the fields here are " + strings.Join(set.names, ", ")
	if near := nearest(name, set.names); near != "" {
		right = "did you mean " + near + "? " + right
	}
	return &problem{wrong: "unknown field", right: right}
}
