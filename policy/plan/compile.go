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
	c.order()
	c.findTargets()
	c.findSources()
	groups := c.place()
	d := &Desired{Outcomes: c.outcomes}
	for _, g := range groups {
		d.Rows = append(d.Rows, g.rows...)
	}
	d.Rows = append(d.Rows, c.keptRows()...)
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
	installed := map[string]bool{}
	for b := range c.snap.Bridges {
		for m := range c.snap.Bridges[b].Mirrors {
			if mirror := &c.snap.Bridges[b].Mirrors[m]; mirror.Managed() {
				for _, name := range mirror.Sessions() {
					installed[name] = true
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
	for port, p := range c.ports {
		bridge := &c.snap.Bridges[c.bridge[port]]
		for m := range bridge.Mirrors {
			if mirror := &bridge.Mirrors[m]; mirror.OutputPort == p.Name && c.kept(mirror) {
				c.isDest[port] = true
			}
		}
	}
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

// kept reports whether a mirror of ours stays as it is because none of its
// sessions can be compiled.
func (c *compiler) kept(m *Mirror) bool {
	if !m.Managed() {
		return false
	}
	stays := false
	for _, name := range m.Sessions() {
		for _, o := range c.outcomes {
			if o.Name == name {
				if o.State != StateInvalid && o.State != StateRefused {
					return false
				}
				stays = true
			}
		}
	}
	return stays
}

// keptRows are the rows of the sessions that cannot be compiled.
func (c *compiler) keptRows() []Row {
	var rows []Row
	for b := range c.snap.Bridges {
		bridge := &c.snap.Bridges[b]
		for m := range bridge.Mirrors {
			if c.kept(&bridge.Mirrors[m]) {
				rows = append(rows, mirrorRow(bridge, &bridge.Mirrors[m], c.snap.MirrorFilter))
			}
		}
	}
	return rows
}
