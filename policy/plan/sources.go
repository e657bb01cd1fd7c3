package plan

import (
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// A source is a port that a session selects: from holds the VLANs in which
// packets sent by its owner are copied, to those in which packets sent to it.
type source struct {
	port     int32
	from, to *vlanSet
}

// A selection is what a session's sources select on a snapshot.
type selection struct {
	list []source // by port
	// every holds, for each bridge of the snapshot, the VLANs in which every
	// port is selected, present and future ones.
	every []universal
	notes []string
	// doubts are about sources, left about except.
	doubts, left []doubt
}

// A universal is a selection of all ports of a bridge.
type universal struct{ from, to *vlanSet }

// A selector evaluates selectors; its arrays are reused from session to
// session.
type selector struct {
	*portIndex
	vlans    *vlanSets
	tagged   map[string][]int32 // by session: ports that name it in KeyTag
	isDest   []bool             // by port: a destination of some session, or of somebody else
	from, to []*vlanSet
	touched  []int32
}

func newSelector(x *portIndex) *selector {
	n := len(x.ports)
	s := &selector{
		portIndex: x,
		vlans:     newVLANSets(),
		tagged:    map[string][]int32{},
		isDest:    make([]bool, n),
		from:      make([]*vlanSet, n),
		to:        make([]*vlanSet, n),
	}
	for port := range x.ports {
		x.values(int32(port), fieldIDs+KeyTag, func(tag string) bool {
			for _, name := range splitNames(tag) {
				s.tagged[name] = append(s.tagged[name], int32(port))
			}
			return true
		})
	}
	return s
}

// choose evaluates a session's sources and except, and the tags that name it.
func (s *selector) choose(name string, session *policy.Session) selection {
	sel := selection{every: make([]universal, len(s.snap.Bridges))}
	for i := range session.Sources {
		s.add(&sel, fmt.Sprintf("sources[%d]", i), &session.Sources[i])
	}
	s.addTagged(name)
	for i := range session.Except {
		s.takeOut(&sel, fmt.Sprintf("except[%d]", i), &session.Except[i])
	}
	slices.Sort(s.touched)
	for _, port := range s.touched {
		if s.from[port] != nil || s.to[port] != nil {
			sel.list = append(sel.list, source{port, s.from[port], s.to[port]})
		}
		s.from[port], s.to[port] = nil, nil
	}
	s.touched = s.touched[:0]
	return sel
}

func (s *selector) add(sel *selection, field string, e *policy.Selector) {
	vlans := s.vlans.of(e.VLANs)
	bridges := s.bridges(e.Bridge)
	conds := conditionsOf(e.Interface, e.VM, e.MAC, e.ExternalIDs)
	chosen := func(port int32) bool { return bridges[s.bridge[port]] && hasRole(e.Role, s.roles[port]) }
	found := 0
	var never []string
	s.each(conds, func(port int32) {
		if !chosen(port) {
			return
		}
		if s.roles[port] == roleNone || s.isDest[port] {
			if len(conds) > 0 {
				never = append(never, s.ports[port].Name)
			}
			return
		}
		found++
		if e.Direction != policy.DirectionTo {
			s.put(s.from, port, vlans)
		}
		if e.Direction != policy.DirectionFrom {
			s.put(s.to, port, vlans)
		}
	})
	if len(never) > 0 {
		sel.notes = append(sel.notes, fmt.Sprintf("%s: %s is never a source: destinations, patch and tunnel ports are not copied",
			field, strings.Join(never, ", ")))
	} else if found == 0 {
		sel.notes = append(sel.notes, field+" selects no port that is present")
		sel.doubts = append(sel.doubts, s.doubts(field, conds, func(port int32) bool {
			return chosen(port) && s.roles[port] != roleNone && !s.isDest[port]
		})...)
	}
	if (e.Role != "" && e.Role != policy.RoleAll) || len(conds) > 0 && (len(conds) != 1 || e.Interface != "*") {
		return
	}
	for b, on := range bridges {
		if !on {
			continue
		}
		if e.Direction != policy.DirectionTo {
			sel.every[b].from = s.vlans.union(sel.every[b].from, vlans)
		}
		if e.Direction != policy.DirectionFrom {
			sel.every[b].to = s.vlans.union(sel.every[b].to, vlans)
		}
	}
}

// addTagged adds the ports whose Interface names the session in KeyTag.
func (s *selector) addTagged(name string) {
	for _, port := range s.tagged[name] {
		if s.roles[port] != roleNone && !s.isDest[port] {
			s.put(s.from, port, s.vlans.every)
			s.put(s.to, port, s.vlans.every)
		}
	}
}

// takeOut applies one entry of except. A bridge on which it could take out a
// port, now or later, is no longer universally selected.
func (s *selector) takeOut(sel *selection, field string, e *policy.Selector) {
	vlans := s.vlans.of(e.VLANs)
	bridges := s.bridges(e.Bridge)
	conds := conditionsOf(e.Interface, e.VM, e.MAC, e.ExternalIDs)
	chosen := func(port int32) bool { return bridges[s.bridge[port]] && hasRole(e.Role, s.roles[port]) }
	found := false
	s.each(conds, func(port int32) {
		if !chosen(port) {
			return
		}
		found = true
		if e.Direction != policy.DirectionTo {
			s.from[port] = s.vlans.subtract(s.from[port], vlans)
		}
		if e.Direction != policy.DirectionFrom {
			s.to[port] = s.vlans.subtract(s.to[port], vlans)
		}
	})
	if !found {
		sel.left = append(sel.left, s.doubts(field, conds, func(port int32) bool {
			return chosen(port) && (s.from[port] != nil || s.to[port] != nil)
		})...)
	}
	for b, on := range bridges {
		if on {
			sel.every[b] = universal{}
		}
	}
}

func (s *selector) put(sets []*vlanSet, port int32, vlans *vlanSet) {
	if s.from[port] == nil && s.to[port] == nil {
		s.touched = append(s.touched, port)
	}
	sets[port] = s.vlans.union(sets[port], vlans)
}

// bridges tells which bridges a glob selects; an empty one selects all.
func (s *selector) bridges(glob string) []bool {
	chosen := make([]bool, len(s.snap.Bridges))
	for b := range chosen {
		chosen[b] = glob == "" || policy.Glob(glob, s.snap.Bridges[b].Name)
	}
	return chosen
}

// hasRole reports whether a selector's role selects a port's.
func hasRole(want, role policy.Role) bool {
	return want == "" || want == policy.RoleAll || want == role
}
