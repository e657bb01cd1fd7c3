package plan

import (
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// sources finds the ways on which the session's sources choose the packet, and says
// why. It reports whether it may leave by a source that is not known.
func (t *tracer) sources(v *Verdict) (open bool) {
	var not []string
	leaving := 0
	for _, w := range t.ways {
		chosen, why := t.choose(v.Outcome, w)
		switch {
		case chosen:
			v.chosen = append(v.chosen, w)
			v.Why = append(v.Why, why)
		case w.direction == policy.DirectionFrom:
			v.Why = append(v.Why, why)
		default:
			not = append(not, why)
		}
		leaving += btoi(w.direction == policy.DirectionTo)
	}
	const most = 3
	switch {
	case t.trace != nil && leaving == 0 && len(v.chosen) == 0:
		v.Why = append(v.Why, "it leaves by no port of production")
	case len(v.chosen) > 0 || len(not) == 0:
	case len(not) > most:
		v.Why = append(v.Why, fmt.Sprintf("none of the %d ports by which it leaves is a source for what is sent to it, such as: %s", len(not), not[0]))
	default:
		v.Why = append(v.Why, not...)
	}
	reserved := len(t.owners[t.probe.port])+len(t.foreign[t.probe.port]) > 0 // what enters there is dropped
	if t.trace != nil && len(t.trace.Open) == 0 || t.probe.Dropped != "" || reserved {
		return false
	}
	var sinks []string
	v.Outcome.sources(func(s source) {
		if s.to != nil && s.to.contains(t.probe.VLAN) && s.port != t.probe.port && !v.Outcome.listed[t.bridge[s.port]] {
			sinks = append(sinks, t.ports[s.port].Name)
		}
	})
	if len(v.chosen) == 0 && len(sinks) > 0 {
		if len(sinks) > 8 {
			sinks = append(sinks[:8], fmt.Sprintf("and %d more", len(sinks)-8))
		}
		v.Why = append(v.Why, "by which port it leaves is not known here: it is copied if that is one of "+strings.Join(sinks, ", "))
		return true
	}
	return false
}

// choose reports whether the session copies what passes the port that way, and why
// (not).
func (t *tracer) choose(o *Outcome, w way) (chosen bool, why string) {
	name := t.ports[w.port].Name
	verb, sent := "enters by", "what it sends"
	if w.direction == policy.DirectionTo {
		verb, sent = "leaves by", "what is sent to it"
	}
	if w.dropped != "" {
		return false, fmt.Sprintf("it %s %s: %s", verb, name, w.dropped)
	}
	at, found := slices.BinarySearchFunc(o.selected.list, w.port, bySource)
	if found && !o.silent[w.port] {
		s := o.selected.list[at]
		set := s.from
		if w.direction == policy.DirectionTo {
			if set = s.to; o.listed[t.bridge[w.port]] {
				set = nil // what others send it is copied as theirs
			}
		}
		chosen = set != nil && set.contains(w.vlan)
	}
	because := t.explain(o, w, chosen)
	switch {
	case chosen:
		return true, fmt.Sprintf("it %s %s, a source: %s", verb, name, because)
	case found && o.silent[w.port]:
		because = "what the host itself sends by it is not copied, because a tunnel leaves there"
	case found && w.direction == policy.DirectionTo && o.listed[t.bridge[w.port]]:
		because = "because a tunnel leaves there, what is sent to ports of its bridge is copied as what others send"
	}
	return false, fmt.Sprintf("it %s %s, which is no source for %s: %s", verb, name, sent, because)
}

// explain says which part of the session's sources decided about a way, for which
// compiling has chosen it or not.
func (t *tracer) explain(o *Outcome, w way, chosen bool) string {
	p := t.ports[w.port]
	switch {
	case chosen: // a mirror that outputs there still is one that goes
	case len(t.owners[w.port]) > 0:
		return "it is the destination of session " + strings.Join(t.owners[w.port], ", ")
	case len(t.foreign[w.port]) > 0:
		return "mirror " + strings.Join(t.foreign[w.port], ", ") + ", which is not spanctl's, outputs to it"
	case p.Managed() || t.snap.Bridges[t.on[w.port]].Managed():
		return "it is a port of spanctl's own"
	case t.roles[w.port] == roleNone && guessRole(p) == roleNone && len(p.Interfaces) == 1:
		return fmt.Sprintf("%s ports are never sources", p.Interfaces[0].Type)
	case t.roles[w.port] == roleNone:
		return "it is never a source, since " + KeyRole + " is none"
	}
	applies := func(e *policy.Selector) bool {
		return (e.Direction == "" || e.Direction == policy.DirectionBoth || e.Direction == w.direction) && (e.VLANs == nil || e.VLANs.Contains(w.vlan))
	}
	by, near := "", "no selector of sources selects it"
	for i := range o.Session.Sources {
		switch e := &o.Session.Sources[i]; {
		case by != "" || !t.selects(e, w.port):
		case applies(e):
			by = fmt.Sprintf("sources[%d]", i)
		case e.VLANs != nil && !e.VLANs.Contains(w.vlan):
			near = fmt.Sprintf("sources[%d] selects it in VLANs %s, and the packet is in VLAN %d", i, e.VLANs, w.vlan)
		default:
			near = fmt.Sprintf("sources[%d] selects it with direction: %s", i, e.Direction)
		}
	}
	if by == "" && slices.Contains(t.tags(w.port), o.Name) {
		by = fmt.Sprintf("external_ids:%s names the session", KeyTag)
	}
	if by == "" {
		return near
	}
	for i := range o.Session.Except {
		if e := &o.Session.Except[i]; !chosen && applies(e) && t.selects(e, w.port) {
			return fmt.Sprintf("except[%d] takes it out", i)
		}
	}
	return by
}

// tags are the sessions that the port names in KeyTag.
func (t *tracer) tags(port int32) []string {
	var names []string
	t.values(port, fieldIDs+KeyTag, func(tag string) bool {
		names = append(names, splitNames(tag)...)
		return true
	})
	return names
}

// selects reports whether a selector selects the port, whatever the direction and
// the VLAN.
func (t *tracer) selects(e *policy.Selector, port int32) bool {
	return (e.Bridge == "" || policy.Glob(e.Bridge, t.snap.Bridges[t.bridge[port]].Name)) && hasRole(e.Role, t.roles[port]) &&
		t.fulfils(port, conditionsOf(e.Interface, e.VM, e.MAC, e.ExternalIDs), -1)
}
