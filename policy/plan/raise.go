package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// raise gives the delivery its tap bridge, or says why it can have none. The
// last of its sessions is the one at fault.
func (c *compiler) raise(d *delivery) *Refusal {
	o := d.sessions[len(d.sessions)-1]
	refuse := func(field, problem, remedy string) *Refusal {
		return &Refusal{Session: o.Name, Field: field, Problem: problem, Remedy: remedy}
	}
	c.nameTap(d)
	for _, other := range c.deliveries {
		if other.name == d.name && !slices.Equal(other.targets, d.targets) && !slices.ContainsFunc(d.sessions, func(s *Outcome) bool { return slices.Contains(other.sessions, s) }) {
			return refuse("destinations", fmt.Sprintf("its tap bridge would have the same name as that of session %q", other.sessions[0].Name), "name a destination in another way")
		}
	}
	if problem := c.unlikeKept(d); problem != "" {
		return laterTier(o.Name, "destinations", problem, "use other destinations, or mend that session")
	}
	var bridges []int32
	for _, s := range d.sessions {
		bridges = append(bridges, c.bridgesOf(s)...)
	}
	for i, t := range d.targets {
		if t.port >= 0 {
			bridges = append(bridges, c.bridge[t.port])
			if problem, remedy := c.immovable(d, t.port); problem != "" {
				return refuse(fmt.Sprintf("destinations[%d]", i), problem, remedy)
			}
		}
	}
	slices.Sort(bridges)
	bridges = slices.Compact(bridges)
	if name, owner := c.taken(d, bridges); owner != "" {
		return refuse("destinations", fmt.Sprintf("needs a row named %s, and %s has that name", name, owner), "rename that")
	}
	d.datapath = c.snap.Bridges[bridges[0]].Datapath
	for _, b := range bridges[1:] {
		if first, other := &c.snap.Bridges[bridges[0]], &c.snap.Bridges[b]; datapathOf(first) != datapathOf(other) {
			return refuse("sources", fmt.Sprintf("bridges %s (%s) and %s (%s) are of different datapaths, which no patch port joins", first.Name, datapathOf(first), other.Name, datapathOf(other)),
				"make a session for each")
		}
	}
	for i, t := range d.targets {
		if t.tunnel == nil {
			continue
		}
		if field, problem, remedy := c.refuseTunnel(t.tunnel, d.name, d.datapath); problem != "" {
			return refuse(fmt.Sprintf("destinations[%d]%s", i, field), problem, remedy)
		}
		if problem, remedy := c.crowds(d, t); problem != "" {
			refusal := refuse(fmt.Sprintf("destinations[%d]", i), problem, remedy)
			refusal.Harm = true
			return refusal
		}
		for _, other := range slices.Concat(c.deliveries, []*delivery{d}) {
			for _, u := range other.targets {
				if u.tunnel != nil && u.tunnel != t.tunnel && u.tunnel.name == t.tunnel.name { // one of 16 million
					return refuse(fmt.Sprintf("destinations[%d]", i), fmt.Sprintf("its port would have the same name as that of session %q", other.sessions[0].Name), "change something of it, such as ttl")
				}
				if u.tunnel != nil && u.tunnel != t.tunnel && u.tunnel.identity == t.tunnel.identity {
					return refuse(fmt.Sprintf("destinations[%d]", i), fmt.Sprintf("session %q has another tunnel with the same remote, local and key, and Open vSwitch installs one of them", other.sessions[0].Name),
						"use another session, key or vni, or write both the same")
				}
			}
		}
	}
	if len(d.targets) > MirrorLimit {
		return refuse("destinations", fmt.Sprintf("%d destinations, and one tap bridge serves %d", len(d.targets), MirrorLimit), "make several sessions")
	}
	return nil
}

// unlikeKept says what the delivery would change for sessions that cannot be
// compiled and stand on the tap bridge that it takes over.
func (c *compiler) unlikeKept(d *delivery) string {
	tap := c.snap.Bridge(d.name)
	if tap == nil {
		return ""
	}
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

// immovable says why a port cannot be moved to the delivery's tap bridge.
func (c *compiler) immovable(d *delivery, port int32) (problem, remedy string) {
	p, home := c.ports[port], &c.snap.Bridges[c.bridge[port]]
	if p.Name == home.Name {
		return fmt.Sprintf("port %s is the bridge's own and cannot be moved to a tap bridge, which this needs because %s", p.Name, d.why), "use another destination"
	}
	for b := range c.snap.Bridges {
		bridge := &c.snap.Bridges[b]
		for m := range bridge.Mirrors {
			mirror := &bridge.Mirrors[m]
			if mirror.OutputPort != p.Name || bridge.Name == d.name || mirror.Managed() && !c.broken(mirror) {
				continue
			}
			whose := "foreign mirror"
			if mirror.Managed() {
				whose = "mirror"
			}
			return fmt.Sprintf("%s %q of bridge %s outputs to port %s, which would be moved to a tap bridge because %s", whose, mirror.Name, bridge.Name, p.Name, d.why),
				"use another destination, or remove that mirror"
		}
	}
	return "", ""
}

// nameTap names the tap bridge for its destinations: as one that is there
// already, if one of the sessions' names for them is its.
func (c *compiler) nameTap(d *delivery) {
	for i, o := range d.sessions {
		var texts []string
		for j := range o.Session.Destinations {
			if dest := &o.Session.Destinations[j]; isTunnel(dest) {
				texts = append(texts, newTunnel(dest).name) // also while there is no route to it
			} else {
				texts = append(texts, describeDestination(dest))
			}
		}
		slices.Sort(texts)
		name := shortName(texts...)
		if b := c.snap.Bridge(name); i == 0 || b != nil && b.Managed() {
			d.name = name
			if b != nil && b.Managed() {
				return
			}
		}
	}
}

// taken finds a foreign row that has a name which the delivery's rows need.
func (c *compiler) taken(d *delivery, bridges []int32) (name, owner string) {
	names := []string{d.name, d.sink()}
	for _, b := range bridges {
		outer, inner := d.patch(c.snap.Bridges[b].Name)
		names = append(names, outer, inner)
	}
	for _, t := range d.targets {
		if t.tunnel != nil {
			names = append(names, t.tunnel.name)
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
