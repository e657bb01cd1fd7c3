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

// Undo is the plan that removes again, from the snapshot, what was inert in p and
// is still there.
func (p *Plan) Undo(snap *Snapshot) *Plan {
	undo := &Plan{Base: snap, Outcomes: p.Outcomes}
	for b := range snap.Bridges {
		bridge := &snap.Bridges[b]
		rows := []Row{bridgeRow(bridge)}
		for i := range bridge.Ports {
			rows = append(rows, ownPortRow(snap, bridge, &bridge.Ports[i]))
		}
		for i := range rows {
			if slices.ContainsFunc(p.Changes, func(c Change) bool {
				return c.Action == Create && c.Table == rows[i].Table && c.Bridge == rows[i].Bridge && c.Name == rows[i].Name
			}) {
				undo.Changes = append(undo.Changes, remove(&rows[i]))
			}
		}
	}
	undo.Changes = postpone(snap, undo.Changes)
	return undo
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
	at := func(all map[string]*Rules, bridge string) *Rules {
		if all[bridge] == nil {
			all[bridge] = &Rules{Bridge: bridge}
		}
		return all[bridge]
	}
	var order []string
	for i := range p.Changes {
		c := &p.Changes[i]
		if !c.rules() {
			continue
		}
		if !slices.Contains(order, c.Bridge) {
			order = append(order, c.Bridge)
		}
		switch {
		case c.Table == TableFlow && c.Action != Delete:
			r := at(first, c.Bridge)
			r.Set = append(r.Set, c.flow(true))
		case c.Table == TableFlow:
			r := at(first, c.Bridge)
			if p.removes(c.Bridge, inPortOf(c.Name)) {
				r = at(last, c.Bridge)
			}
			r.Delete = append(r.Delete, c.flow(false))
		case c.Action != Delete:
			r := at(first, c.Bridge)
			r.SetMeters = append(r.SetMeters, c.meter(true))
		default:
			r := at(last, c.Bridge)
			r.DeleteMeters = append(r.DeleteMeters, c.meter(false).ID)
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

// removes reports whether the plan removes the port with the number from the bridge.
func (p *Plan) removes(bridge string, number int) bool {
	b := p.Base.Bridge(bridge)
	if b == nil {
		return false
	}
	port := b.portBy(number)
	return port != nil && slices.ContainsFunc(p.Changes, func(c Change) bool {
		return c.Table == TablePort && c.Action == Delete && c.Name == port.Name
	})
}

// Inverse undoes what was set and deleted, from what the snapshot had. Meters that
// were made stay: they do nothing.
func (r *Rules) Inverse(snap *Snapshot) Rules {
	back := Rules{Bridge: r.Bridge, Set: r.Delete}
	bridge := snap.Bridge(r.Bridge)
	if bridge == nil {
		return Rules{Bridge: r.Bridge}
	}
	for _, f := range r.Set {
		at := slices.IndexFunc(bridge.Flows, func(old Flow) bool { return old.name() == f.name() })
		if at >= 0 {
			back.Set = append(back.Set, bridge.Flows[at])
		} else {
			back.Delete = append(back.Delete, f)
		}
	}
	for _, m := range r.SetMeters {
		if at := slices.IndexFunc(bridge.Meters, func(old Meter) bool { return old.ID == m.ID }); at >= 0 {
			back.SetMeters = append(back.SetMeters, bridge.Meters[at])
		}
	}
	return back
}

// flow is the rule that a change is about, as it will be or as it was.
func (c *Change) flow(isNew bool) Flow {
	text := func(column string) string {
		v := c.Columns[column].Old
		if isNew {
			v = c.Columns[column].New
		}
		return strings.Join(v, "")
	}
	var f Flow
	head := strings.SplitN(c.Name, ",", 3)
	f.Table, _ = strconv.Atoi(strings.TrimPrefix(head[0], "table="))
	f.Priority, _ = strconv.Atoi(strings.TrimPrefix(head[1], "priority="))
	if len(head) > 2 {
		f.Match = head[2]
	}
	f.Actions = text(colActions)
	f.Cookie, _ = strconv.ParseUint(text(colCookie), 0, 64)
	return f
}

// meter is the meter that a change is about, as it will be or as it was.
func (c *Change) meter(isNew bool) Meter {
	id, _ := strconv.ParseUint(c.Name, 10, 32)
	m := Meter{ID: uint32(id)}
	if isNew {
		m.Rate, m.Packets = rateOf(c.Columns[colRate].New)
		burst, _ := strconv.ParseUint(strings.Join(c.Columns[colBurst].New, ""), 10, 32)
		m.Burst = uint32(burst)
	}
	return m
}

func rateOf(v Value) (rate uint32, packets bool) {
	text, packets := strings.CutSuffix(strings.Join(v, ""), "pps")
	n, _ := strconv.ParseUint(strings.TrimSuffix(text, "kbps"), 10, 32)
	return uint32(n), packets
}
