package main

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// The oracle's reading of the policy language, in words:
//
//   - A packet crosses a bridge where it arrives at a real port of it or leaves by one. On each bridge that it crosses a
//     session selects it if it arrives at a port that is a source for what its owner sends, or leaves by one that is a
//     source for what is sent to it, in a VLAN that the selector has. Which ports it leaves by is production's affair
//     (the bridge learns addresses): the oracle reads it from what the switch does.
//   - A packet that the port does not let in, for its VLAN, is not copied. One that arrives at a port to which copies go
//     is dropped. (A destination of sessions none of which has a source is an ordinary port, but no source.)
//   - Destinations of enabled sessions, outputs of foreign mirrors, patch and tunnel ports, and ports of role none are no
//     sources. What foreign mirrors copy is not looked at.
//   - The VLAN is the one that the packet has within the switch: that of an access port is the port's tag. 0 is untagged
//     and priority-tagged.
//   - What a session selects is copied if one of its includes holds (or it has none) and no exclude does.
//   - All fields of a match must hold. Addresses are those of IPv4 and IPv6, of ARP only where the match says so. Ports are
//     those of TCP, UDP and SCTP, and no fragment has any; where a Mirror's own filter decides (OVS 3.4, direct tier), first
//     fragments have, but for a match on port 0 alone. The protocol of IPv6 is what follows the extension headers; of a later fragment it is the fragment
//     header, 44. icmp and igmp are IPv4's, icmp6 is IPv6's. Of a packet that arrives with two tags or more the switch sees
//     the MAC addresses, the outermost tag and, as ethertype, the type of the second tag.
//   - Each destination of a session gets a copy for each bridge. Sessions that share a destination and ask for the same
//     treatment are one there: a packet that several of them select comes once. Others are not: one copy for each. Sessions
//     with balance are one only if all their destinations are the same, in the same order, present or absent.
//   - balance: one of the destinations gets all copies of a connection, whichever direction, port and bridge; one that is
//     absent gets none. sample: a connection is kept whole or dropped whole. Which, is the switch's affair, but it must
//     stay so. A connection is protocol, addresses and ports whatever way around; of fragments, the addresses; of what is not
//     seen to be IP, the MAC addresses.
//   - A copy has the tags that the packet has within the switch; with strip_vlan all but the outermost. What is longer
//     than snaplen is cut, with the tags that it then has.
//   - max_rate changes nothing. A packet over it is missing from the copies of its session alone (see overRate).
//   - Not drawn are VLAN 4095 (reserved by IEEE 802.1Q; a hub does not copy it), and two tags of which the first says nothing
//     (see drawPacket).

// An oracle decides for one case.
type oracle struct {
	*oracleCase
	at       map[string]oraclePlace // by Interface or Port
	names    []string               // of enabled sessions
	receives map[string]bool        // Ports that are a destination of an enabled session
	// What the oracle takes from the switch: Ports to which copies go and nothing else, those for which a Mirror chooses
	// packets by its own filter, and for counting alone those that are a Mirror's output, and the bridges of Interfaces now.
	reserved, filtered, mirrored map[string]bool
	now                          map[string]string

	deliveries []*oracleDelivery
	choices    map[string][]string // what balance and sample may yet have decided, by connection
	count      oracleCounts
}

type oraclePlace struct {
	bridge string
	port   *oraclePort
}

// An oracleDelivery is sessions whose copies are one.
type oracleDelivery struct {
	oracleTreatment
	treatment string // in words that are the same for the same
	key       string
	ports     []string // to each of which a copy goes, with balance to one
	sessions  []string
}

func newOracle(c *oracleCase, count oracleCounts) *oracle {
	o := &oracle{oracleCase: c, at: map[string]oraclePlace{}, receives: map[string]bool{}, choices: map[string][]string{}, count: count}
	for i := range c.Bridges {
		b := &c.Bridges[i]
		o.at[b.Name] = oraclePlace{b.Name, &oraclePort{Name: b.Name}}
		for j := range b.Ports {
			p := &b.Ports[j]
			o.at[p.Name] = oraclePlace{b.Name, p}
			for _, iface := range p.interfaces() {
				o.at[iface] = oraclePlace{b.Name, p}
			}
		}
	}
	byKey := map[string]*oracleDelivery{}
	for name, s := range c.Sessions {
		if s.Enabled == nil || *s.Enabled {
			o.names = append(o.names, name)
		}
	}
	slices.Sort(o.names)
	for _, name := range o.names {
		s := c.Sessions[name]
		var ports, places []string
		for i := range s.Destinations {
			port := o.destination(&s.Destinations[i])
			if port == "" {
				places = append(places, yamlOf(s.Destinations[i]))
				continue
			}
			o.receives[port] = true
			ports, places = append(ports, port), append(places, port)
		}
		if len(ports) == 0 {
			continue
		}
		sets := slices.Collect(slices.Chunk(ports, 1))
		if s.Treatment.Balance != "" {
			slices.Sort(places)
			slices.Sort(ports)
			sets = [][]string{ports}
		} else {
			places = nil
		}
		for _, set := range sets {
			treatment := s.Treatment.key()
			key := strings.Join(append(places, set...), " ") + "\n" + treatment
			if byKey[key] == nil {
				byKey[key] = &oracleDelivery{oracleTreatment: s.Treatment, treatment: treatment, key: key, ports: set}
				o.deliveries = append(o.deliveries, byKey[key])
			}
			byKey[key].sessions = append(byKey[key].sessions, name)
		}
	}
	return o
}

// destination is the Port that a destination names, nothing if it is absent.
func (o *oracle) destination(d *oracleDestination) string {
	nic := 0
	for i := range o.Bridges {
		for j := range o.Bridges[i].Ports { // by ofport: they are numbered in this order
			p := &o.Bridges[i].Ports[j]
			if !o.selects(&oracleSelector{Interface: d.Interface, VM: d.VM, IDs: d.IDs}, o.Bridges[i].Name, p) {
				continue
			}
			if d.NIC == nil || *d.NIC == nic {
				return p.Name
			}
			nic++
		}
	}
	return ""
}

// role is what the port is to the host.
func (o *oracle) role(bridge string, p *oraclePort) string {
	for _, ids := range []map[string]string{p.PortIDs, p.IDs} {
		if role := ids["spanctl-role"]; role != "" {
			return role
		}
	}
	switch {
	case len(p.Members) > 0:
		return "uplink"
	case p.Name == bridge:
		return "host"
	case p.vm("*") || p.IDs["attached-mac"] != "":
		return "guest"
	}
	return ""
}

// guestKeys are where hypervisors write a guest's name or UUID.
var oracleGuestKeys = []string{"vm-id", "xs-vm-uuid", "xen-vm-uuid", "xen-vm-name", "vm-uuid", "iface-id"}

func (p *oraclePort) vm(glob string) bool {
	return slices.ContainsFunc(oracleGuestKeys, func(key string) bool { return p.IDs[key] != "" && globbed(glob, p.IDs[key]) })
}

func globbed(glob, name string) bool {
	ok, err := path.Match(glob, name)
	if err != nil {
		panic(err) // they are written by us
	}
	return ok
}

// selects tells whether the selector names the port, whatever VLANs and direction it has.
func (o *oracle) selects(e *oracleSelector, bridge string, p *oraclePort) bool {
	for key, glob := range e.IDs {
		_, onInterface := p.IDs[key]
		_, onPort := p.PortIDs[key]
		if !(onInterface && globbed(glob, p.IDs[key])) && !(onPort && globbed(glob, p.PortIDs[key])) {
			return false
		}
	}
	named := e.Interface == "" || globbed(e.Interface, p.Name)
	for _, iface := range p.interfaces() {
		named = named || globbed(e.Interface, iface)
	}
	return named && (e.VM == "" || p.vm(e.VM)) && (e.Bridge == "" || globbed(e.Bridge, bridge)) &&
		(e.MAC == "" || strings.EqualFold(p.IDs["attached-mac"], e.MAC)) &&
		(e.Role == "" || e.Role == "all" || e.Role == o.role(bridge, p))
}

// foreign tells whether the port is a foreign mirror's output.
func (o *oracle) foreign(port string) bool {
	return slices.ContainsFunc(o.Foreign, func(m oracleForeign) bool { return m.Output == port })
}

// source tells whether the session copies what the port's owner sends (from), or what is sent to it, in the VLAN.
func (o *oracle) source(name, port string, from bool, vlan uint16) bool {
	where, ok := o.at[port]
	if !ok || o.receives[where.port.Name] || o.foreign(where.port.Name) || o.role(where.bridge, where.port) == "none" {
		return false
	}
	s := o.Sessions[name]
	named := func(kind string, list []oracleSelector) bool {
		for i := range list {
			e := &list[i]
			if e.Direction == map[bool]string{true: "to", false: "from"}[from] || !o.selects(e, where.bridge, where.port) {
				continue
			}
			inside := len(e.VLANs) == 0 || e.VLANs.has(vlan)
			o.count.selector(kind, e, inside)
			if inside {
				return true
			}
		}
		return false
	}
	tagged := slices.Contains(strings.Split(where.port.IDs["spanctl"], ","), name)
	if tagged {
		o.count.of("sources tag", true)
	}
	return (named("sources", s.Sources) || tagged) && !named("except", s.Except)
}

// A oraclePassage is what a packet does on one bridge: the real ports that it arrives at, if it does, and leaves by.
type oraclePassage struct {
	bridge string
	in     string
	outs   []string
}

// A oracleCopies is the copies that one delivery makes of a packet on one bridge. Of frames one must come: they differ in what the
// tags say beside the VLAN, and depend on which port the copy was taken at.
type oracleCopies struct {
	*oracleDelivery
	bridge     string
	connection string
	frames     [][]byte
}

// wants is the copies that must come of a packet, whatever balance and sample decide.
func (o *oracle) wants(p *oraclePacket, passages []oraclePassage) []oracleCopies {
	in := o.at[p.In].port
	inside, ok := in.enter(p.Tags)
	if !ok || o.reserved[in.Name] {
		return nil
	}
	known := 1
	if in.mode() == "dot1q-tunnel" {
		known = 2
	}
	h := o.seen(p, inside[:min(known, len(inside))])
	var list []oracleCopies
	for _, d := range o.deliveries {
		seen := h
		if p.Frag == "first" && o.filtered[d.ports[0]] && len(d.Include) == 1 {
			seen.ports = h.ip && p.hasPorts() && !d.Include[0].onlyPort0()
		}
		passes := o.passes(&d.oracleTreatment, seen)
		for _, c := range passages {
			var tags [][]oracleTag
			o.crossed(d, c, func(port string, from bool) {
				if from {
					tags = append(tags, inside)
				} else {
					tags = append(tags, o.at[port].port.again(inside, known))
				}
			}, h.vlan)
			o.count.decision(o, d, h, c, len(tags) > 0, passes)
			if len(tags) == 0 || !passes {
				continue
			}
			w := oracleCopies{oracleDelivery: d, bridge: c.bridge, connection: h.connection()}
			for _, t := range tags {
				frame := p.frame()
				w.frames = append(w.frames, d.treated(frame, t))
				last := w.frames[len(w.frames)-1]
				o.count.copied(&d.oracleTreatment, withTags(frame, t), last, t)
				if n := d.Snaplen; n > 0 && len(last) == n && len(p.Tags) > 0 && p.Tags[0].VID == 0 {
					// The priority tag goes on the way. The switch takes it off after it has cut what leaves first.
					w.frames = append(w.frames, last[:n-4])
				}
			}
			list = append(list, w)
		}
	}
	return list
}

// crossed calls yield for each port at which one of the delivery's sessions takes a copy.
func (o *oracle) crossed(d *oracleDelivery, c oraclePassage, yield func(port string, from bool), vlan uint16) {
	for _, name := range d.sessions {
		if c.in != "" && o.source(name, c.in, true, vlan) {
			yield(c.in, true)
		}
		for _, out := range c.outs {
			if o.source(name, out, false, vlan) {
				yield(out, false)
			}
		}
	}
}

// passes tells whether include and exclude let the packet through.
func (o *oracle) passes(t *oracleTreatment, h oracleHeaders) bool {
	any := func(kind string, list []oracleMatch) bool {
		found := false
		for i := range list {
			found = list[i].holds(h, func(field string, holds bool) { o.count.of(kind+" "+field, holds) }) || found
		}
		return found
	}
	included := any("include", t.Include) || len(t.Include) == 0
	return !any("exclude", t.Exclude) && included
}

// treated is the copy of a frame that has the tags within the switch.
func (t *oracleTreatment) treated(frame []byte, tags []oracleTag) []byte {
	if t.StripVLAN && len(tags) > 0 {
		tags = tags[1:]
	}
	frame = withTags(frame, tags)
	if t.Snaplen > 0 && len(frame) > t.Snaplen {
		frame = frame[:t.Snaplen]
	}
	return frame
}

// connection names the packet's, the same for both directions. Where the switch sees no IP it is the MAC addresses, in the
// VLAN.
func (h *oracleHeaders) connection() string {
	ends := []string{h.SrcMAC, h.DstMAC}
	kind := fmt.Sprint("type ", h.etherType, " in")
	switch {
	case !h.ip:
		for _, t := range h.known {
			kind += fmt.Sprint(" ", t.VID)
		}
	case h.Frag != "":
		ends, kind = []string{h.Src, h.Dst}, "fragments"
	case h.hasPorts():
		ends = []string{fmt.Sprint(h.Src, " ", h.SrcPort), fmt.Sprint(h.Dst, " ", h.DstPort)}
		kind = fmt.Sprint("protocol ", h.Proto)
	default:
		ends, kind = []string{h.Src, h.Dst}, fmt.Sprint("protocol ", h.Proto)
	}
	slices.Sort(ends)
	return kind + " " + strings.Join(ends, " and ")
}
