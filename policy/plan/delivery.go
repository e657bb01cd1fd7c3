package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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
		same = nil // the same VLAN on other bridges; see conflict
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

// raise gives the delivery its tap bridge, or says why it can have none. The
// last of its sessions is the one at fault.
func (c *compiler) raise(d *delivery) *Refusal {
	o := d.sessions[len(d.sessions)-1]
	refuse := func(field, problem, remedy string) *Refusal {
		return &Refusal{Session: o.Name, Field: field, Problem: problem, Remedy: remedy}
	}
	c.nameTap(d)
	var bridges []int32
	for _, s := range d.sessions {
		bridges = append(bridges, c.bridgesOf(s)...)
	}
	for i, t := range d.targets {
		if t.port >= 0 {
			bridges = append(bridges, c.bridge[t.port])
			if problem, remedy := c.immovable(d, t.port); problem != "" {
				return refuse(fmt.Sprintf("destinations[%d]", c.numberOf(o, t, i)), problem, remedy)
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
		at := c.numberOf(o, t, i)
		if field, problem, remedy := c.refuseTunnel(t.tunnel, d.datapath); problem != "" {
			return refuse(fmt.Sprintf("destinations[%d]%s", at, field), problem, remedy)
		}
		if problem, remedy := c.crowds(d, t); problem != "" {
			return refuse(fmt.Sprintf("destinations[%d]", at), problem, remedy)
		}
		if d.snaplen > 0 {
			return laterTier(o.Name, "snaplen", "Open vSwitch cuts what a tunnel sends after it is wrapped, and the collector gets malformed packets", "leave it out, or use local destinations")
		}
		for _, other := range slices.Concat(c.deliveries, []*delivery{d}) {
			for _, u := range other.targets {
				if u.tunnel != nil && u.tunnel != t.tunnel && u.tunnel.identity == t.tunnel.identity {
					return refuse(fmt.Sprintf("destinations[%d]", at), fmt.Sprintf("session %q has another tunnel with the same remote, local and key, and Open vSwitch installs one of them", other.sessions[0].Name),
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

// numberOf is the number of the target among the session's destinations.
func (c *compiler) numberOf(o *Outcome, t target, otherwise int) int {
	if at := slices.Index(o.targets, t); at >= 0 {
		return at
	}
	return otherwise
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
			if t := o.targets[j]; t.tunnel != nil {
				texts = append(texts, t.tunnel.name)
			} else {
				texts = append(texts, describeDestination(&o.Session.Destinations[j]))
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
	names := []string{d.name}
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
		if b, p := c.snap.portAnywhere(name); p != nil && !p.Managed() && !(b.Managed() && b.Name == name) {
			return name, "a port of bridge " + b.Name
		}
	}
	return "", ""
}

// places tells what the targets are, for people: o.Places.
func (c *compiler) places(o *Outcome) []Place {
	places := make([]Place, len(o.targets))
	for i, t := range o.targets {
		p := &places[i]
		p.Name = describeDestination(&o.Session.Destinations[i])
		switch {
		case t.port >= 0:
			p.Port, p.Bridge = c.ports[t.port].Name, c.snap.Bridges[c.bridge[t.port]].Name
		case t.tunnel != nil:
			p.Port = t.tunnel.name
		case t.rspan():
		default:
			p.Absent = o.awaited[i]
		}
	}
	return places
}

// Label is what people call the place: a port by its name.
func (p *Place) Label() string {
	if p.Bridge != "" {
		return p.Port
	}
	return p.Name
}

func labels(places []Place) string {
	names := make([]string, len(places))
	for i := range places {
		names[i] = places[i].Label()
	}
	return strings.Join(names, ", ")
}
