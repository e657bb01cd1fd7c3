package plan

import (
	"fmt"
	"slices"
	"strings"
)

// A group is a delivery on one source bridge; it becomes one or more Mirror
// rows, of which a packet that several of them select is copied once (OVS 3.1,
// one copy an output).
type group struct {
	bridge   int32
	delivery *delivery
	sessions []*Outcome // of the delivery, those that copy here
	// broken are standing mirrors whose selection goes on in the group's rows.
	broken []*Mirror
	// leaks are those whose packets rules drop.
	leaks []leak
	// listed are the leaks against which what ports send is listed, again says whose
	// packets are copied all the same.
	listed []leak
	again  []string
	// stripped is the port because of which select_all is not used, see there.
	stripped string
	rows     []Row
}

// guards are what rules keep out of the group's copies.
func (g *group) guards() []guard {
	var list []guard
	for i := range g.leaks {
		list = append(list, g.leaks[i].against()...)
	}
	return list
}

// place forms deliveries and groups from the sessions that can copy, and
// refuses those that find their destination in other use, that would copy their
// own copies, or that find no mirror slot left.
func (c *compiler) place() []*group {
	for {
		groups, refused := c.group()
		if refused {
			continue // what stands of those is to be respected now
		}
		for _, g := range groups {
			mirrors := c.snap.Bridges[g.bridge].Mirrors
			for m := range mirrors {
				if c.broken(&mirrors[m]) && c.groupOutputs(&mirrors[m], g) {
					g.broken = append(g.broken, &mirrors[m])
				}
			}
		}
		if c.refuseParted(groups) || c.refuseLoops(groups) {
			continue
		}
		for _, g := range groups {
			g.rows = c.mirrorRows(g)
		}
		if !c.refuseOverLimit(groups) {
			return groups
		}
	}
}

// refuseParted refuses sessions that share a mirror into a tap bridge with one that
// cannot be compiled, and would leave it: that mirror stays, and what it selects for
// them would be copied twice.
func (c *compiler) refuseParted(groups []*group) bool {
	refused := false
	for _, g := range groups {
		bridge := &c.snap.Bridges[g.bridge]
		for m := range bridge.Mirrors {
			mirror := &bridge.Mirrors[m]
			if tap := c.snap.behind(bridge.Port(mirror.OutputPort)); tap == nil || !tap.Ruled() || !c.kept(g.bridge, mirror, groups) {
				continue
			}
			for _, o := range g.sessions {
				if o.State == StateActive && slices.Contains(mirror.Sessions(), o.Name) {
					o.refuse(&Refusal{
						Session: o.Name, Field: "destinations", Tier: TierFlow,
						Problem: fmt.Sprintf("mirror %s of bridge %s copies for it, and for one that cannot be compiled: %s", mirror.Name, bridge.Name, strings.Join(c.brokenSessions(mirror), ", ")),
						Remedy:  "mend that session",
					})
					refused = true
				}
			}
		}
	}
	return refused
}

// group assigns each active session to a delivery, and deliveries to groups on
// each bridge that they copy. It reports whether a session was refused.
func (c *compiler) group() (groups []*group, refused bool) {
	c.deliveries = nil
	for _, o := range c.outcomes {
		if o.State != StateActive {
			continue
		}
		o.listed, o.silent, o.again = nil, nil, nil
		if refusal := c.join(o); refusal != nil {
			o.refuse(refusal)
			refused = true
		}
	}
	clear(c.deliveryTo)
	for _, d := range c.deliveries {
		for _, t := range d.targets {
			if t.port >= 0 {
				c.deliveryTo[t.port] = d
			}
		}
		if !d.present() {
			continue
		}
		first := len(groups)
		for _, o := range d.sessions {
			for _, bridge := range c.bridgesOf(o) {
				at := slices.IndexFunc(groups[first:], func(g *group) bool { return g.bridge == bridge })
				if at < 0 {
					groups = append(groups, &group{bridge: bridge, delivery: d, sessions: []*Outcome{o}})
				} else {
					groups[first+at].sessions = append(groups[first+at].sessions, o)
				}
			}
		}
	}
	return groups, refused
}

// groupOutputs reports whether the mirror sends to where the group does.
func (c *compiler) groupOutputs(m *Mirror, g *group) bool {
	if d := g.delivery; d.tier != TierDirect {
		bridge := &c.snap.Bridges[g.bridge]
		outer, _ := d.patch(bridge.Name)
		if m.OutputPort == outer {
			return true
		}
		// A patch is known by a session, which may be the one that is broken: what is
		// sent into it goes on only with those who share it, to the same destinations.
		shares := slices.ContainsFunc(d.sessions, func(o *Outcome) bool { return slices.Contains(m.Sessions(), o.Name) })
		return d.tier == TierFlow && shares && slices.ContainsFunc(m.Sessions(), func(name string) bool {
			return m.OutputPort == d.patchOf(name, "", bridge.Name) || m.OutputPort == d.patchOf(name, d.ownMark(), bridge.Name)
		})
	}
	return c.outputs(m, g.delivery.direct())
}

// bridgesOf lists the bridges on which the session copies.
func (c *compiler) bridgesOf(o *Outcome) []int32 {
	var bridges []int32
	for _, s := range o.selected.list {
		if b := c.bridge[s.port]; len(bridges) == 0 || bridges[len(bridges)-1] != b {
			bridges = append(bridges, b)
		}
	}
	return bridges
}
