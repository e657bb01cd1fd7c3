package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// raise gives the tap its bridge, or says why it can have none. The session o is
// the one at fault; the rest are the deliveries of other taps.
func (c *compiler) raise(t *tap, o *Outcome, rest []*delivery) *Refusal {
	refuse := func(field, problem, remedy string) *Refusal {
		return &Refusal{Session: o.Name, Field: field, Problem: problem, Remedy: remedy}
	}
	c.nameTap(t)
	for _, d := range t.deliveries {
		d.mark = ""
		if t.tier == TierFlow {
			d.mark = c.markOf(d)
		}
	}
	for _, other := range rest {
		if other.name == t.name {
			return refuse("destinations", fmt.Sprintf("its tap bridge would have the same name as that of session %q", other.sessions[0].Name), "name a destination in another way")
		}
	}
	if problem := c.unlikeKept(t); problem != "" {
		return refuse("destinations", problem, "use other destinations, or mend that session")
	}
	var bridges []int32
	for _, s := range t.sessions {
		bridges = append(bridges, c.bridgesOf(s)...)
		for i, target := range s.targets {
			if target.port >= 0 {
				bridges = append(bridges, c.bridge[target.port])
				if problem, remedy := c.immovable(t, target.port); problem != "" {
					return refuse(fmt.Sprintf("destinations[%d]", i), problem, remedy)
				}
			}
		}
	}
	slices.Sort(bridges)
	bridges = slices.Compact(bridges)
	if name, owner := c.taken(t, bridges); owner != "" {
		return refuse("destinations", fmt.Sprintf("needs a row named %s, and %s has that name", name, owner), "rename that, or if it is spanctl's give it back its external_ids:spanctl-managed=true")
	}
	t.datapath = c.snap.Bridges[bridges[0]].Datapath
	for _, b := range bridges[1:] {
		if first, other := &c.snap.Bridges[bridges[0]], &c.snap.Bridges[b]; datapathOf(first) != datapathOf(other) {
			return refuse("sources", fmt.Sprintf("bridges %s (%s) and %s (%s) are of different datapaths, which no patch port joins", first.Name, datapathOf(first), other.Name, datapathOf(other)),
				"make a session for each")
		}
	}
	for _, d := range t.deliveries {
		if refusal := c.refuseTunnels(d, o, slices.Concat(rest, t.deliveries)); refusal != nil {
			return refusal
		}
	}
	if field, problem, remedy := o.treatment.unruly(); problem != "" && t.tier == TierFlow {
		return refuse(field, problem, remedy)
	}
	if d := t.deliveries[0]; !t.sends() && len(d.targets) > MirrorLimit {
		return refuse("destinations", fmt.Sprintf("%d destinations, and one tap bridge serves %d", len(d.targets), MirrorLimit), "make several sessions")
	}
	return nil
}

// refuseTunnels says what is wrong with the delivery's tunnels. The session o is
// at fault.
func (c *compiler) refuseTunnels(d *delivery, o *Outcome, all []*delivery) *Refusal {
	for _, t := range d.targets {
		if t.tunnel == nil {
			continue
		}
		refuse := func(field, problem, remedy string) *Refusal {
			return &Refusal{Session: o.Name, Field: fmt.Sprintf("destinations[%d]%s", max(0, slices.Index(o.targets, t)), field), Problem: problem, Remedy: remedy}
		}
		if field, problem, remedy := c.refuseTunnel(t.tunnel, d.name, d.datapath); problem != "" {
			return refuse(field, problem, remedy)
		}
		if problem, remedy := c.crowds(d, t); problem != "" {
			refusal := refuse("", problem, remedy)
			refusal.Harm = true
			return refusal
		}
		for _, other := range all {
			for _, u := range other.targets {
				if u.tunnel != nil && u.tunnel != t.tunnel && u.tunnel.name == t.tunnel.name { // one of 16 million
					return refuse("", fmt.Sprintf("its port would have the same name as that of session %q", other.sessions[0].Name), "change something of it, such as ttl")
				}
				if u.tunnel != nil && u.tunnel != t.tunnel && u.tunnel.identity == t.tunnel.identity {
					return refuse("", fmt.Sprintf("session %q has another tunnel with the same remote, local and key, and Open vSwitch installs one of them", other.sessions[0].Name),
						"use another session, key or vni, or write both the same")
				}
			}
		}
	}
	return nil
}

// unlikeKept says what the tap would change for sessions that cannot be compiled
// and stand on the mirror hub that it takes over. On a bridge with rules each
// delivery has its own.
func (c *compiler) unlikeKept(t *tap) string {
	tap := c.snap.Bridge(t.name)
	if tap == nil || t.sends() {
		return ""
	}
	d := t.deliveries[0]
	for m := range tap.Mirrors {
		mirror := &tap.Mirrors[m]
		_, port := c.snap.portAnywhere(mirror.OutputPort)
		if !c.broken(mirror) || port == nil {
			continue
		}
		if who := strings.Join(c.brokenSessions(mirror), ","); mirror.Snaplen != d.snaplen {
			return fmt.Sprintf("session %s, which cannot be compiled, has %s there and this one wants %s", who, snapText(mirror.Snaplen), snapText(d.snaplen))
		} else if (port.VLANMode == modeFor(true)) != d.strip {
			return fmt.Sprintf("session %s, which cannot be compiled, has %s there and this one wants %s", who, tagText(!d.strip), tagText(d.strip))
		}
	}
	return ""
}

func datapathOf(b *Bridge) string { return cmp.Or(b.Datapath, "system") }

// immovable says why a port cannot be moved to the tap bridge.
func (c *compiler) immovable(t *tap, port int32) (problem, remedy string) {
	p, home := c.ports[port], &c.snap.Bridges[c.bridge[port]]
	if p.Name == home.Name {
		return fmt.Sprintf("port %s is the bridge's own and cannot be moved to a tap bridge, which this needs because %s", p.Name, t.why), "use another destination"
	}
	if t.sends() && len(p.Interfaces) != 1 {
		return fmt.Sprintf("port %s is a bond, to which no rule can send, and this needs rules because %s", p.Name, t.why), "use another destination"
	}
	if on := &c.snap.Bridges[c.on[port]]; on.Name != t.name && c.holds(on) {
		return fmt.Sprintf("port %s is on tap bridge %s of a session that cannot be compiled: %s", p.Name, on.Name, on.ExternalIDs[KeySession]),
			"use another destination, or mend that session"
	}
	for b := range c.snap.Bridges {
		bridge := &c.snap.Bridges[b]
		for m := range bridge.Mirrors {
			mirror := &bridge.Mirrors[m]
			if mirror.OutputPort != p.Name || bridge.Name == t.name || mirror.Managed() && !c.broken(mirror) {
				continue
			}
			whose := "foreign mirror"
			if mirror.Managed() {
				whose = "mirror"
			}
			return fmt.Sprintf("%s %q of bridge %s outputs to port %s, which would be moved to a tap bridge because %s", whose, mirror.Name, bridge.Name, p.Name, t.why),
				"use another destination, or remove that mirror"
		}
	}
	return "", ""
}

// nameTap names the tap bridge for the destinations of a session: as one that is
// there already, if one of the sessions' names is its. A mirror hub and bridges
// with rules have different names, so that one can be made beside the other: a change
// of fail_mode would take its rules away.
func (c *compiler) nameTap(t *tap) {
	t.name = ""
	for _, o := range t.sessions {
		texts := destinationTexts(o)
		if t.tier == TierFlow {
			texts = append(texts, string(TierFlow))
		}
		if t.failsOpen {
			texts = append(texts, string(policy.FailOpen))
		}
		name := shortName(texts...)
		b := c.snap.Bridge(name)
		if there := b != nil && b.Managed(); there || t.name == "" {
			if t.name = name; there {
				return
			}
		}
	}
}

// destinationTexts are what the session calls its destinations, sorted.
func destinationTexts(o *Outcome) []string {
	var texts []string
	for i := range o.Session.Destinations {
		texts = append(texts, destinationText(&o.Session.Destinations[i]))
	}
	slices.Sort(texts)
	return texts
}

func destinationText(d *policy.Destination) string {
	if isTunnel(d) {
		return newTunnel(d).name // also while there is no route to it
	}
	return describeDestination(d)
}

// taken finds a foreign row that has a name which the tap's rows need.
func (c *compiler) taken(t *tap, bridges []int32) (name, owner string) {
	names := []string{t.name, t.sink()}
	for _, d := range t.deliveries {
		for _, b := range bridges {
			outer, inner := d.patch(c.snap.Bridges[b].Name)
			names = append(names, outer, inner)
		}
		for _, target := range d.targets {
			if target.tunnel != nil {
				names = append(names, target.tunnel.name)
			}
		}
	}
	for _, name := range names {
		if b := c.snap.Bridge(name); b != nil && !b.Managed() {
			return name, "a bridge"
		}
		if b, p := c.snap.portAnywhere(name); p != nil && !p.Managed() {
			return name, "a port of bridge " + b.Name
		}
	}
	return "", ""
}
