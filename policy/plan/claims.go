package plan

import (
	"fmt"
	"slices"
)

// conflict finds what already outputs to the wanted destination with another
// treatment: of two mirrors with one output only one is in force (OVS 3.1).
func (c *compiler) conflict(groups []*group, want *group, name string) *Refusal {
	refuse := func(field, other, theirs, ours string) *Refusal {
		return &Refusal{
			Session: name, Field: field, Tier: TierFlow,
			Problem: fmt.Sprintf("%s already sends %s to the same destination and this session wants %s: that needs the flow tier, which this version of spanctl does not have", other, theirs, ours),
			Remedy:  "use the same " + field + ", or another destination",
		}
	}
	for _, g := range groups {
		if g.bridge != want.bridge || g.target != want.target {
			continue
		}
		other := fmt.Sprintf("session %q", g.sessions[0].Name)
		if g.snaplen != want.snaplen {
			return refuse("snaplen", other, snapText(g.snaplen), snapText(want.snaplen))
		}
		if g.strip != want.strip {
			return refuse("strip_vlan", other, tagText(g.strip), tagText(want.strip))
		}
	}
	bridge := &c.snap.Bridges[want.bridge]
	for m := range bridge.Mirrors {
		mirror := &bridge.Mirrors[m]
		if (mirror.Managed() && !c.broken(mirror)) || !c.outputs(mirror, want.target) {
			continue
		}
		other := fmt.Sprintf("foreign mirror %q of bridge %s", mirror.Name, bridge.Name)
		if mirror.Managed() {
			other = fmt.Sprintf("mirror %q of bridge %s", mirror.Name, bridge.Name)
		}
		if mirror.Filter != "" {
			return refuse("destinations[0]", other, "filtered copies", "its own")
		}
		if mirror.Snaplen != want.snaplen {
			return refuse("snaplen", other, snapText(mirror.Snaplen), snapText(want.snaplen))
		}
		if want.target.port >= 0 && !carriesTags(c.ports[want.target.port], want.strip) {
			return refuse("strip_vlan", other, tagText(!want.strip), tagText(want.strip))
		}
	}
	return nil
}

// outputs reports whether the mirror sends to the target.
func (c *compiler) outputs(m *Mirror, t target) bool {
	if t.port < 0 {
		return m.OutputPort == "" && m.OutputVLAN != nil && *m.OutputVLAN == t.vlan
	}
	return m.OutputPort == c.ports[t.port].Name
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
