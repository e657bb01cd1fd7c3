package plan

import (
	"fmt"
	"slices"
)

// A delivery is the sessions that have the same destinations and ask for the
// same treatment. They share mirrors, so that a packet that several of them
// select is copied once, and in the hub tier a tap bridge.
type delivery struct {
	targets  []target
	snaplen  int
	strip    bool
	sessions []*Outcome
	tier     Tier
	// raised is the session that made it need a tap bridge, and why.
	raised *Outcome
	why    string
	// name is the tap bridge's, datapath its datapath_type.
	name, datapath string
}

// wants is the delivery that a session asks for by itself.
func (c *compiler) wants(o *Outcome) *delivery {
	d := &delivery{targets: o.targets, snaplen: o.Session.Snaplen, strip: o.Session.StripVLAN, sessions: []*Outcome{o}, tier: TierDirect}
	if d.rspan() {
		d.strip = false // the RSPAN VLAN replaces the tag anyway
		return d
	}
	if d.why = c.needsTap(o); d.why != "" {
		d.tier, d.raised = TierHub, o
	}
	return d
}

// rspan reports whether copies go into a VLAN; that is then all there is.
func (d *delivery) rspan() bool { return d.targets[0].rspan() }

// direct is the local port or the VLAN that mirrors output to, in the direct
// tier.
func (d *delivery) direct() target { return d.targets[0] }

// needsTap says why a session needs a tap bridge, nothing if it does not.
func (c *compiler) needsTap(o *Outcome) string {
	if len(o.targets) > 1 {
		return "it has several destinations"
	}
	t := o.targets[0]
	if t.tunnel != nil {
		return "its destination is a tunnel"
	}
	for _, b := range c.bridgesOf(o) {
		if t.port >= 0 && b != c.bridge[t.port] {
			return fmt.Sprintf("it copies ports of bridge %s to port %s of bridge %s", c.snap.Bridges[b].Name, c.ports[t.port].Name, c.snap.Bridges[c.bridge[t.port]].Name)
		}
	}
	return ""
}

// join puts the session into the delivery that has its destinations, or makes
// one for it. What cannot be is refused, and leaves the others as they were.
func (c *compiler) join(o *Outcome) *Refusal {
	want := c.wants(o)
	var same, touching *delivery
	for _, d := range c.deliveries {
		if slices.ContainsFunc(d.targets, func(t target) bool { return slices.Contains(want.targets, t) }) {
			if touching = d; len(d.targets) == len(want.targets) && !slices.ContainsFunc(d.targets, func(t target) bool { return !slices.Contains(want.targets, t) }) {
				same = d
			}
			if want.rspan() && d.snaplen == want.snaplen {
				break
			}
		}
	}
	switch {
	case want.rspan() && same != nil && same.snaplen != want.snaplen:
		same = nil // the same VLAN on other bridges; see refuseDirect
	case same != nil:
		if refusal := c.differs(same, want); refusal != nil {
			return refusal
		}
		if want.tier == TierDirect || same.tier == TierHub {
			want.tier, want.raised, want.why = same.tier, same.raised, same.why
		}
		want.sessions = append(slices.Clone(same.sessions), o)
	case touching != nil:
		return laterTier(o.Name, "destinations", fmt.Sprintf("session %q shares some of the destinations and not all", touching.sessions[0].Name), "use the same destinations, or others")
	}
	if want.tier == TierHub {
		if refusal := c.raise(want); refusal != nil {
			return refusal
		}
	} else if refusal := c.refuseDirect(want); refusal != nil {
		return refusal
	}
	if same != nil {
		*same = *want
	} else {
		c.deliveries = append(c.deliveries, want)
	}
	return nil
}

// laterTier refuses what only the flow tier can do.
func laterTier(session, field, problem, remedy string) *Refusal {
	return &Refusal{
		Session: session, Field: field, Tier: TierFlow,
		Problem: problem + ": that needs the flow tier, which this version of spanctl does not have",
		Remedy:  remedy,
	}
}

// differs finds a difference in treatment: of two mirrors with one output only
// one is in force (OVS 3.1).
func (c *compiler) differs(d, want *delivery) *Refusal {
	refuse := func(field, theirs, ours string) *Refusal {
		return laterTier(want.sessions[0].Name, field,
			fmt.Sprintf("session %q already sends %s to the same destination and this session wants %s", d.sessions[0].Name, theirs, ours),
			"use the same "+field+", or another destination")
	}
	if d.snaplen != want.snaplen {
		return refuse("snaplen", snapText(d.snaplen), snapText(want.snaplen))
	}
	if d.strip != want.strip {
		return refuse("strip_vlan", tagText(d.strip), tagText(want.strip))
	}
	return nil
}
