package plan

import (
	"slices"
	"time"

	"spanctl/policy"
)

// A State is what becomes of a session. Compile knows all but StateDegraded,
// which only looking at the switch can tell.
type State string

// The states of architecture.md.
const (
	StateActive   State = "active"
	StateWaiting  State = "waiting"
	StateDegraded State = "degraded"
	StateDisabled State = "disabled"
	StateExpired  State = "expired"
	StateInvalid  State = "invalid"
	StateRefused  State = "refused"
)

// An Outcome is what compiling made of one session.
type Outcome struct {
	Name    string
	Session *policy.Session // nil if invalid
	State   State
	// Reason says why the session is not active.
	Reason string
	Tier   Tier
	// Refusals are all reasons of StateRefused.
	Refusals []*Refusal
	// Notes are what the user should know about a session that compiles.
	Notes []string
	// Places are the destinations, in the policy's order.
	Places []Place
	// Bridge is where copies go: the bridge of a local destination, or the tap
	// bridge; it is empty for an RSPAN VLAN. Destination names the places. Both are
	// empty unless the session copies.
	Bridge, Destination string

	changed   bool
	doubts    []doubt // about what it copies, and where to
	index     *portIndex
	selected  selection
	targets   []target
	awaited   []string // by target; empty for those that are present
	treatment treatment
	// tap is the tap bridge, deliveries those that serve the session; nil unless it
	// copies.
	tap        *tap
	deliveries []*delivery
	// unseen tells that it stands on rules or names that cannot be seen from here.
	unseen bool
	// astray is a destination's port that is not on the bridge whose rules send there.
	astray string
	// guarded says why rules must keep a tunnel's packets out of the copies, empty
	// if they need not.
	guarded string
	// guards are what rules keep out of some of its copies.
	guards []guard
	// listed are the bridges on which sources are listed by what they send alone,
	// against feedback, silent the ports that are then no sources.
	listed map[int32]bool
	silent map[int32]bool
	// again are tunnels whose packets are copied, in words.
	again []string
}

// SourceCount is how many ports are present and wanted.
func (o *Outcome) SourceCount() int { return len(o.selected.list) - len(o.silent) }

// sources calls yield with each port that is present and wanted.
func (o *Outcome) sources(yield func(source)) {
	for _, s := range o.selected.list {
		if !o.silent[s.port] {
			yield(s)
		}
	}
}

// SomeSources are the UUIDs of n Interfaces of sources, or of all if there are no more, beginning with the source of that
// index, counted round.
func (o *Outcome) SomeSources(from, n int) (interfaces []string) {
	list := o.selected.list
	for i := range min(n, len(list)) {
		s := list[(from+i)%len(list)]
		if o.silent[s.port] {
			continue
		}
		for i := range o.index.ports[s.port].Interfaces {
			interfaces = append(interfaces, o.index.ports[s.port].Interfaces[i].UUID)
		}
	}
	return interfaces
}

// Whole reports whether every packet of every source is copied to the session's mirrors, whatever rules then leave out.
func (o *Outcome) Whole() bool {
	return len(o.listed) == 0 && !slices.ContainsFunc(o.Session.Sources, func(s policy.Selector) bool {
		return len(s.VLANs) > 0 || s.Direction != "" && s.Direction != policy.DirectionBoth
	}) &&
		(o.Tier == TierFlow || len(o.Session.Include) == 0)
}

// harmful reports whether the session is refused because it would harm
// production.
func (o *Outcome) harmful() bool {
	return slices.ContainsFunc(o.Refusals, func(r *Refusal) bool { return r.Harm })
}

func (o *Outcome) is(state State, reason string) {
	o.State, o.Reason = state, reason
}

func (o *Outcome) refuse(refusals ...*Refusal) {
	o.Refusals = append(o.Refusals, refusals...)
	o.is(StateRefused, o.Refusals[0].Error())
}

// newOutcome decides what can be decided without the switch.
func newOutcome(name string, w Wanted, now time.Time) *Outcome {
	o := &Outcome{Name: name, Session: w.Session, Tier: TierDirect, changed: w.changed()}
	switch {
	case w.Err != nil:
		o.is(StateInvalid, w.Err.Error())
	case w.Session.Expired(now):
		o.is(StateExpired, "expired at "+w.Session.Expires.UTC().Format(time.RFC3339))
	case !w.Session.On():
		o.is(StateDisabled, "enabled is false")
	default:
		o.is(StateActive, "")
	}
	return o
}
