package plan

import (
	"strings"

	"spanctl/policy"
)

// A portIndex is a snapshot's ports in one list, bridge after bridge and each
// bridge's by name, with their roles and the look-ups that selectors need.
type portIndex struct {
	snap    *Snapshot
	ports   []*Port
	bridge  []int32 // of each port, in snap.Bridges
	roles   []policy.Role
	first   []int32            // of each bridge, its first port; one more at the end
	literal map[string]literal // by field, built on first use
}

// A literal maps one field's values to the ports that carry them.
type literal map[string][]int32

func newPortIndex(snap *Snapshot) *portIndex {
	n := 0
	for i := range snap.Bridges {
		n += len(snap.Bridges[i].Ports)
	}
	x := &portIndex{
		snap:    snap,
		ports:   make([]*Port, 0, n),
		bridge:  make([]int32, 0, n),
		roles:   make([]policy.Role, 0, n),
		literal: map[string]literal{},
	}
	for b := range snap.Bridges {
		x.first = append(x.first, int32(len(x.ports)))
		for p := range snap.Bridges[b].Ports {
			port := &snap.Bridges[b].Ports[p]
			role := roleOf(port)
			if port.Managed() {
				role = roleNone
			}
			x.ports = append(x.ports, port)
			x.bridge = append(x.bridge, int32(b))
			x.roles = append(x.roles, role)
		}
	}
	x.first = append(x.first, int32(len(x.ports)))
	return x
}

// The fields that selectors look ports up by. An external_ids field is
// fieldIDs followed by its key.
const (
	fieldName = "name"
	fieldVM   = "vm"
	fieldMAC  = "mac"
	fieldIDs  = "external_ids:"
)

// vmKeys are the external_ids that name a guest.
var vmKeys = []string{"vm-id", "xs-vm-uuid", "iface-id"}

// values calls yield with each value that the port has for the field, until
// yield returns false.
func (x *portIndex) values(port int32, field string, yield func(string) bool) {
	p := x.ports[port]
	if field == fieldName && !yield(p.Name) {
		return
	}
	if key, ok := strings.CutPrefix(field, fieldIDs); ok {
		if v, ok := p.ExternalIDs[key]; ok && !yield(v) {
			return
		}
	}
	for i := range p.Interfaces {
		iface := &p.Interfaces[i]
		switch field {
		case fieldName:
			if iface.Name != p.Name && !yield(iface.Name) {
				return
			}
		case fieldVM:
			for _, key := range vmKeys {
				if v, ok := iface.ExternalIDs[key]; ok && !yield(v) {
					return
				}
			}
		case fieldMAC:
			mac, ok := iface.ExternalIDs["attached-mac"]
			if !ok {
				mac = iface.MACInUse
			}
			if mac != "" && !yield(strings.ToLower(mac)) {
				return
			}
		default:
			if v, ok := iface.ExternalIDs[field[len(fieldIDs):]]; ok && !yield(v) {
				return
			}
		}
	}
}

// lookup returns the ports that have exactly this value for the field.
func (x *portIndex) lookup(field, value string) []int32 {
	index, ok := x.literal[field]
	if !ok {
		index = literal{}
		for port := range x.ports {
			x.values(int32(port), field, func(v string) bool {
				if ports := index[v]; len(ports) == 0 || ports[len(ports)-1] != int32(port) {
					index[v] = append(ports, int32(port))
				}
				return true
			})
		}
		x.literal[field] = index
	}
	return index[value]
}

// A condition is one field of a selector that ports are matched against.
type condition struct {
	field, glob, prefix string
	literal             bool
}

func conditionsOf(name, vm, mac string, ids map[string]string) []condition {
	var conds []condition
	add := func(field, glob string) {
		prefix, literal := policy.GlobPrefix(glob)
		conds = append(conds, condition{field, glob, prefix, literal})
	}
	if name != "" {
		add(fieldName, name)
	}
	if vm != "" {
		add(fieldVM, vm)
	}
	if mac != "" {
		conds = append(conds, condition{fieldMAC, mac, strings.ToLower(mac), true})
	}
	for key, glob := range ids {
		add(fieldIDs+key, glob)
	}
	return conds
}

// each calls yield with every port that fulfils all conditions, in order.
func (x *portIndex) each(conds []condition, yield func(port int32)) {
	for i := range conds {
		if !conds[i].literal {
			continue
		}
		for _, port := range x.lookup(conds[i].field, conds[i].prefix) {
			if x.fulfils(port, conds, i) {
				yield(port)
			}
		}
		return
	}
	for port := range x.ports {
		if x.fulfils(int32(port), conds, -1) {
			yield(int32(port))
		}
	}
}

// fulfils reports whether the port fulfils all conditions, the one at index
// known being known to hold.
func (x *portIndex) fulfils(port int32, conds []condition, known int) bool {
	for i := range conds {
		if i == known {
			continue
		}
		c, found := &conds[i], false
		x.values(port, c.field, func(v string) bool {
			if c.literal {
				found = v == c.prefix
			} else {
				found = strings.HasPrefix(v, c.prefix) && policy.Glob(c.glob, v)
			}
			return !found
		})
		if !found {
			return false
		}
	}
	return true
}
