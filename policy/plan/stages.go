package plan

import (
	"slices"
	"strconv"
	"strings"
)

// Inert is what of the plan must be in force before rules can be made: new tap
// bridges with rules, and patches to them. By themselves they do nothing. So must
// what others have changed of a tap bridge whose rules ovs-vswitchd forgets when it
// is changed back. The others of the plan's changes are made again from what is
// there then.
func (p *Plan) Inert() *Plan {
	inert := *p
	inert.Changes = nil
	for _, c := range p.Changes {
		if c.Action == Update && c.Table == TableBridge && c.Tier == TierFlow {
			columns := map[string]Delta{}
			for _, col := range []string{colFailMode, colDatapath} {
				if delta, changes := c.Columns[col]; changes {
					columns[col] = delta
				}
			}
			if c.Columns = columns; len(columns) > 0 {
				inert.Changes = append(inert.Changes, c)
			}
		}
		if c.Action != Create || c.Tier != TierFlow {
			continue
		}
		if typ := c.Columns[colType].New; c.Table == TableBridge || c.Table == TablePort && slices.Equal(typ, Value{"patch"}) {
			inert.Changes = append(inert.Changes, c)
		}
	}
	return &inert
}

// Undo leaves of a plan for the stored intent what ends a change that did not come
// into force: the removal of what was made for it, if nothing wants it, and rules of
// the bridges that were changed.
func (p *Plan) Undo(made []Change, bridges []string) *Plan {
	undo := *p
	undo.Changes = slices.DeleteFunc(slices.Clone(p.Changes), func(c Change) bool {
		if c.Table.ofRules() {
			return !slices.Contains(bridges, c.Bridge)
		}
		wasMade := func(m Change) bool { return m.Table == c.Table && m.Name == c.Name }
		return c.Action != Delete || !slices.ContainsFunc(made, wasMade) || c.Table == TableBridge && p.Base.Bridge(c.Name).holdsOthers()
	})
	return &undo
}

// HasRows reports whether the plan changes anything in OVSDB.
func (p *Plan) HasRows() bool {
	return slices.ContainsFunc(p.Changes, func(c Change) bool { return !c.Table.ofRules() })
}

// Unseen is a tap bridge that the plan is about and whose rules could not be read, nil
// if there is none: what would become of them is not known. With a bridge that goes
// they go.
func (p *Plan) Unseen() *Bridge {
	for b := range p.Base.Bridges {
		bridge := &p.Base.Bridges[b]
		goes := slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Table == TableBridge && c.Name == bridge.Name && c.Action == Delete })
		if !bridge.Ruled() || bridge.FlowsError == "" || goes {
			continue
		}
		if slices.ContainsFunc(p.Changes, func(c Change) bool {
			return c.Bridge == bridge.Name || c.Table == TableBridge && c.Name == bridge.Name ||
				slices.ContainsFunc(c.Sessions, func(name string) bool { return p.Base.ruledBy(name) == bridge })
		}) {
			return bridge
		}
	}
	return nil
}

// holdsOthers reports whether something on the bridge is not ours.
func (b *Bridge) holdsOthers() bool {
	return slices.ContainsFunc(b.Ports, func(p Port) bool { return !p.Managed() })
}

// Rules are changes to the rules and meters of one tap bridge, to be made as one.
type Rules struct {
	Bridge       string
	Set, Delete  []Flow
	SetMeters    []Meter
	DeleteMeters []uint32
}

// Rules are the plan's changes to rules: those to be made before the rows change,
// and those after, which end what the rows then no longer use.
func (p *Plan) Rules() (before, after []Rules) {
	first, last := map[string]*Rules{}, map[string]*Rules{}
	removed := p.removed()
	at := func(all map[string]*Rules, bridge string) *Rules {
		if all[bridge] == nil {
			all[bridge] = &Rules{Bridge: bridge}
		}
		return all[bridge]
	}
	var order []string
	for i := range p.Changes {
		c := &p.Changes[i]
		if !c.Table.ofRules() {
			continue
		}
		if !slices.Contains(order, c.Bridge) {
			order = append(order, c.Bridge)
		}
		when := first
		if c.Action == Delete && (c.Table == TableMeter || removed[c.Bridge][inPortOf(c.Name)]) {
			when = last
		}
		switch r := at(when, c.Bridge); {
		case c.Table == TableFlow && c.Action == Delete:
			r.Delete = append(r.Delete, c.flow())
		case c.Table == TableFlow:
			r.Set = append(r.Set, c.flow())
		case c.Action == Delete:
			r.DeleteMeters = append(r.DeleteMeters, c.meter().ID)
		default:
			r.SetMeters = append(r.SetMeters, c.meter())
		}
	}
	for _, bridge := range order {
		if r := first[bridge]; r != nil {
			before = append(before, *r)
		}
		if r := last[bridge]; r != nil {
			after = append(after, *r)
		}
	}
	return before, after
}

// removed are the numbers of the ports that the plan removes from bridges.
func (p *Plan) removed() map[string]map[int]bool {
	numbers := map[string]map[int]bool{}
	for i := range p.Changes {
		c := &p.Changes[i]
		b := p.Base.Bridge(c.Bridge)
		if c.Table != TablePort || c.Action != Delete || b == nil {
			continue
		}
		if port := b.Port(c.Name); port != nil && len(port.Interfaces) == 1 {
			if numbers[b.Name] == nil {
				numbers[b.Name] = map[int]bool{}
			}
			numbers[b.Name][port.Interfaces[0].OFPort] = true
		}
	}
	return numbers
}

// text is what a column will be, or of what is removed was.
func (c *Change) text(column string) string {
	v := c.Columns[column].New
	if c.Action == Delete {
		v = c.Columns[column].Old
	}
	return strings.Join(v, "")
}

// flow is the rule that a change makes or removes.
func (c *Change) flow() Flow {
	var f Flow
	head := strings.SplitN(c.Name, ",", 3)
	f.Table, _ = strconv.Atoi(strings.TrimPrefix(head[0], "table="))
	f.Priority, _ = strconv.Atoi(strings.TrimPrefix(head[1], "priority="))
	if len(head) > 2 {
		f.Match = head[2]
	}
	f.Actions = c.text(colActions)
	f.Cookie, _ = strconv.ParseUint(c.text(colCookie), 0, 64)
	return f
}

// meter is the meter that a change makes or removes.
func (c *Change) meter() Meter {
	number := func(text string) uint32 {
		n, _ := strconv.ParseUint(text, 10, 32)
		return uint32(n)
	}
	rate, packets := strings.CutSuffix(c.text(colRate), "pps")
	return Meter{
		ID: number(c.Name), Rate: number(strings.TrimSuffix(rate, "kbps")), Burst: number(c.text(colBurst)), Packets: packets,
	}
}
