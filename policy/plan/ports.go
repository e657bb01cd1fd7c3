package plan

import (
	"slices"
	"strings"

	"spanctl/policy"
)

// A portIndex is a snapshot's ports in one list, bridge after bridge and each
// bridge's by name, with their roles and the look-ups that selectors need. A
// borrowed port is listed with the bridge that it came from: its home.
type portIndex struct {
	snap   *Snapshot
	ports  []*Port
	bridge []int32 // of each port, in snap.Bridges
	on     []int32 // likewise, where the port is now
	roles  []policy.Role
	first  []int32            // of each bridge, its first port; one more at the end
	sorted map[string][]entry // by field, built on first use
}

// An entry is one value that a port has for a field.
type entry struct {
	value string
	port  int32
}

func newPortIndex(snap *Snapshot) *portIndex {
	n := 0
	for i := range snap.Bridges {
		n += len(snap.Bridges[i].Ports)
	}
	x := &portIndex{
		snap:   snap,
		ports:  make([]*Port, 0, n),
		bridge: make([]int32, 0, n),
		on:     make([]int32, 0, n),
		roles:  make([]policy.Role, 0, n),
		sorted: map[string][]entry{},
	}
	type visitor struct {
		port *Port
		on   int32
	}
	visitors := map[int32][]visitor{} // by home
	for b := range snap.Bridges {
		for p := range snap.Bridges[b].Ports {
			if port := &snap.Bridges[b].Ports[p]; snap.Bridges[b].Managed() && !port.Managed() {
				if home := snap.bridgeIndex(port.ExternalIDs[keySavedBridge]); home >= 0 {
					visitors[int32(home)] = append(visitors[int32(home)], visitor{port, int32(b)})
				}
			}
		}
	}
	for b := range snap.Bridges {
		tap := snap.Bridges[b].Managed()
		x.first = append(x.first, int32(len(x.ports)))
		add := func(port *Port, on int32) {
			role := roleOf(port)
			if port.Managed() || tap {
				role = roleNone
			}
			x.ports = append(x.ports, port)
			x.bridge = append(x.bridge, int32(b))
			x.on = append(x.on, on)
			x.roles = append(x.roles, role)
		}
		away := visitors[int32(b)]
		slices.SortFunc(away, func(v, w visitor) int { return strings.Compare(v.port.Name, w.port.Name) })
		for p := range snap.Bridges[b].Ports {
			port := &snap.Bridges[b].Ports[p]
			for len(away) > 0 && away[0].port.Name < port.Name {
				add(away[0].port, away[0].on)
				away = away[1:]
			}
			if tap && !port.Managed() && snap.bridgeIndex(port.ExternalIDs[keySavedBridge]) >= 0 {
				continue // it is listed at home
			}
			add(port, int32(b))
		}
		for _, v := range away {
			add(v.port, v.on)
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

// vmKeys are the external_ids that name a guest: libvirt's vm-id, OpenStack's
// vm-uuid, XAPI's xs-vm-uuid, xl's xen-vm-uuid and xen-vm-name, and iface-id.
var vmKeys = []string{"vm-id", "vm-uuid", "xs-vm-uuid", "xen-vm-uuid", "xen-vm-name", "iface-id"}

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
			for uuid := range iface.domains {
				if name := x.snap.Guests[uuid]; name != "" && !yield(name) {
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

// begins returns the values of the field that begin with the prefix, sorted.
func (x *portIndex) begins(field, prefix string) []entry {
	all, ok := x.sorted[field]
	if !ok {
		for port := range x.ports {
			x.values(int32(port), field, func(v string) bool {
				all = append(all, entry{v, int32(port)})
				return true
			})
		}
		slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.value, b.value) })
		x.sorted[field] = all
	}
	from, _ := slices.BinarySearchFunc(all, prefix, func(e entry, p string) int { return strings.Compare(e.value, p) })
	n, _ := slices.BinarySearchFunc(all[from:], prefix, func(e entry, p string) int {
		if strings.HasPrefix(e.value, p) {
			return -1
		}
		return 1
	})
	return all[from : from+n]
}

// A condition is one field of a selector that ports are matched against.
type condition struct {
	field, glob, prefix string
	literal             bool
}

func (c *condition) holds(value string) bool {
	if c.literal {
		return value == c.prefix
	}
	return strings.HasPrefix(value, c.prefix) && policy.Glob(c.glob, value)
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
	if len(conds) == 0 {
		for port := range x.ports {
			yield(int32(port))
		}
		return
	}
	// The condition that leaves the fewest candidates goes first.
	var candidates []entry
	best := -1
	for i := range conds {
		if found := x.begins(conds[i].field, conds[i].prefix); best < 0 || len(found) < len(candidates) {
			best, candidates = i, found
		}
	}
	var ports []int32
	for _, e := range candidates {
		if conds[best].holds(e.value) {
			ports = append(ports, e.port)
		}
	}
	slices.Sort(ports)
	for _, port := range slices.Compact(ports) { // a port may have several values
		if x.fulfils(port, conds, best) {
			yield(port)
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
		found := false
		x.values(port, conds[i].field, func(v string) bool {
			found = conds[i].holds(v)
			return !found
		})
		if !found {
			return false
		}
	}
	return true
}
