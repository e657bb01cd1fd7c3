package plan

import (
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// A delivery is destinations that the same sessions have, with the same treatment.
// These sessions share mirrors, so that a packet that several of them select is
// copied once, and on a tap bridge patches and rules.
type delivery struct {
	*tap
	targets []target
	treatment
	sessions []*Outcome
	// mark tells its patches from those that stand for other sessions, too.
	mark string
}

// A tap is a tap bridge, or in the direct tier nothing: the sessions that are on it
// because they have destinations in common.
type tap struct {
	tier Tier
	// failsOpen tells that without its rules the bridge copies everything: it is a mirror
	// hub, of which rules take away.
	failsOpen bool
	// name is the bridge's, datapath its datapath_type.
	name, datapath string
	// raised is the session that made it this tier, by which field and why.
	raised     *Outcome
	field, why string
	sessions   []*Outcome
	deliveries []*delivery
}

// A treatment is what becomes of copies on their way.
type treatment struct {
	// include and exclude are OpenFlow matches, a line each; chosen tells that include
	// is asked for, even if no packet can match it.
	include, exclude string
	chosen           bool
	balance          policy.Balance
	sample           int // one connection in so many; 0 and 1: all
	snaplen          int
	strip            bool
	rate             policy.Rate
	open             bool
}

func treatmentOf(s *policy.Session) treatment {
	t := treatment{
		include: strings.Join(matches(s.Include...), "\n"), chosen: len(s.Include) > 0, exclude: strings.Join(matches(s.Exclude...), "\n"),
		balance: s.Balance, sample: s.Sample.N, snaplen: s.Snaplen, strip: s.StripVLAN, rate: s.MaxRate, open: s.Fail == policy.FailOpen,
	}
	if s.Destinations[0].VLAN != 0 {
		t.strip = false // the RSPAN VLAN replaces the tag anyway
	}
	return t
}

// sends reports whether rules send the copies; else mirrors do.
func (t *tap) sends() bool { return t.tier == TierFlow && !t.failsOpen }

// kernels reports whether the bridge's datapath is the kernel's.
func (t *tap) kernels() bool { return t.datapath == "" || t.datapath == "system" }

// rspan reports whether copies go into a VLAN; that is then all there is.
func (d *delivery) rspan() bool { return d.targets[0].rspan() }

// present reports whether one of the destinations is there.
func (d *delivery) present() bool {
	return slices.ContainsFunc(d.targets, func(t target) bool { return t.absent == "" })
}

// direct is the local port or the VLAN that mirrors output to, in the direct
// tier.
func (d *delivery) direct() target { return d.targets[0] }

// alike reports whether both sessions ask for the same treatment. Who balances
// shares copies among all his destinations.
func alike(a, b *Outcome) bool {
	return a.treatment == b.treatment && (a.treatment.balance == "" || sameTargets(a, b))
}

// touches reports whether the session must be on the tap bridge. RSPAN has none.
func (t *tap) touches(o *Outcome) bool {
	return slices.ContainsFunc(t.sessions, func(other *Outcome) bool {
		return slices.ContainsFunc(o.targets, func(t target) bool { return slices.Contains(other.targets, t) && (!t.rspan() || alike(o, other)) })
	})
}

// join puts the session on the tap bridge of those with which it has destinations
// in common, or makes one for it. What cannot be is refused, and leaves the others
// as they were.
func (c *compiler) join(o *Outcome) *Refusal {
	joined := &tap{}
	var rest []*delivery
	for _, d := range c.deliveries {
		if !d.tap.touches(o) {
			rest = append(rest, d)
		} else if !slices.Contains(joined.sessions, d.tap.sessions[0]) {
			joined.sessions = append(joined.sessions, d.tap.sessions...)
		}
	}
	joined.sessions = append(joined.sessions, o)
	joined.split()
	c.decide(joined)
	if refusal := c.settle(joined, o, rest); refusal != nil {
		return refusal
	}
	c.deliveries = append(rest, joined.deliveries...)
	return nil
}

// split forms the deliveries of the tap's sessions, one destination after the other.
func (t *tap) split() {
	for _, o := range t.sessions {
		for _, target := range o.targets {
			var with []*Outcome
			for _, other := range t.sessions {
				if alike(o, other) && slices.Contains(other.targets, target) {
					with = append(with, other)
				}
			}
			if with[0] != o {
				continue // it is there
			}
			at := slices.IndexFunc(t.deliveries, func(d *delivery) bool { return slices.Equal(d.sessions, with) })
			if at < 0 {
				at = len(t.deliveries)
				t.deliveries = append(t.deliveries, &delivery{tap: t, treatment: o.treatment, sessions: with})
			}
			t.deliveries[at].targets = append(t.deliveries[at].targets, target)
		}
	}
}

// decide finds the tier that the tap's sessions need together.
func (c *compiler) decide(t *tap) {
	most := need{tier: TierDirect}
	for _, o := range t.sessions {
		most = higher(most, c.needOf(o))
	}
	if first := t.sessions[0]; len(t.deliveries) > 1 && most.tier != TierFlow {
		at := slices.IndexFunc(t.sessions, func(o *Outcome) bool { return !alike(o, first) || !sameTargets(o, first) })
		most = need{TierFlow, t.sessions[at], "destinations", fmt.Sprintf("it shares a destination with session %q, which has others or asks for other treatment", first.Name)}
	}
	t.tier, t.raised, t.field, t.why = most.tier, most.by, most.field, most.why
	t.failsOpen = t.tier == TierFlow && slices.ContainsFunc(t.sessions, func(o *Outcome) bool { return o.treatment.open })
}

// sameTargets reports whether both have the same destinations, in any order.
func sameTargets(a, b *Outcome) bool {
	return len(a.targets) == len(b.targets) && !slices.ContainsFunc(a.targets, func(t target) bool { return !slices.Contains(b.targets, t) })
}

// settle gives the deliveries of a tap what their tier needs, or says why that
// cannot be: o is at fault. The rest are the deliveries of other taps.
func (c *compiler) settle(t *tap, o *Outcome, rest []*delivery) *Refusal {
	switch {
	case t.tier == TierDirect:
		return c.refuseDirect(t.deliveries[0])
	case o.targets[0].rspan():
		return &Refusal{
			Session: o.Name, Field: t.field, Tier: TierFlow,
			Problem: t.why + ": that needs a tap bridge, and copies into an RSPAN VLAN stay on the bridge of their source", Remedy: "leave it out, or send to a port or a tunnel",
		}
	case t.tier == TierFlow && !c.snap.Local:
		return &Refusal{
			Session: o.Name, Field: t.field, Tier: TierFlow,
			Problem: t.why + ": that needs OpenFlow rules on the host, and this is a remote connection", Remedy: "run spanctl on the host, or its agent", Host: true,
		}
	case t.failsOpen && (len(t.deliveries) > 1 || o.guarded != "" || o.treatment.snaplen > 0 && slices.ContainsFunc(o.targets, func(u target) bool { return u.tunnel != nil })):
		why := t.why
		if len(t.deliveries) > 1 {
			why = "it shares a destination with a session that has others or asks for other treatment"
		} else if o.guarded == "" {
			why = "it cuts copies before a tunnel wraps them"
		}
		return &Refusal{
			Session: o.Name, Field: "fail", Harm: o.guarded != "", Remedy: "leave fail out",
			Problem: why + ": that cannot be had without rules, and fail: open asks for copies without them",
		}
	}
	return c.raise(t, o, rest)
}
