package plan

import (
	"fmt"
	"slices"

	"spanctl/policy"
)

// A doubt is about an entry of a policy that fits no port that is known, and may be
// the name of a guest that is there.
type doubt struct{ field, problem string }

// doubts is the one about an entry that no port fits, if there is one: a port whose
// guest has a name that is not known fulfils the other conditions, and may be chosen.
func (x *portIndex) doubts(field string, conds []condition, may func(port int32) bool) []doubt {
	vm := slices.IndexFunc(conds, func(c condition) bool { return c.field == fieldVM && mayBeName(c.glob) })
	if vm < 0 || x.snap.GuestsError == "" {
		return nil
	}
	for port := range x.ports {
		if x.unnamed(int32(port)) && may(int32(port)) && x.fulfils(int32(port), conds, vm) {
			return []doubt{{field, fmt.Sprintf("vm %s is no id in OVSDB, and which guests have that name is not known: %s", conds[vm].glob, x.snap.GuestsError)}}
		}
	}
	return nil
}

// unnamed reports whether the port may be of a guest whose name is not known.
func (x *portIndex) unnamed(port int32) bool {
	for i := range x.ports[port].Interfaces {
		for uuid := range x.ports[port].Interfaces[i].domains {
			if x.snap.Guests[uuid] == "" {
				return true
			}
		}
	}
	return false
}

func (x *portIndex) doubtsOfDestination(i int, d *policy.Destination) []doubt {
	return x.doubts(fmt.Sprintf("destinations[%d]", i), conditionsOf(d.Interface, d.VM, "", d.ExternalIDs), func(port int32) bool { return !x.ports[port].Managed() })
}

func (o *Outcome) notesOfDoubts() []string {
	var notes []string
	for _, d := range o.doubts {
		notes = append(notes, d.field+": "+d.problem)
	}
	return notes
}

// keepInDoubt refuses a session that copies, which then goes on as it is: that a
// guest's name is not known at the moment does not tell that it has gone.
func (c *compiler) keepInDoubt(o *Outcome) {
	if c.snap.stands(o.Name) {
		c.refuseDoubts(o, o.doubts, "what it copies would end")
	}
}

// refuseDoubts refuses the session if there are doubts; otherwise is what would come
// of them.
func (c *compiler) refuseDoubts(o *Outcome, doubts []doubt, otherwise string) {
	for _, d := range doubts {
		o.unseen = o.unseen || !o.changed && !c.snap.Local && c.snap.stands(o.Name)
		o.refuse(&Refusal{
			Session: o.Name, Field: d.field + ".vm", Problem: d.problem + "; " + otherwise,
			Remedy: "run spanctl where libvirt answers, or name guests by UUID", Host: !c.snap.Local,
		})
	}
}

// stands reports whether rows serve the session.
func (s *Snapshot) stands(session string) bool {
	for b := range s.Bridges {
		bridge := &s.Bridges[b]
		if bridge.Managed() && slices.Contains(splitNames(bridge.ExternalIDs[KeySession]), session) ||
			slices.ContainsFunc(bridge.Mirrors, func(m Mirror) bool { return m.Managed() && slices.Contains(m.Sessions(), session) }) {
			return true
		}
	}
	return false
}
