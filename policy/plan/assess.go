package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Counters are a Mirror's statistics: copies it has sent.
type Counters struct {
	Packets, Bytes uint64
}

// Losses are what an Interface's statistics tell of packets that it was given
// and did not send.
type Losses struct {
	// Dropped are tx_dropped and tx_errors less TooLarge, the packets that did not
	// fit the MTU, which DPDK ports alone count. They are counted since the port is
	// there, and not everything is: on Linux devices in the userspace datapath a
	// packet that is too large is in no counter (OVS 3.1).
	Dropped, TooLarge uint64
}

// Readings are counters at one moment. Those of a Mirror are by its UUID: an
// entry that is nil says that ovs-vswitchd, asked for long enough, has written
// none: it does not have the mirror installed. Losses are by Interface.
type Readings struct {
	Mirrors map[string]*Counters
	Losses  map[string]Losses
}

// A Health is what is really being copied for a session, by what OVSDB tells.
type Health struct {
	Outcome *Outcome
	// State is the outcome's, or StateDegraded.
	State State
	// Problems say what is not as it should be, Notes what is as it must be and
	// should be known.
	Problems, Notes []string
	// Copied is how many of the Outcome's sources a mirror in OVSDB selects in
	// the wanted directions; Blind are the others' names.
	Copied int
	Blind  []string
	// Mirrors are the rows that serve the session, Places what becomes of its
	// copies at each of the Outcome's Places.
	Mirrors []MirrorHealth
	Places  []PlaceHealth
	// LeftOut are packets that exclude left out, OverRate those that were over
	// max_rate, since ovs-vswitchd has the rules; nil is unknown, or none was asked for.
	LeftOut, OverRate *uint64
	// Report is what a living agent has found out about the session, nil if there is none.
	Report *Report
	// Missing tells whether something present and wanted is not copied, or
	// something is copied that should no longer be.
	Missing bool
}

// A MirrorHealth is one row that serves a session.
type MirrorHealth struct {
	Bridge, Name string
	// Counters is nil while ovs-vswitchd has written none, and if they were
	// not asked for.
	Counters *Counters
}

// Assess compares a plan's outcomes with the snapshot that it was made from.
// The readings are nil if they are not known.
func Assess(p *Plan, readings *Readings) []Health {
	if readings == nil {
		readings = &Readings{}
	}
	list := make([]Health, 0, len(p.Outcomes))
	for _, o := range p.Outcomes {
		h := Health{Outcome: o, State: o.State}
		if r := ParseReport(p.Base.Reports[o.Name]); p.Base.Agent.Alive(p.now) && r.About(p.Base.Intent[o.Name]) {
			h.Report = r
		}
		mirrors := h.find(p.Base, readings.Mirrors)
		if o.State == StateActive || o.State == StateWaiting {
			h.Notes = append(h.Notes, o.notesOfDoubts()...)
		}
		switch o.State {
		case StateActive:
			h.sources(p, mirrors)
			h.places(p.Base, readings)
			h.silent()
			h.ruled(p.Base)
			h.pending(p)
			if len(h.Problems) > 0 {
				h.State = StateDegraded
			}
			h.Missing = len(h.Problems) > 0
		case StateWaiting:
			h.Missing = o.SourceCount() > 0
			h.stillCopies(mirrors)
			o.sources(func(s source) { h.Blind = append(h.Blind, o.index.ports[s.port].Name) })
		case StateInvalid, StateRefused:
			h.Missing = !o.unseen || o.astray != ""
			h.goesOn(p.Base, mirrors)
			h.agentSees(p.Base.Agent)
		case StateDisabled, StateExpired:
			h.stillCopies(mirrors)
		}
		list = append(list, h)
	}
	return list
}

// agentSees takes the word of an agent on the host for what cannot be seen from here.
func (h *Health) agentSees(agent *Lease) {
	r, refusals := h.Report, Refusals(h.Outcome.Refusals)
	if r == nil || !agent.Rules || len(refusals) == 0 || !refusals.Host() {
		return
	}
	h.State, h.Problems, h.Notes = r.State, nil, []string{"as the agent on the host says; its rules cannot be seen from here"}
	h.Blind = slices.Sorted(maps.Keys(r.Blind))
	if h.Missing = r.State == StateDegraded || r.State == StateRefused || len(r.Blind) > 0; h.Missing {
		h.Problems = append(h.Problems, r.Reason)
	}
}

// goesOn says what becomes of what a session copied before it could not be compiled.
func (h *Health) goesOn(snap *Snapshot, mirrors []*Mirror) {
	o := h.Outcome
	tap := snap.ruledBy(o.Name)
	seen := tap != nil && snap.Local && tap.FlowsError == ""
	switch {
	case o.astray != "":
		h.Problems = append(h.Problems, "port "+o.astray+" is not on tap bridge "+tap.Name+", and has no copies: run spanctl apply on the host")
	case o.harmful():
		h.stillCopies(mirrors)
	case seen && !slices.ContainsFunc(tap.Flows, func(f Flow) bool { return tap.serves(&f, o.Name) }):
		h.Problems = append(h.Problems, "what it copied before has ended: tap bridge "+tap.Name+" has lost its rules, which nobody can make anew")
	case len(mirrors) > 0 && tap != nil && !seen:
		h.Notes = append(h.Notes, "what it copied before goes on if tap bridge "+tap.Name+" has its rules, which cannot be seen")
	case len(mirrors) > 0:
		h.Notes = append(h.Notes, "what it copied before goes on")
	}
}

// stillCopies reports a mirror that goes on for a session that shall not copy.
func (h *Health) stillCopies(mirrors []*Mirror) {
	for _, m := range mirrors {
		if (m.OutputPort != "" || m.OutputVLAN != nil) && (m.SelectAll || len(m.SelectSrc)+len(m.SelectDst) > 0) {
			h.Problems = append(h.Problems, fmt.Sprintf("mirror %s still copies: run spanctl apply", m.Name))
			h.Missing = true
		}
	}
}

// find returns the mirrors that serve the session.
func (h *Health) find(snap *Snapshot, counters map[string]*Counters) []*Mirror {
	var mirrors []*Mirror
	for b := range snap.Bridges {
		bridge := &snap.Bridges[b]
		installed, before := len(bridge.Mirrors), len(mirrors)
		for m := range bridge.Mirrors {
			mirror := &bridge.Mirrors[m]
			if !mirror.Managed() || !slices.Contains(mirror.Sessions(), h.Outcome.Name) {
				continue
			}
			mirrors = append(mirrors, mirror)
			mh := MirrorHealth{Bridge: bridge.Name, Name: mirror.Name}
			var asked bool
			if mh.Counters, asked = counters[mirror.UUID]; asked && mh.Counters == nil {
				h.Problems = append(h.Problems, fmt.Sprintf("mirror %s has no statistics: ovs-vswitchd has not installed it", mirror.Name))
			}
			h.Mirrors = append(h.Mirrors, mh)
		}
		if installed > MirrorLimit && len(mirrors) > before {
			h.Problems = append(h.Problems, fmt.Sprintf("bridge %s has %d mirrors, OVS installs %d", bridge.Name, installed, MirrorLimit))
		}
	}
	return mirrors
}

// sources checks that each wanted port is selected by a mirror that sends to
// the session's destination, or to its tap bridge.
func (h *Health) sources(p *Plan, mirrors []*Mirror) {
	o := h.Outcome
	delivers := o.delivers(p)
	var unheardOf []string
	o.sources(func(s source) {
		port, at := o.index.ports[s.port], o.index.bridge[s.port]
		bridge := &o.index.snap.Bridges[at]
		copied := func(want *vlanSet, side func(*Mirror) []string) bool {
			return want == nil || !slices.ContainsFunc(o.deliveries, func(d *delivery) bool {
				return !slices.ContainsFunc(mirrors, func(m *Mirror) bool {
					_, listed := slices.BinarySearch(side(m), port.Name)
					return (m.SelectAll || listed) && overlaps(m, want) && d.reachedBy(m, bridge.Name, o) &&
						slices.ContainsFunc(bridge.Mirrors, func(on Mirror) bool { return on.UUID == m.UUID })
				})
			})
		}
		if o.listed[at] {
			s.to = nil // what others send it is copied as theirs
		}
		device := ""
		if s.from != nil {
			device = p.Base.deaf(port)
		}
		if device != "" {
			unheardOf = append(unheardOf, unheard(device))
		}
		if delivers && device == "" && copied(s.from, func(m *Mirror) []string { return m.SelectSrc }) &&
			copied(s.to, func(m *Mirror) []string { return m.SelectDst }) {
			h.Copied++
		} else {
			h.Blind = append(h.Blind, port.Name)
		}
	})
	if len(h.Blind) > 0 {
		names := h.Blind
		if len(names) > 8 {
			names = append(slices.Clone(names[:8]), fmt.Sprintf("and %d more", len(h.Blind)-8))
		}
		h.Problems = append(h.Problems, "not copied: "+strings.Join(names, ", "))
	}
	h.Problems = append(h.Problems, unheardOf...)
}

// delivers reports whether what reaches the session's tap bridge, if it has one,
// goes on to at least one destination.
func (o *Outcome) delivers(p *Plan) bool {
	tap := o.index.snap.Bridge(o.tap.name)
	switch {
	case o.tap.tier == TierDirect:
		return true
	case tap == nil:
		return false
	case o.tap.sends():
		return !slices.ContainsFunc(p.Changes, func(c Change) bool {
			return c.Table == TableFlow && c.Action != Delete && !slices.Equal(c.Columns[colActions].New, Value{actionDrop}) && slices.Contains(c.Sessions, o.Name)
		})
	case tap.Flows != nil && !slices.ContainsFunc(tap.Flows, isNormal):
		return false // somebody took the rule away by which a mirror hub floods
	}
	return slices.ContainsFunc(tap.Mirrors, func(m Mirror) bool {
		return m.Managed() && slices.ContainsFunc(o.Places, func(p Place) bool { return p.Port != "" && p.Port == m.OutputPort })
	})
}

// reachedBy reports whether a mirror of the bridge sends to the delivery's
// destination, or to its patch; o is a session of it.
func (d *delivery) reachedBy(m *Mirror, bridge string, o *Outcome) bool {
	if d.tier != TierDirect {
		outer, _ := d.patch(bridge)
		return m.OutputPort == outer
	}
	if t := d.direct(); t.rspan() {
		return m.OutputPort == "" && m.OutputVLAN != nil && *m.OutputVLAN == t.vlan
	}
	return m.OutputPort == o.Places[0].Port
}

// silent notes the ports that are no sources because of a tunnel, and tunnels
// whose packets are copied.
func (h *Health) silent() {
	h.Notes = append(h.Notes, h.Outcome.again...)
	var names []string
	for port := range h.Outcome.silent {
		names = append(names, h.Outcome.index.ports[port].Name)
	}
	if slices.Sort(names); len(names) > 0 {
		h.Notes = append(h.Notes, "what the host itself sends by "+strings.Join(names, ", ")+" is not copied, because a tunnel leaves there")
	}
}

// overlaps reports whether the mirror copies some of the wanted VLANs. That
// the others are copied by another row is for Diff to say.
func overlaps(m *Mirror, want *vlanSet) bool {
	if len(m.SelectVLANs) == 0 || want.all() {
		return true
	}
	for _, r := range want.ranges {
		for _, have := range m.SelectVLANs {
			if r.First <= have.Last && have.First <= r.Last {
				return true
			}
		}
	}
	return false
}

// pending reports changes that are still to be made for the session: rows that
// are missing, or that others changed.
func (h *Health) pending(p *Plan) {
	for i := range p.Changes {
		c := &p.Changes[i]
		if c.Table != TableIntent && !c.Table.ofRules() && slices.Contains(c.Sessions, h.Outcome.Name) && c.misses() {
			h.Problems = append(h.Problems, fmt.Sprintf("%s %s is not as it should be (%s): run spanctl apply", c.Table, c.Name, c.Detail))
		}
	}
	h.pendingRules(p)
}

// pendingRules reports rules of the session's tap bridge that are not as they
// should be, those that cannot be read, and those that somebody else has made.
func (h *Health) pendingRules(p *Plan) {
	tap := p.Base.Bridge(h.Outcome.Bridge)
	if tap == nil || !tap.Managed() {
		return
	}
	if tap.FlowsError != "" && tap.Ruled() {
		h.Problems = append(h.Problems, fmt.Sprintf("the rules of tap bridge %s cannot be read: %s", tap.Name, tap.FlowsError))
		return
	}
	count := map[string]int{}
	for i := range p.Changes {
		if c := &p.Changes[i]; c.Table.ofRules() && (slices.Contains(c.Sessions, h.Outcome.Name) || c.foreign() && c.Bridge == tap.Name) {
			count[c.Detail]++
		}
	}
	for _, detail := range slices.Sorted(maps.Keys(count)) {
		what := fmt.Sprintf("%d rules of tap bridge %s are not as they should be", count[detail], tap.Name)
		if count[detail] == 1 {
			what = "a rule of tap bridge " + tap.Name + " is not as it should be"
		}
		h.Problems = append(h.Problems, fmt.Sprintf("%s (%s): run spanctl apply", what, detail))
	}
}

// misses reports whether packets are missing, or too many, until the change is
// made. Ports that a mirror would gain are counted one by one: see sources.
func (c *Change) misses() bool {
	if c.Table != TableMirror || c.Action != Update {
		return true
	}
	for col, d := range c.Columns {
		switch col {
		case colName, colIDs:
		case colSelectSrc, colSelectDst:
			if slices.ContainsFunc(d.Old, func(p string) bool { return !slices.Contains(d.New, p) }) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// Leftovers lists the changes of a plan that end copying for sessions that are
// no longer stored.
func (p *Plan) Leftovers() []Change {
	return slices.DeleteFunc(slices.Clone(p.Changes), func(c Change) bool {
		return c.Table != TableMirror || c.Action != Delete || slices.ContainsFunc(c.Sessions, func(name string) bool { return p.outcome(name) != nil })
	})
}
