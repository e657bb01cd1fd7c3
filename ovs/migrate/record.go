package migrate

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/vishvananda/netlink/nl"
)

// A Record is an object of the kernel as rtnetlink(7) told it: an address, a route, a rule or a neighbour.
type Record struct {
	Text   string      `json:"text"` // for people
	Header []byte      `json:"header"`
	Attrs  []Attribute `json:"attributes"`
}

// An Attribute is one of a Record's.
type Attribute struct {
	Type  uint16 `json:"type"`
	Value []byte `json:"value"`
}

// parse reads a message whose header has that length.
func parse(message []byte, header int) (Record, error) {
	list, err := nl.ParseRouteAttr(message[header:])
	if err != nil {
		return Record{}, err
	}
	r := Record{Header: bytes.Clone(message[:header])}
	for _, a := range list {
		r.Attrs = append(r.Attrs, Attribute{a.Attr.Type & nl.NLA_TYPE_MASK, bytes.Clone(a.Value)})
	}
	return r, nil
}

// clone is a copy that may be changed.
func (r *Record) clone() *Record {
	c := Record{Text: r.Text, Header: bytes.Clone(r.Header)}
	for _, a := range r.Attrs {
		c.Attrs = append(c.Attrs, Attribute{a.Type, bytes.Clone(a.Value)})
	}
	return &c
}

// attr is the value of an attribute, nil if it has none.
func (r *Record) attr(kind uint16) []byte {
	for _, a := range r.Attrs {
		if a.Type == kind {
			return a.Value
		}
	}
	return nil
}

// number is the value of an attribute of four bytes, 0 if it has none.
func (r *Record) number(kind uint16) uint32 {
	if v := r.attr(kind); len(v) >= 4 {
		return native.Uint32(v)
	}
	return 0
}

// name is the value of an attribute that is text.
func (r *Record) name(kind uint16) string {
	return string(bytes.TrimRight(r.attr(kind), "\x00"))
}

// set gives an attribute that is there another value.
func (r *Record) set(kind uint16, value []byte) {
	for i := range r.Attrs {
		if r.Attrs[i].Type == kind {
			r.Attrs[i].Value = value
		}
	}
}

func (r *Record) drop(kinds ...uint16) {
	r.Attrs = slices.DeleteFunc(r.Attrs, func(a Attribute) bool { return slices.Contains(kinds, a.Type) })
}

// message is the record as the kernel takes it.
func (r *Record) message() []byte {
	out := bytes.Clone(r.Header)
	for _, a := range r.Attrs {
		out = append(out, nl.NewRtAttr(int(a.Type), a.Value).Serialize()...)
	}
	return out
}

// key tells records from one another: all that they say, in any order, but of those attributes.
func (r *Record) key(but ...uint16) string {
	parts := make([]string, 0, len(r.Attrs))
	for _, a := range r.Attrs {
		if slices.Contains(but, a.Type) {
			continue
		}
		parts = append(parts, string(native.AppendUint16(nil, a.Type))+string(a.Value))
	}
	slices.Sort(parts)
	out := string(r.Header)
	for _, p := range parts {
		out += "\x00" + p
	}
	return out
}

// native is the host's byte order, which rtnetlink has.
var native = binary.NativeEndian
