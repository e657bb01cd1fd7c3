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

// tapWarnings say what a tap bridge means for others.
func (c *compiler) tapWarnings(d *delivery) []string {
	if d.tier == TierDirect {
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
				!slices.ContainsFunc(c.ports, func(p *Port) bool { return p.on(route.Devices...) }) {
				list = append(list, "nothing is sent to "+t.tunnel.text+": the userspace datapath sends by ports of its bridges alone, and the route leads by "+route.Devices[0])
			}
			if d.kernels() && t.tunnel.field() != "vxlan" && d.snaplen > 0 && d.snaplen < 14+40 {
				list = append(list, fmt.Sprintf("copies to %s that %d bytes leave without a whole IP header, of 34 bytes in all with IPv4 and 54 with IPv6, are lost: the kernel's datapath does not send them", t.tunnel.text, d.snaplen))
			}
			if d.kernels() && t.tunnel.options["seq"] == "true" {
				list = append(list, "copies to "+t.tunnel.text+" have no sequence numbers: the kernel's datapath sends none by GRE")
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

// twice warns where sessions ask for different treatment of copies to the same
// destination: each then has its own.
func (c *compiler) twice(groups []*group) []string {
	var list []string
	for i, a := range groups {
		for _, b := range groups[i+1:] {
			if a.bridge != b.bridge || a.delivery.tap != b.delivery.tap {
				continue
			}
			for _, t := range a.delivery.targets {
				if t.absent == "" && slices.Contains(b.delivery.targets, t) {
					var name string
					if t.tunnel != nil {
						name = t.tunnel.text
					} else {
						name = c.ports[t.port].Name
					}
					list = append(list, fmt.Sprintf("sessions %s and %s ask for different treatment of copies to %s: a packet of bridge %s that both select arrives there once for each",
						a.delivery.first().Name, b.delivery.first().Name, name, c.snap.Bridges[a.bridge].Name))
				}
			}
		}
	}
	return list
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
		if !o.Session.Expires.IsZero() && !c.snap.Agent.Alive(c.now) {
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
	list = append(list, c.twice(groups)...)
	for _, g := range groups {
		list = append(list, c.leakWarnings(g)...)
		if g.stripped != "" {
			list = append(list, fmt.Sprintf("session %s: on bridge %s ports are listed one by one, so that copies which lose their tag at port %s are not copied in the place of packets: a new port is copied from the next apply on",
				g.sessions[0].Name, c.snap.Bridges[g.bridge].Name, g.stripped))
		}
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
		if !c.wanted(name) {
			list = append(list, "port "+c.names(c.tagged[name])+" is tagged for session "+name+", which does not exist")
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
