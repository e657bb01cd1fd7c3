package plan

import (
	"fmt"
	"slices"
)

// refuseDirect finds what already outputs to the wanted destination on one of
// the session's bridges, by mirrors that are not of its delivery: another session
// (of RSPAN, where each bridge stands for itself), somebody else's, or those of a
// session that cannot be compiled.
func (c *compiler) refuseDirect(want *delivery) *Refusal {
	o := want.sessions[len(want.sessions)-1]
	t := want.direct()
	refuse := func(field, other, theirs, ours string) *Refusal {
		return &Refusal{
			Session: o.Name, Field: field, Remedy: "use the same " + field + ", or another destination",
			Problem: fmt.Sprintf("%s already sends %s to the same destination and this session wants %s: of two mirrors with one output Open vSwitch heeds one", other, theirs, ours),
		}
	}
	if t.port >= 0 {
		if on := &c.snap.Bridges[c.on[t.port]]; c.on[t.port] != c.bridge[t.port] && c.holds(on) {
			return &Refusal{
				Session: o.Name, Field: "destinations[0]", Remedy: "use another destination, or mend that session",
				Problem: fmt.Sprintf("port %s is on tap bridge %s of a session that cannot be compiled: %s", c.ports[t.port].Name, on.Name, on.ExternalIDs[KeySession]),
			}
		}
	}
	for _, b := range c.bridgesOf(o) {
		bridge := &c.snap.Bridges[b]
		for _, d := range c.deliveries {
			if d.rspan() && d.targets[0] == t && d.snaplen != want.snaplen && slices.ContainsFunc(d.sessions, func(other *Outcome) bool { return slices.Contains(c.bridgesOf(other), b) }) {
				return refuse("snaplen", fmt.Sprintf("session %q", d.sessions[0].Name), snapText(d.snaplen), snapText(want.snaplen))
			}
		}
		for m := range bridge.Mirrors {
			mirror := &bridge.Mirrors[m]
			if (mirror.Managed() && !c.broken(mirror)) || !c.outputs(mirror, t) {
				continue
			}
			other := fmt.Sprintf("foreign mirror %q of bridge %s", mirror.Name, bridge.Name)
			if mirror.Managed() {
				other = fmt.Sprintf("mirror %q of bridge %s", mirror.Name, bridge.Name)
			}
			if mirror.Filter != want.filter() {
				return refuse("include", other, filterText(mirror.Filter), filterText(want.filter()))
			}
			if mirror.Snaplen != want.snaplen {
				return refuse("snaplen", other, snapText(mirror.Snaplen), snapText(want.snaplen))
			}
			if t.port >= 0 && !carriesTags(c.ports[t.port], want.strip) {
				return refuse("strip_vlan", other, tagText(!want.strip), tagText(want.strip))
			}
		}
	}
	return nil
}

// outputs reports whether the mirror sends to the target by itself.
func (c *compiler) outputs(m *Mirror, t target) bool {
	switch {
	case t.rspan():
		return m.OutputPort == "" && m.OutputVLAN != nil && *m.OutputVLAN == t.vlan
	case t.tunnel != nil:
		return m.OutputPort == t.tunnel.name
	}
	return t.port >= 0 && m.OutputPort == c.ports[t.port].Name
}

func filterText(filter string) string {
	if filter == "" {
		return "every packet"
	}
	return "packets with " + filter
}

func snapText(n int) string {
	if n == 0 {
		return "whole packets"
	}
	return fmt.Sprintf("copies cut to %d bytes", n)
}

func tagText(strip bool) string {
	if strip {
		return "copies without their VLAN tag"
	}
	return "copies with their VLAN tags"
}

// refuseOverLimit refuses, from the last, the sessions that make a bridge have
// more mirrors than OVS installs, and reports whether there are any. Where a
// session shares its rows it stops: what is left must be counted anew.
func (c *compiler) refuseOverLimit(groups []*group) bool {
	for b := range c.snap.Bridges {
		bridge := &c.snap.Bridges[b]
		others, ours, standing := 0, 0, 0
		for m := range bridge.Mirrors {
			if mirror := &bridge.Mirrors[m]; !mirror.Managed() || c.kept(int32(b), mirror, groups) {
				others++
			} else {
				standing++
			}
		}
		rows := map[*Outcome]int{} // that go with the session, -1 if shared
		for _, g := range groups {
			if g.bridge != int32(b) {
				continue
			}
			ours += len(g.rows)
			for _, o := range g.sessions {
				if rows[o] = len(g.rows); len(g.sessions) > 1 {
					rows[o] = -1
				}
			}
		}
		total, refused := others+ours, false
		for _, last := range slices.Backward(c.outcomes) {
			count, here := rows[last]
			// What stands is not refused because others have added mirrors.
			if !here || others+ours <= MirrorLimit || ours <= standing {
				continue
			}
			last.refuse(&Refusal{
				Session: last.Name, Field: "sources",
				Problem: fmt.Sprintf("bridge %s would have %d mirrors (%d of them not of these sessions), and OVS installs %d a bridge",
					bridge.Name, total, others, MirrorLimit),
				Remedy: "share destinations and VLAN sets between sessions, or remove other mirrors",
			})
			refused = true
			if count < 0 {
				break
			}
			ours -= count
		}
		if refused {
			return true
		}
	}
	return false
}
