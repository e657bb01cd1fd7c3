package plan

import (
	"fmt"

	"spanctl/policy"
)

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
	if t.tunnel != nil && d.snaplen > 0 { // cut before it is wrapped
		largest = min(largest, d.snaplen-14)
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
		if p.on(route.Devices...) {
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
