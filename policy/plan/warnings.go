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

// tooLarge warns of a destination whose MTU is smaller than a source's: copies
// of larger packets vanish there, without any counter (OVS 3.1, userspace).
func (c *compiler) tooLarge(g *group) string {
	if g.target.port < 0 {
		return ""
	}
	limit := mtu(c.ports[g.target.port])
	if limit == 0 || g.snaplen > 0 && g.snaplen <= limit {
		return ""
	}
	largest, name := 0, ""
	for _, o := range g.sessions {
		for _, s := range o.selected.list {
			if m := mtu(c.ports[s.port]); m > largest && c.bridge[s.port] == g.bridge {
				largest, name = m, c.ports[s.port].Name
			}
		}
	}
	if largest <= limit {
		return ""
	}
	return fmt.Sprintf("copies of packets over %d bytes are lost: that is the MTU of destination %s, and source %s has %d",
		limit, c.ports[g.target.port].Name, name, largest)
}

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
	for _, g := range groups {
		bridge := c.snap.Bridges[g.bridge].Name
		for m := range c.snap.Bridges[g.bridge].Mirrors {
			if mirror := &c.snap.Bridges[g.bridge].Mirrors[m]; !mirror.Managed() && c.outputs(mirror, g.target) {
				list = append(list, fmt.Sprintf("session %s: foreign mirror %s of bridge %s sends to the same destination: not everything there is this session's",
					g.sessions[0].Name, mirror.Name, bridge))
			}
		}
		if note := c.tooLarge(g); note != "" {
			list = append(list, "session "+g.sessions[0].Name+": "+note)
		}
		if g.target.port < 0 {
			if names := c.rspanReceivers(g); len(names) > 0 {
				list = append(list, "session "+g.sessions[0].Name+": on bridge "+bridge+" guests receive the copies too, their own packets included, because their ports trunk every VLAN: "+
					strings.Join(names, ", ")+"; give these ports a tag or trunks")
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
