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
	c := &compiler{selector: newSelector(newPortIndex(snap)), snap: snap}
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
	d.Rows = append(d.Rows, c.keptRows(groups)...)
	d.Rows = append(d.Rows, c.portRows(groups)...)
	for name, w := range intent {
		d.Rows = append(d.Rows, intentRow(name, w.Raw))
	}
	slices.SortFunc(d.Outcomes, func(a, b *Outcome) int { return cmp.Compare(a.Name, b.Name) })
	sortRows(d.Rows)
	d.Warnings = c.warnings(groups)
	return d
}

func intentRow(name, raw string) Row {
	return Row{Table: TableIntent, Name: name, Sessions: []string{name}, Columns: map[string]Value{colIntent: {raw}}}
}

type compiler struct {
	*selector
	snap     *Snapshot
	outcomes []*Outcome
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
		for m := range c.snap.Bridges[b].Mirrors {
			if mirror := &c.snap.Bridges[b].Mirrors[m]; mirror.Managed() {
				for _, name := range mirror.Sessions() {
					if o := wanted[name]; o != nil && o.target != nil && o.Session.Snaplen == mirror.Snaplen && c.outputs(mirror, *o.target) {
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
		if list := needs(o.Session); len(list) > 0 {
			o.refuse(refuseNeeds(o.Name, list)...)
			o.Tier = list[0].tier
			for _, n := range list {
				if n.tier == TierFlow {
					o.Tier = TierFlow
				}
			}
		}
		for i := range o.Session.Destinations {
			target, awaited, refusal := c.locate(o.Name, &o.Session.Destinations[i])
			if target != nil && target.port >= 0 {
				c.isDest[target.port] = true
			}
			if o.State == StateRefused {
				continue // its destinations are no sources all the same
			}
			switch {
			case refusal != nil:
				o.refuse(refusal)
			case target == nil:
				o.is(StateWaiting, awaited)
			default:
				o.target = target
			}
		}
	}
	for port := range c.ports {
		if c.outputOfOthers(int32(port)) {
			c.isDest[port] = true
		}
	}
}

// outputOfOthers reports whether a foreign mirror, or one of a session that
// cannot be compiled, outputs to the port: what is sent to it are copies.
func (c *compiler) outputOfOthers(port int32) bool {
	mirrors := c.snap.Bridges[c.bridge[port]].Mirrors
	for m := range mirrors {
		if mirrors[m].OutputPort == c.ports[port].Name && (!mirrors[m].Managed() || c.broken(&mirrors[m])) {
			return true
		}
	}
	return false
}

// findSources evaluates the sources of the sessions that can copy, and refuses
// those whose sources the direct tier cannot reach.
func (c *compiler) findSources() {
	for _, o := range c.outcomes {
		if o.State != StateActive && o.State != StateWaiting {
			continue
		}
		o.index = c.portIndex
		o.selected = c.choose(o.Name, o.Session)
		o.Notes = o.selected.notes
		switch {
		case o.State == StateWaiting:
		case len(o.selected.list) == 0:
			o.is(StateWaiting, "no source is present")
		case o.target.port < 0:
			o.Destination = fmt.Sprintf("vlan %d", o.target.vlan)
		default:
			here := c.bridge[o.target.port]
			o.Bridge, o.Destination = c.snap.Bridges[here].Name, c.ports[o.target.port].Name
			var elsewhere []string
			for _, s := range o.selected.list {
				if b := c.bridge[s.port]; b != here {
					if name := c.snap.Bridges[b].Name; !slices.Contains(elsewhere, name) {
						elsewhere = append(elsewhere, name)
					}
				}
			}
			if len(elsewhere) > 0 {
				o.Tier = TierHub
				o.refuse(&Refusal{
					Session: o.Name, Field: "sources", Tier: TierHub,
					Problem: fmt.Sprintf("ports of bridge %s and a destination on bridge %s need the hub tier, which this version of spanctl does not have",
						strings.Join(elsewhere, ", "), o.Bridge),
					Remedy: "select with bridge: " + o.Bridge,
				})
			}
		}
	}
}

// broken reports whether the mirror is ours and serves a session that cannot
// be compiled. What it does for that session goes on.
func (c *compiler) broken(m *Mirror) bool {
	return m.Managed() && len(c.brokenSessions(m)) > 0
}

func (c *compiler) brokenSessions(m *Mirror) []string {
	var names []string
	for _, name := range m.Sessions() {
		if slices.ContainsFunc(c.outcomes, func(o *Outcome) bool {
			return o.Name == name && (o.State == StateInvalid || o.State == StateRefused)
		}) {
			names = append(names, name)
		}
	}
	return names
}

// kept reports whether a broken mirror stays as it is: no group takes its
// selection in.
func (c *compiler) kept(b int32, m *Mirror, groups []*group) bool {
	return c.broken(m) && !slices.ContainsFunc(groups, func(g *group) bool { return g.bridge == b && c.outputs(m, g.target) })
}

// keptRows are the rows that stay as they are.
func (c *compiler) keptRows(groups []*group) []Row {
	var rows []Row
	for b := range c.snap.Bridges {
		bridge := &c.snap.Bridges[b]
		for m := range bridge.Mirrors {
			if c.kept(int32(b), &bridge.Mirrors[m], groups) {
				rows = append(rows, mirrorRow(bridge, &bridge.Mirrors[m], c.snap.MirrorFilter))
			}
		}
	}
	return rows
}
