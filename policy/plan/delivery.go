package plan

import (
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// A delivery is the sessions that have the same destinations and ask for the
// same treatment. They share mirrors, so that a packet that several of them
// select is copied once, and on a tap bridge patches and rules.
type delivery struct {
	*tap
	targets []target
	treatment
	sessions []*Outcome
	need     need
}

// A tap is a tap bridge, or in the direct tier nothing: the deliveries that are
// on it because they have destinations in common.
type tap struct {
	tier Tier
	// name is the bridge's, datapath its datapath_type.
	name, datapath string
	// raised is the session that made it this tier, by which field and why.
	raised     *Outcome
	field, why string
	deliveries []*delivery
}

// A treatment is what becomes of copies on their way.
type treatment struct {
	// include and exclude are OpenFlow matches, a line each.
	include, exclude string
	balance          policy.Balance
	sample           int // one connection in so many; 0 and 1: all
	snaplen          int
	strip            bool
	rate             policy.Rate
}

func treatmentOf(s *policy.Session) treatment {
	return treatment{
		include: strings.Join(allMatches(s.Include), "\n"), exclude: strings.Join(allMatches(s.Exclude), "\n"),
		balance: s.Balance, sample: s.Sample.N, snaplen: s.Snaplen, strip: s.StripVLAN, rate: s.MaxRate,
	}
}

// wants is the delivery that a session asks for by itself.
func (c *compiler) wants(o *Outcome) *delivery {
	d := &delivery{targets: o.targets, treatment: treatmentOf(o.Session), sessions: []*Outcome{o}}
	if d.rspan() {
		d.strip = false // the RSPAN VLAN replaces the tag anyway
	}
	d.need = c.needOf(d)
	return d
}

// rspan reports whether copies go into a VLAN; that is then all there is.
func (d *delivery) rspan() bool { return d.targets[0].rspan() }

// direct is the local port or the VLAN that mirrors output to, in the direct
// tier.
func (d *delivery) direct() target { return d.targets[0] }

// sameTargets reports whether both have the same destinations, in any order.
func (d *delivery) sameTargets(other *delivery) bool {
	return len(d.targets) == len(other.targets) && !slices.ContainsFunc(d.targets, func(t target) bool { return !slices.Contains(other.targets, t) })
}

// same reports whether sessions of both are of one delivery. Who balances shares
// copies by the order of the destinations.
func (d *delivery) same(other *delivery) bool {
	return d.treatment == other.treatment && d.sameTargets(other) && (d.balance == "" || slices.Equal(d.targets, other.targets))
}

// touches reports whether both must be on one tap bridge. RSPAN has none.
func (d *delivery) touches(other *delivery) bool {
	if d.rspan() {
		return d.same(other)
	}
	return slices.ContainsFunc(d.targets, func(t target) bool { return slices.Contains(other.targets, t) })
}

// join puts the session into the delivery that has its destinations and its
// treatment, or makes one for it, on the tap bridge of those with which it has
// destinations in common. What cannot be is refused, and leaves the others as they
// were.
func (c *compiler) join(o *Outcome) *Refusal {
	want := c.wants(o)
	joined := &tap{}
	var taken []*tap
	merged := false
	for _, d := range c.deliveries {
		if !d.touches(want) || slices.Contains(taken, d.tap) {
			continue
		}
		taken = append(taken, d.tap)
		for _, standing := range d.tap.deliveries {
			copied := *standing
			copied.tap = joined
			if copied.same(want) {
				copied.sessions = append(slices.Clone(copied.sessions), o)
				copied.need = higher(copied.need, want.need)
				merged = true
			}
			joined.deliveries = append(joined.deliveries, &copied)
		}
	}
	if !merged {
		want.tap = joined
		joined.deliveries = append(joined.deliveries, want)
	}
	joined.decide(o)
	rest := slices.DeleteFunc(slices.Clone(c.deliveries), func(d *delivery) bool { return slices.Contains(taken, d.tap) })
	if refusal := c.settle(joined, o, rest); refusal != nil {
		return refusal
	}
	c.deliveries = append(rest, joined.deliveries...)
	return nil
}

// decide finds the tier that the tap's deliveries need together. The last to come
// is o.
func (t *tap) decide(o *Outcome) {
	need := t.deliveries[0].need
	for _, d := range t.deliveries[1:] {
		need = higher(need, d.need)
	}
	if len(t.deliveries) > 1 && need.tier != TierFlow {
		other := t.deliveries[0]
		if slices.Contains(other.sessions, o) {
			other = t.deliveries[1]
		}
		need.tier, need.by, need.field = TierFlow, o, "destinations"
		need.why = fmt.Sprintf("it shares a destination with session %q, of which it asks for something else", other.sessions[0].Name)
	}
	t.tier, t.raised, t.field, t.why = need.tier, need.by, need.field, need.why
}

// settle gives the deliveries of a tap what their tier needs, or says why that
// cannot be: o is at fault. The rest are the deliveries of other taps.
func (c *compiler) settle(t *tap, o *Outcome, rest []*delivery) *Refusal {
	at := slices.IndexFunc(t.deliveries, func(d *delivery) bool { return slices.Contains(d.sessions, o) })
	d := t.deliveries[at]
	switch {
	case t.tier == TierDirect:
		return c.refuseDirect(d)
	case d.rspan():
		return &Refusal{
			Session: o.Name, Field: d.need.field, Tier: TierFlow,
			Problem: d.need.why + ": that needs a tap bridge, and copies into an RSPAN VLAN stay on the bridge of their source", Remedy: "leave it out, or send to a port or a tunnel",
		}
	case t.tier == TierFlow && !c.snap.Local:
		return &Refusal{
			Session: o.Name, Field: t.field, Tier: TierFlow,
			Problem: t.why + ": that needs OpenFlow rules on the host, and this is a remote connection", Remedy: "run spanctl on the host",
		}
	}
	return c.raise(t, o, rest)
}
