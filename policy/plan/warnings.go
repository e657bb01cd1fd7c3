package plan

import (
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// rspanReceivers lists the ports of guests that receive an RSPAN VLAN only
// because they are trunks of every VLAN.
func (c *compiler) rspanReceivers(g *group) []string {
	var names []string
	for port := c.first[g.bridge]; port < c.first[g.bridge+1]; port++ {
		p := c.ports[port]
		if c.roles[port] == policy.RoleGuest && p.Tag == nil && len(p.Trunks) == 0 && (p.VLANMode == "" || p.VLANMode == "trunk") {
			names = append(names, p.Name)
		}
	}
	return names
}

// narrow says of a delivery's destination that it does not take the largest
// packets of the sources, nothing if it does: of a port whose MTU is smaller, where
// copies vanish without any counter, and of a tunnel whose path is too narrow for
// what it wraps, where they do so too in the userspace datapath (OVS 3.1). Only
// the sources that count are looked at.
func (c *compiler) narrow(d *delivery, t target, counts func(port int32) bool) string {
	limit, added := 0, 0
	switch {
	case t.tunnel != nil:
		route, _ := c.route(t.tunnel)
		limit, added = route.MTU, t.tunnel.overhead
	case t.port >= 0:
		if limit = mtu(c.ports[t.port]); d.snaplen > 0 && d.snaplen <= limit {
			return ""
		}
	}
	if limit == 0 { // nothing is known
		return ""
	}
	largest, name := 0, ""
	for _, o := range d.sessions {
		o.sources(func(s source) {
			m := mtu(c.ports[s.port])
			if t.tunnel != nil && !d.strip && tagged(c.ports[s.port]) {
				m += 4 // the tag is wrapped too
			}
			if m > largest && counts(s.port) {
				largest, name = m, c.ports[s.port].Name
			}
		})
	}
	switch {
	case largest+added <= limit:
		return ""
	case t.tunnel == nil:
		return fmt.Sprintf("copies of packets over %d bytes are lost: that is the MTU of destination %s, and source %s has %d",
			limit, c.ports[t.port].Name, name, largest)
	}
	fate := "sent in fragments"
	if d.datapath == "netdev" || t.tunnel.options["df_default"] == "true" {
		fate = "lost"
	}
	return fmt.Sprintf("copies of packets over %d bytes are %s: the path to %s carries %d bytes, %d of which the tunnel adds, and source %s has an MTU of %d",
		limit-added, fate, t.tunnel.text, limit, added, name, largest)
}

// crowds says of a tunnel whose path is too narrow that production would be
// harmed. In the userspace datapath a port of Linux takes frames in batches, and
// of a batch everything from the first frame on that does not fit is lost:
// production that leaves by the same port with large copies is lost with them
// (netdev-linux, sendmmsg, OVS 3.1; 100 of 100 full-size frames). The path's own
// ports do not count: that they carry as much as the path does not say that they
// send or receive it, and no path would be wide enough for them.
func (c *compiler) crowds(d *delivery, t target) (problem, remedy string) {
	route, known := c.route(t.tunnel)
	if !known || d.datapath != "netdev" {
		return "", ""
	}
	leaves := map[int32]bool{} // ports by which the tunnel's packets leave
	under := map[int32]int32{} // and one of them, by what joined says of their bridges
	for port, p := range c.ports {
		if slices.ContainsFunc(p.Interfaces, func(i Interface) bool { return slices.Contains(route.Devices, i.Name) }) {
			leaves[int32(port)] = true
			under[c.joined()[c.bridge[port]]] = int32(port)
		}
	}
	note := c.narrow(d, t, func(port int32) bool {
		_, onPath := under[c.joined()[c.bridge[port]]]
		return !leaves[port] && !(onPath && (c.roles[port] == policy.RoleUplink || c.roles[port] == roleUnknown))
	})
	if note == "" {
		return "", ""
	}
	for port, b := range c.bridge {
		device, onPath := under[c.joined()[b]]
		if !onPath || c.isDest[port] || c.roles[port] != policy.RoleGuest && !d.copies(int32(port)) {
			continue
		}
		return fmt.Sprintf("%s; production that leaves bridge %s with them, such as that of port %s, would be lost too, for the userspace datapath drops what follows a frame that is too large", note, c.snap.Bridges[c.bridge[device]].Name, c.ports[port].Name),
			fmt.Sprintf("give the path a larger MTU (of %s too: ovs-vsctl set Interface %s mtu_request=N), the sources a smaller one, or send by a bridge of its own", route.Devices[0], route.Devices[0])
	}
	return "", ""
}

// everySource counts every source.
func everySource(int32) bool { return true }

// copies reports whether the port is a source of one of the sessions.
func (d *delivery) copies(port int32) bool {
	found := false
	for _, o := range d.sessions {
		o.sources(func(s source) { found = found || s.port == port })
	}
	return found
}

// tapWarnings say what a tap bridge means for others.
func (c *compiler) tapWarnings(d *delivery) []string {
	if d.tier != TierHub {
		return nil
	}
	var list []string
	for _, t := range d.targets {
		switch {
		case t.tunnel != nil:
			if t.tunnel.pskFile != "" {
				list = append(list, "copies to "+t.tunnel.text+" are encrypted only while ovs-monitor-ipsec runs on the host")
			}
			if route, known := c.route(t.tunnel); known && d.datapath == "netdev" && len(route.Devices) > 0 &&
				!slices.ContainsFunc(c.ports, func(p *Port) bool {
					return slices.ContainsFunc(p.Interfaces, func(i Interface) bool { return slices.Contains(route.Devices, i.Name) })
				}) {
				list = append(list, "nothing is sent to "+t.tunnel.text+": the userspace datapath sends by ports of its bridges alone, and the route leads by "+route.Devices[0])
			}
			if local := t.tunnel.local; local.IsValid() && c.snap.Addresses != nil && !slices.Contains(c.snap.Addresses, local) {
				list = append(list, "nothing is sent to "+t.tunnel.text+": local "+local.String()+" is no address of this host")
			}
		case t.port >= 0 && c.snap.Bridges[c.on[t.port]].Name != d.name:
			p, home := c.ports[t.port].Name, c.snap.Bridges[c.bridge[t.port]].Name
			if slices.ContainsFunc(c.snap.Bridges[c.bridge[t.port]].Mirrors, func(m Mirror) bool { return m.SelectAll && m.OutputPort != p }) {
				list = append(list, "bridge "+home+" forgets the addresses that it has learnt when port "+p+" leaves it, because another mirror selects all of it: what is sent is flooded until they are learnt again")
			}
			list = append(list, fmt.Sprintf("port %s is moved from bridge %s to tap bridge %s while the session copies, because %s: scripts that name bridge %s for it (ovs-vsctl del-port %s %s) fail meanwhile",
				p, home, d.name, d.why, home, home, p))
		}
	}
	return list
}

// tagged reports whether what the port carries has a VLAN tag in the switch: it
// is an access port of a VLAN, or trunks VLANs by name.
func tagged(p *Port) bool { return p.Tag != nil && *p.Tag != 0 || len(p.Trunks) > 0 }

// mtu is the smallest of the port's interfaces, 0 if unknown.
func mtu(p *Port) int {
	least := 0
	for i := range p.Interfaces {
		if m := p.Interfaces[i].MTU; m > 0 && (least == 0 || m < least) {
			least = m
		}
	}
	return least
}

// warnings are what the user should know before the plan is applied.
func (c *compiler) warnings(groups []*group) []string {
	var list []string
	for _, o := range c.outcomes {
		prefix := "session " + o.Name + ": "
		for _, note := range o.Notes {
			list = append(list, prefix+note)
		}
		if o.State != StateActive && o.State != StateWaiting {
			continue
		}
		if !o.Session.Expires.IsZero() {
			list = append(list, prefix+"expires is enforced by the next apply after "+o.Session.Expires.UTC().Format("2006-01-02T15:04:05Z")+": no agent runs")
		}
	}
	for _, d := range c.deliveries {
		prefix := "session " + d.sessions[0].Name + ": "
		if d.raised != nil {
			prefix = "session " + d.raised.Name + ": "
		}
		for _, note := range c.tapWarnings(d) {
			list = append(list, prefix+note)
		}
		for _, t := range d.targets {
			if note := c.narrow(d, t, everySource); note != "" {
				list = append(list, prefix+note)
			}
		}
	}
	list = append(list, c.doubles(groups)...)
	for _, g := range groups {
		list = append(list, c.leakWarnings(g)...)
		bridge := c.snap.Bridges[g.bridge].Name
		for m := range c.snap.Bridges[g.bridge].Mirrors {
			if mirror := &c.snap.Bridges[g.bridge].Mirrors[m]; !mirror.Managed() && c.groupOutputs(mirror, g) {
				list = append(list, fmt.Sprintf("session %s: foreign mirror %s of bridge %s sends to the same destination: not everything there is this session's",
					g.sessions[0].Name, mirror.Name, bridge))
			}
		}
		if g.delivery.rspan() {
			if names := c.rspanReceivers(g); len(names) > 0 {
				list = append(list, "session "+g.sessions[0].Name+": on bridge "+bridge+" guests receive the copies too, their own packets included, because their ports trunk every VLAN: "+
					strings.Join(names, ", ")+"; give these ports a tag or trunks")
			}
		}
	}
	for b := range c.snap.Bridges {
		if tap := &c.snap.Bridges[b]; tap.Managed() && len(c.homeless(tap)) > 0 {
			list = append(list, "tap bridge "+tap.Name+" is kept for what has no other bridge to go back to: "+strings.Join(c.homeless(tap), ", ")+
				"; delete these ports, or add them to a bridge in their place")
		}
	}
	for b := range c.snap.Bridges {
		if bridge := &c.snap.Bridges[b]; bridge.Managed() {
			for m := range bridge.Mirrors {
				if mirror := &bridge.Mirrors[m]; !mirror.Managed() {
					list = append(list, "foreign mirror "+mirror.Name+" is on tap bridge "+bridge.Name+" and goes with it")
				}
			}
		}
	}
	for name := range c.tagged {
		if !slices.ContainsFunc(c.outcomes, func(o *Outcome) bool { return o.Name == name }) {
			list = append(list, "port "+c.names(c.tagged[name])+" is tagged for session "+name+", which does not exist")
		}
	}
	slices.Sort(list)
	return list
}
