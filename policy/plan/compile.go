package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Desired is what should exist: rows, and what became of each session.
type Desired struct {
	// Rows are all rows of ours that should exist, and the columns of borrowed
	// ports as they should be, sorted by table, bridge and name.
	Rows []Row
	// Outcomes are sorted by name.
	Outcomes []*Outcome
	// Warnings are sorted.
	Warnings []string
}

// Compile computes the rows that put the intent in force on the snapshot at
// the time now. Sessions that cannot be compiled keep the rows that they have
// and hurt no other session; their Outcome says why.
func Compile(snap *Snapshot, intent Intent, now time.Time) *Desired {
	c := &compiler{selector: newSelector(newPortIndex(snap)), snap: snap, tunnels: map[string]*tunnel{}, devices: map[int32]*tunnel{}, numbers: map[string]int{}, now: now}
	c.deliveryTo = make([]*delivery, len(c.ports))
	for _, name := range intent.Names() {
		c.outcomes = append(c.outcomes, newOutcome(name, intent[name], now))
	}
	c.findTargets()
	c.order()
	c.findSources()
	groups := c.place()
	d := &Desired{Outcomes: c.outcomes}
	for _, g := range groups {
		d.Rows = append(d.Rows, g.rows...)
	}
	for _, t := range c.taps() {
		d.Rows = append(d.Rows, c.tapRows(t, groups)...)
	}
	d.Rows = append(d.Rows, c.portRows()...)
	d.Rows = append(d.Rows, c.keptRows(groups, d.Rows)...)
	for name, w := range intent {
		d.Rows = append(d.Rows, intentRow(name, w.Raw))
	}
	c.conclude(groups)
	slices.SortFunc(d.Outcomes, func(a, b *Outcome) int { return cmp.Compare(a.Name, b.Name) })
	sortRows(d.Rows)
	d.Warnings = c.warnings(groups)
	return d
}

// taps are the tap bridges that should exist.
func (c *compiler) taps() []*tap {
	var list []*tap
	for _, d := range c.deliveries {
		if d.tier != TierDirect && !slices.Contains(list, d.tap) {
			list = append(list, d.tap)
		}
	}
	return list
}

func intentRow(name, raw string) Row {
	return Row{Table: TableIntent, Name: name, Sessions: []string{name}, Columns: map[string]Value{colIntent: {raw}}}
}

type compiler struct {
	*selector
	snap       *Snapshot
	now        time.Time
	outcomes   []*Outcome
	tunnels    map[string]*tunnel // by all that they are
	devices    map[int32]*tunnel  // of the kernel, by port; nil for ports that are none
	deliveries []*delivery
	deliveryTo []*delivery    // by port: the one that copies to it, nil if none does
	roots      []int32        // see joined
	numbers    map[string]int // of ports on tap bridges with rules
}

// order puts the sessions in the order in which they claim destinations and
// mirror slots: what stands goes before what is being changed, so that a
// change can never push out what works.
func (c *compiler) order() {
	wanted := map[string]*Outcome{}
	for _, o := range c.outcomes {
		wanted[o.Name] = o
	}
	installed := map[string]bool{} // with the destination and treatment that are wanted
	for b := range c.snap.Bridges {
		if bridge := &c.snap.Bridges[b]; bridge.Managed() && tapTier(bridge) == TierFlow {
			for _, name := range splitNames(bridge.ExternalIDs[KeySession]) {
				installed[name] = true
			}
		}
		for m := range c.snap.Bridges[b].Mirrors {
			if mirror := &c.snap.Bridges[b].Mirrors[m]; mirror.Managed() {
				for _, name := range mirror.Sessions() {
					if o := wanted[name]; o != nil && o.Session != nil && o.Session.Snaplen == mirror.Snaplen &&
						slices.ContainsFunc(o.targets, func(t target) bool { return c.outputs(mirror, t) }) {
						installed[name] = true
					}
				}
			}
		}
	}
	rank := func(o *Outcome) int {
		switch {
		case o.changed:
			return 2
		case !installed[o.Name]:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(c.outcomes, func(a, b *Outcome) int { return cmp.Compare(rank(a), rank(b)) })
}

// findTargets locates destinations, and marks the ports that may not be
// sources of any session because they are one.
func (c *compiler) findTargets() {
	for _, o := range c.outcomes {
		if o.State != StateActive {
			continue
		}
		if tap := c.snap.ruledBy(o.Name); tap != nil && !c.snap.Local {
			o.unseen = !o.changed
			for i := range o.Session.Destinations {
				if t, _, _ := c.locate(o.Name, i, &o.Session.Destinations[i]); t.port >= 0 && c.snap.Bridges[c.on[t.port]].Name != tap.Name {
					o.astray = c.ports[t.port].Name
				}
			}
			o.refuse(&Refusal{
				Session: o.Name, Field: "destinations", Tier: TierFlow,
				Problem: fmt.Sprintf("it stands on the rules of tap bridge %s, which are neither seen nor changed over a remote connection", tap.Name), Remedy: "run spanctl on the host, or its agent", Host: true,
			})
		}
		o.treatment = treatmentOf(o.Session)
		present := 0
		for i := range o.Session.Destinations {
			t, awaited, refusal := c.locate(o.Name, i, &o.Session.Destinations[i])
			if t.port >= 0 {
				c.isDest[t.port] = true // also if the session is refused
			}
			if t.absent != "" && refusal == nil {
				o.doubts = append(o.doubts, c.doubtsOfDestination(i, &o.Session.Destinations[i])...)
			}
			if refusal == nil && slices.Contains(o.targets, t) {
				refusal = &Refusal{Session: o.Name, Field: fmt.Sprintf("destinations[%d]", i), Problem: "is the same as another of this session's destinations", Remedy: "remove one"}
			}
			if refusal != nil {
				o.refuse(refusal)
			}
			o.targets = append(o.targets, t)
			o.awaited = append(o.awaited, awaited)
			if t.absent == "" {
				present++
			}
		}
		c.keepInDoubt(o)
		if o.State == StateActive && present == 0 {
			o.is(StateWaiting, strings.Join(slices.Compact(slices.Clone(o.awaited)), "; "))
		}
		if o.State != StateRefused {
			o.Places = c.places(o)
		}
	}
	for port := range c.ports {
		if on := &c.snap.Bridges[c.on[port]]; c.outputOfOthers(int32(port)) || c.on[port] != c.bridge[port] && c.keepsTap(on) {
			c.isDest[port] = true
		}
	}
}

// ruledBy is the tap bridge with rules that serves the session, nil if none does.
func (s *Snapshot) ruledBy(session string) *Bridge {
	for b := range s.Bridges {
		if bridge := &s.Bridges[b]; bridge.Ruled() && slices.Contains(splitNames(bridge.ExternalIDs[KeySession]), session) {
			return bridge
		}
	}
	return nil
}

// outputOfOthers reports whether a foreign mirror, or one of a session that
// cannot be compiled, outputs to the port: what is sent to it are copies.
func (c *compiler) outputOfOthers(port int32) bool {
	for _, b := range []int32{c.bridge[port], c.on[port]} {
		mirrors := c.snap.Bridges[b].Mirrors
		for m := range mirrors {
			if mirrors[m].OutputPort == c.ports[port].Name && (!mirrors[m].Managed() || c.broken(&mirrors[m])) {
				return true
			}
		}
	}
	return false
}

// findSources evaluates the sources of the sessions that can copy.
func (c *compiler) findSources() {
	for _, o := range c.outcomes {
		if o.State != StateActive && o.State != StateWaiting {
			continue
		}
		o.index = c.portIndex
		selected := c.choose(o.Name, o.Session)
		o.doubts = append(o.doubts, selected.doubts...)
		c.keepInDoubt(o)
		c.refuseDoubts(o, selected.left, "what it leaves out would be copied")
		if o.State == StateRefused {
			continue
		}
		o.selected, o.Notes = selected, append(selected.notes, o.notesOfDoubts()...)
		switch {
		case o.State == StateWaiting:
		case len(o.selected.list) == 0:
			o.is(StateWaiting, "no source is present")
		}
	}
}

// conclude says of the sessions that can copy how they do.
func (c *compiler) conclude(groups []*group) {
	for _, g := range groups {
		for _, o := range g.sessions {
			o.guards = append(o.guards, g.guards()...)
		}
	}
	for _, d := range c.deliveries {
		for _, o := range d.sessions {
			o.Tier, o.Destination, o.tap = d.tier, labels(o.Places), d.tap
			if d.present() {
				o.deliveries = append(o.deliveries, d)
			}
			for i, t := range o.targets {
				if slices.Contains(d.targets, t) {
					o.Places[i].Narrow = c.narrow(d, t, everySource)
				}
			}
			if d.tier != TierDirect {
				o.Bridge = d.name
			} else {
				o.Bridge = o.Places[0].Bridge
			}
		}
	}
}

// broken reports whether the mirror is ours and serves a session that cannot
// be compiled. What it does for that session goes on.
func (c *compiler) broken(m *Mirror) bool {
	return m.Managed() && len(c.brokenSessions(m)) > 0
}

func (c *compiler) brokenSessions(m *Mirror) []string { return c.brokenAmong(m.Sessions()) }

// brokenAmong are those of the sessions that cannot be compiled.
func (c *compiler) brokenAmong(sessions []string) []string {
	var names []string
	for _, name := range sessions {
		if slices.ContainsFunc(c.outcomes, func(o *Outcome) bool {
			return o.Name == name && (o.State == StateInvalid || o.State == StateRefused && !o.harmful())
		}) {
			names = append(names, name)
		}
	}
	return names
}

// kept reports whether a broken mirror stays as it is: no group takes its
// selection in.
func (c *compiler) kept(b int32, m *Mirror, groups []*group) bool {
	return c.broken(m) && !slices.ContainsFunc(groups, func(g *group) bool { return g.bridge == b && c.groupOutputs(m, g) })
}

// keptRows are the rows of sessions that cannot be compiled, which stay as they
// are: mirrors, and the tap bridges and ports of ours that no row in desired is.
func (c *compiler) keptRows(groups []*group, desired []Row) []Row {
	var rows []Row
	keep := func(row Row, wanted bool) bool {
		if wanted = wanted && !slices.ContainsFunc(desired, func(r Row) bool { return r.key() == row.key() }); wanted {
			rows = append(rows, row)
		}
		return wanted
	}
	serves := func(row Row) bool { return len(c.brokenAmong(row.Sessions)) > 0 }
	for b := range c.snap.Bridges {
		bridge := &c.snap.Bridges[b]
		if bridge.Managed() {
			if row := bridgeRow(bridge); !keep(row, serves(row)) {
				row.Sessions, row.Columns[colIDs] = nil, managedIDs(nil)
				keep(row, len(c.homeless(bridge)) > 0)
			}
		}
		for p := range bridge.Ports {
			if port := &bridge.Ports[p]; port.Managed() {
				row := ownPortRow(c.snap, bridge, port)
				keep(row, serves(row))
			}
		}
		for m := range bridge.Mirrors {
			mirror := &bridge.Mirrors[m]
			if bridge.Managed() {
				row := mirrorRow(c.snap, bridge, mirror)
				keep(row, serves(row))
			} else if c.kept(int32(b), mirror, groups) {
				row := mirrorRow(c.snap, bridge, mirror)
				row.Sessions = slices.DeleteFunc(row.Sessions, func(name string) bool { return !c.wanted(name) }) // those that are deleted
				row.Columns[colIDs] = managedIDs(row.Sessions)
				rows = append(rows, row)
			}
		}
	}
	return append(rows, c.keptRules(slices.Concat(desired, rows))...)
}

// homeless are the ports of others on a tap bridge that came from no bridge that
// is there. It is kept for them: they are not ours to delete.
func (c *compiler) homeless(tap *Bridge) []string {
	var names []string
	for i := range tap.Ports {
		if p := &tap.Ports[i]; !p.Managed() && c.snap.bridgeIndex(p.ExternalIDs[keySavedBridge]) < 0 {
			names = append(names, p.Name)
		}
	}
	return names
}

// keepsTap reports whether the bridge is a tap bridge that stays as it is for a
// session that cannot be compiled.
func (c *compiler) keepsTap(b *Bridge) bool {
	return b.Managed() && len(c.brokenAmong(splitNames(b.ExternalIDs[KeySession]))) > 0 &&
		!slices.ContainsFunc(c.deliveries, func(d *delivery) bool { return d.tier != TierDirect && d.name == b.Name })
}

// holds reports whether the tap bridge needs its ports for a session that cannot be
// compiled: it stays as it is, or rules on it may send to them.
func (c *compiler) holds(b *Bridge) bool {
	return c.keepsTap(b) || b.Ruled() && len(c.brokenAmong(splitNames(b.ExternalIDs[KeySession]))) > 0
}
