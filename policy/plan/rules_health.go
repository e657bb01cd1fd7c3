package plan

import (
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// ruled tells what the rules of the session's tap bridge count, and what they
// cannot know.
func (h *Health) ruled(snap *Snapshot) {
	o := h.Outcome
	tap := snap.Bridge(o.Bridge)
	if o.Tier != TierFlow || tap == nil || tap.FlowsError != "" {
		return
	}
	if len(o.Session.Exclude) > 0 {
		h.LeftOut = new(uint64)
	}
	if !o.Session.MaxRate.IsZero() {
		h.OverRate = new(uint64)
	}
	for i := range tap.Flows {
		f := &tap.Flows[i]
		if f.Table == tableFilter && f.Priority == priorityExclude && h.LeftOut != nil && tap.serves(f, o.Name) {
			*h.LeftOut += f.Packets
		}
	}
	for _, m := range tap.Meters {
		if port := tap.portBy(int(m.ID)); h.OverRate != nil && port != nil && slices.Contains(splitNames(port.ExternalIDs[KeySession]), o.Name) {
			*h.OverRate += m.Dropped
		}
	}
	if o.Session.Balance == policy.BalanceFlow {
		for i := range o.Session.Destinations {
			if isTunnel(&o.Session.Destinations[i]) {
				h.Notes = append(h.Notes, fmt.Sprintf("whether anybody receives at %s cannot be known: it keeps its share of the connections if nobody does", o.Places[i].Label()))
			}
		}
	}
}

// serves reports whether the rule is for copies of the session.
func (b *Bridge) serves(f *Flow, session string) bool {
	return slices.Contains(b.sessionsBy(f.inPort()), session)
}

// sent counts the session's copies that rules have sent to the port, as whole
// packets, whatever is cut, and before a meter drops some.
func (b *Bridge) sent(session string, port *Port) *Counters {
	if len(port.Interfaces) != 1 {
		return nil
	}
	number := port.Interfaces[0].OFPort
	sum := &Counters{}
	for i := range b.Flows {
		f := &b.Flows[i]
		if b.serves(f, session) && f.sendsTo(number) {
			sum.Packets += f.Packets
			sum.Bytes += f.Bytes
		}
	}
	return sum
}

func (f *Flow) sendsTo(number int) bool {
	return strings.Contains(f.Actions+",", fmt.Sprintf("output:%d,", number)) || strings.Contains(f.Actions, fmt.Sprintf("output(port=%d,", number))
}
