package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"spanctl/policy"
)

// A leak is where packets of a delivery's tunnel enter a source bridge, on
// which they must not be copied again.
type leak struct {
	delivery *delivery // nil if it is one of sessions that cannot be compiled
	sessions string
	text     string // the tunnel's
	tunnel   *tunnel
	route    Route
	// device is the port by which they leave, an internal one as a rule; -1 if the
	// route is not known: then it may be any of the host's own ports on any bridge
	// that its sessions copy.
	device int32
}

// findLeaks follows the routes of all tunnels. One that leaves by a device that
// is no port of a bridge does not come back.
func (c *compiler) findLeaks() []leak {
	var leaks []leak
	add := func(l leak, devices []string) {
		for port, p := range c.ports {
			if !p.Managed() && p.on(devices...) {
				l.device = int32(port)
				leaks = append(leaks, l)
			}
		}
	}
	for _, d := range c.deliveries {
		for _, t := range d.targets {
			wraps := t.wraps()
			if wraps == nil {
				continue
			}
			l := leak{delivery: d, sessions: d.sessions[0].Name, text: wraps.text, tunnel: wraps, device: -1}
			if route, known := c.route(wraps); known {
				l.route = route
				add(l, route.Devices)
			} else {
				leaks = append(leaks, l)
			}
		}
	}
	for port, p := range c.ports {
		sessions := c.keptFor(int32(port))
		if len(sessions) == 0 || len(p.Interfaces) != 1 {
			continue
		}
		iface, t := &p.Interfaces[0], c.device(int32(port))
		if p.Managed() && tunnelIdentity(iface.Type, iface.Options) != "" {
			t = &tunnel{kind: iface.Type, options: iface.Options, pskFile: iface.ExternalIDs[KeyPSKFile], text: iface.Type + " " + iface.Options["remote_ip"]}
			t.remote, _ = netip.ParseAddr(iface.Options["remote_ip"]) // it may be a name
		}
		if t == nil {
			continue
		}
		l := leak{sessions: strings.Join(sessions, ","), text: t.text, tunnel: t, route: c.snap.Routes[t.remote], device: -1}
		add(l, append([]string{iface.Egress}, l.route.Devices...))
	}
	return leaks
}

// keptFor are the sessions that cannot be compiled whose rows go on sending copies to the port.
func (c *compiler) keptFor(port int32) []string {
	if on := &c.snap.Bridges[c.on[port]]; c.keepsTap(on) {
		return splitNames(on.ExternalIDs[KeySession])
	}
	mirrors := c.snap.Bridges[c.bridge[port]].Mirrors
	for m := range mirrors {
		if mirrors[m].OutputPort == c.ports[port].Name && c.broken(&mirrors[m]) {
			return c.brokenSessions(&mirrors[m])
		}
	}
	return nil
}

// route is the way of the tunnel's packets: as the host's tables say, and as
// ovs-vswitchd says of a tunnel that stands, by a port that is there.
func (c *compiler) route(t *tunnel) (route Route, known bool) {
	route, known = c.snap.Routes[t.remote]
	iface := c.standing(t)
	if iface == nil || iface.Egress == "" || slices.Contains(route.Devices, iface.Egress) {
		return route, known
	}
	for _, p := range c.ports {
		if !p.on(iface.Egress) {
			continue
		}
		if !known {
			route.MTU = mtu(p)
		}
		route.Devices = append(slices.Clone(route.Devices), iface.Egress)
		return route, true
	}
	return route, known
}

// standing is the Interface of a tunnel that is there, nil if it is not.
func (c *compiler) standing(t *tunnel) *Interface {
	_, port := c.snap.portAnywhere(t.name)
	if port == nil || !port.Managed() || len(port.Interfaces) != 1 {
		return nil
	}
	return &port.Interfaces[0]
}

// noRoute reports whether the host is known to have no route to the far end of a
// tunnel that does not stand: nothing can be sent, and how it will be one day
// cannot be told. One that stands is left alone while its route is away.
func (c *compiler) noRoute(t *tunnel) bool {
	route, known := c.snap.Routes[t.remote]
	return known && len(route.Devices) == 0 && c.standing(t) == nil
}

// reaches reports whether the leak's packets can enter the group's bridge:
// they leave by it, or by one that patch ports join to it. Where their route is
// not known they may, if one of the sessions is the tunnel's.
func (c *compiler) reaches(l leak, g *group) bool {
	if l.device < 0 {
		return l.delivery != nil && slices.ContainsFunc(g.sessions, func(o *Outcome) bool { return slices.Contains(l.delivery.sessions, o) })
	}
	return c.joined()[c.bridge[l.device]] == c.joined()[g.bridge]
}

// quiet reports whether the port may not be a source on the group's bridge,
// because of what enters there: the tunnel's packets in the kernel's datapath, and
// in the userspace datapath the ARP requests that ovs-vswitchd sends for the
// collector's address (OVS 3.1).
func (c *compiler) quiet(l leak, port int32) bool {
	return port == l.device || l.device < 0 && c.roles[port] == policy.RoleHost
}

// refuseLoops looks at each group on whose bridge a tunnel's packets can enter.
// Mirrors of what is sent to a port would copy them, and so would mirrors of what
// the port by which they leave sends. On a tap bridge with rules a guard drops
// them, and where rules can be made a session whose copies go into a tunnel is
// given them. Elsewhere, if every other port is a source, what they send is all
// there is, and is listed instead. Where it is not, the session is refused if its
// copies go into a tunnel; copies that end in this host make no loop. It reports
// whether a session was refused, or is to be given rules.
func (c *compiler) refuseLoops(groups []*group) bool {
	leaks := c.findLeaks()
	for _, g := range groups {
		own := func(l leak) bool { return l.delivery == g.delivery }
		slices.SortStableFunc(leaks, func(a, b leak) int { return btoi(own(b)) - btoi(own(a)) })
		for _, l := range leaks {
			if g.delivery.sends() && g.delivery.tunnels() {
				g.leaks = append(g.leaks, l) // of whatever tunnel: the far ends may copy to each other
				continue
			}
			if !c.reaches(l, g) {
				continue
			}
			needed, why := c.listing(g, l, groups)
			switch {
			case g.delivery.sends() && needed:
				g.leaks = append(g.leaks, l)
			case (needed || own(l) && c.hears(g)) && c.guards(g, l):
				o := g.sessions[len(g.sessions)-1]
				o.guarded = fmt.Sprintf("packets of the tunnel %s cross bridge %s, which it copies", l.text, c.snap.Bridges[g.bridge].Name)
				return true
			case !needed:
			case why == "":
				c.list(g, l)
			case !g.delivery.tunnels():
				note := fmt.Sprintf("packets of the tunnel %s of session %s cross bridge %s and are copied too", l.text, l.sessions, c.snap.Bridges[g.bridge].Name)
				g.again = append(g.again, note)
				for _, o := range g.sessions {
					o.again = append(o.again, note)
				}
			default:
				last := g.sessions[len(g.sessions)-1]
				if l.delivery != nil {
					last = c.later(last, l.delivery.sessions[len(l.delivery.sessions)-1])
				}
				last.refuse(c.loop(last, g, l, why))
				return true
			}
		}
	}
	return false
}

// later is the one of two sessions that claims later.
func (c *compiler) later(a, b *Outcome) *Outcome {
	if slices.Index(c.outcomes, a) > slices.Index(c.outcomes, b) {
		return a
	}
	return b
}

// listing reports whether the group must list what ports send against the leak,
// and why that would not say the same.
func (c *compiler) listing(g *group, l leak, groups []*group) (needed bool, why string) {
	list, every := c.merge(g)
	to := every.to
	needed = every.from != nil
	speaks := 0
	for _, s := range list {
		to = c.vlans.union(to, s.to)
		if c.quiet(l, s.port) {
			needed = needed || s.from != nil
		} else if s.from != nil {
			speaks++
		}
	}
	if to == nil && !needed {
		return false, ""
	}
	bridge := &c.snap.Bridges[g.bridge]
	switch {
	case datapathOf(bridge) != "netdev":
		return true, "on the kernel's datapath the tunnel's packets cannot be told from the host's own"
	case speaks == 0:
		return true, "nothing else is copied there"
	case to == nil:
		return true, ""
	}
	for b, root := range c.joined() {
		if root != c.joined()[g.bridge] {
			continue
		}
		sent := map[int32]*vlanSet{}
		for _, other := range groups {
			if other.delivery == g.delivery && other.bridge == int32(b) {
				all, _ := c.merge(other)
				for _, s := range all {
					sent[s.port] = s.from
				}
			}
		}
		for port := c.first[b]; port < c.first[b+1]; port++ {
			if c.roles[port] == roleNone && guessRole(c.ports[port]) == roleNone || c.isDest[port] || c.quiet(l, port) || sent[port] != nil && c.vlans.covers(sent[port], to) {
				continue
			}
			return true, fmt.Sprintf("what is sent to ports is copied, and what port %s sends is not, so that no list of senders says the same", c.ports[port].Name)
		}
	}
	return true, ""
}

// list makes the group list what ports send.
func (c *compiler) list(g *group, l leak) {
	g.listed = append(g.listed, l)
	for _, o := range g.sessions {
		if o.listed == nil {
			o.listed, o.silent = map[int32]bool{}, map[int32]bool{}
		}
		o.listed[g.bridge] = true
		for _, s := range o.selected.list {
			if c.bridge[s.port] == g.bridge && c.quiet(l, s.port) {
				o.silent[s.port] = true
			}
		}
	}
}

// fromOnly is the list without what is sent to ports, and without ports that
// may not be sources.
func (c *compiler) fromOnly(list []source, g *group) []source {
	rest := list[:0:0]
	for _, s := range list {
		if s.to = nil; s.from != nil && !slices.ContainsFunc(g.listed, func(l leak) bool { return c.quiet(l, s.port) }) {
			rest = append(rest, s)
		}
	}
	return rest
}

// loop is the refusal of a session whose copies would be copied again, with
// the path.
func (c *compiler) loop(o *Outcome, g *group, l leak, why string) *Refusal {
	bridge := c.snap.Bridges[g.bridge].Name
	way, remedy := "its route is not known", "run spanctl on the host, where routes can be seen; or "
	switch {
	case l.device >= 0:
		way, remedy = c.wayOut(l), ""
	case c.snap.Local && l.tunnel != nil && !l.tunnel.remote.IsValid():
		way, remedy = "its far end is not known", "give the device one; or "
	}
	path := []string{bridge, g.delivery.name, l.text, way, bridge}
	if l.delivery != g.delivery {
		path = []string{fmt.Sprintf("%s of session %s", l.text, l.sessions), way, bridge, g.delivery.name, labels(g.sessions[0].Places)}
	}
	if datapathOf(&c.snap.Bridges[g.bridge]) == "netdev" {
		remedy += "copy every port of that bridge, "
	}
	remedy += "copy only what ports send, less the host's own ({role: guest, direction: from}, {role: uplink, direction: from}), "
	return &Refusal{
		Session: o.Name, Field: "destinations",
		Problem: fmt.Sprintf("loop: copies would be copied again (%s); %s", strings.Join(slices.Compact(slices.DeleteFunc(path, func(at string) bool { return at == "" })), " -> "), why),
		Harm:    true,
		Remedy:  remedy + "copy other bridges, or send by a way that none of the copied bridges is on",
	}
}

// wayOut names the port by which a tunnel's packets leave, and its bridge.
func (c *compiler) wayOut(l leak) string {
	name, bridge := c.ports[l.device].Name, c.snap.Bridges[c.bridge[l.device]].Name
	if name == bridge {
		return name
	}
	return name + " -> " + bridge
}

// leakWarnings say what lists against feedback mean for the user.
func (c *compiler) leakWarnings(g *group) []string {
	var list []string
	bridge := c.snap.Bridges[g.bridge].Name
	who := "session " + g.sessions[0].Name + ": "
	for _, l := range g.listed {
		way := "may leave by it: its route is not known"
		quiet := "the host's own ports"
		if l.device >= 0 {
			way = "leave by " + c.wayOut(l)
			quiet = c.ports[l.device].Name
		}
		list = append(list, fmt.Sprintf("%son bridge %s ports are listed one by one, so that packets of the tunnel %s are not copied again, which %s: a new port is copied from the next apply on, and what the host sends by %s is not copied",
			who, bridge, l.text, way, quiet))
	}
	for _, note := range g.again {
		list = append(list, who+note)
	}
	return list
}
