package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// ErrNoPort indicates that a packet cannot enter by the port: there is none of
// that name, or ovs-vswitchd does not have it.
var ErrNoPort = errors.New("no such port")

// A Probe is a packet on its way into a bridge.
type Probe struct {
	// Packet is the packet as it is on the wire.
	Packet policy.Packet
	// Port is the Port by which it enters, Interface the one of its Interfaces,
	// Bridge where that is now.
	Port, Interface, Bridge string
	// VLAN is the one that the bridge takes it to be in. Dropped says why the bridge
	// takes no such packet at the port, empty if it does.
	VLAN    uint16
	Dropped string
	// Notes say what was assumed of the packet and matters.
	Notes []string

	ofport int
	port   int32
	index  *portIndex
}

// Enter is the packet entering the switch by a port, or by an interface of one. MAC
// addresses that it does not say are those of the port's guest, and one that no
// port has.
func (s *Snapshot) Enter(in string, p *policy.Packet) (*Probe, error) {
	x := newPortIndex(s)
	port, iface := x.device(in)
	if port < 0 {
		return nil, fmt.Errorf("%w: %q; ovs-vsctl show lists the ports", ErrNoPort, in)
	}
	at := x.ports[port]
	probe := &Probe{Packet: *p, Port: at.Name, Interface: at.Interfaces[iface].Name, Bridge: s.Bridges[x.on[port]].Name, port: port, index: x, ofport: at.Interfaces[iface].OFPort}
	q := &probe.Packet
	if q.SrcMAC == "" {
		q.SrcMAC = x.senderMAC(port)
	}
	if q.DstMAC == "" {
		q.DstMAC = groupMAC(q)
		if q.DstMAC == "" {
			q.DstMAC = "02:00:00:00:00:02"
			probe.Notes = append(probe.Notes, "dst_mac is not said: the switch does not know where that is, and floods the packet")
		}
	}
	switch {
	case q.ProtocolSeen() != q.Protocol:
		probe.Notes = append(probe.Notes, "of later fragments over IPv6 the switch sees neither ports nor the protocol")
	case q.Fragment != "" && q.Protocol != "":
		probe.Notes = append(probe.Notes, "of fragments the switch sees no ports")
	}
	var tag *uint16
	if q.VLAN != 0 {
		tag = &q.VLAN
	}
	probe.VLAN, probe.Dropped = at.vlanOf(tag)
	return probe, nil
}

// OFPort is the OpenFlow number of the interface, 0 if it has none; why then says
// why.
func (q *Probe) OFPort() (number int, why string) {
	if q.ofport > 0 {
		return q.ofport, ""
	}
	return 0, fmt.Sprintf("ovs-vswitchd does not have interface %s", q.Interface)
}

// device finds a Port, or an Interface of one, by name: its index, -1 if there is
// none, and which of its Interfaces it is. Of a bond it is the first that is there.
func (x *portIndex) device(name string) (port int32, iface int) {
	find := func(is func(p *Port) int) (int32, int) {
		for port, p := range x.ports {
			if at := is(p); at >= 0 && len(p.Interfaces) > 0 {
				return int32(port), at
			}
		}
		return -1, 0
	}
	port, iface = find(func(p *Port) int {
		if p.Name != name {
			return -1
		}
		return max(0, slices.IndexFunc(p.Interfaces, func(i Interface) bool { return i.OFPort > 0 }))
	})
	if port < 0 {
		port, iface = find(func(p *Port) int {
			return slices.IndexFunc(p.Interfaces, func(i Interface) bool { return i.Name == name })
		})
	}
	return port, iface
}

// senderMAC is the address of what is at the port, one that nobody has if that is
// not known: the device that is the port has it only where it is the host's own.
func (x *portIndex) senderMAC(port int32) string {
	for i := range x.ports[port].Interfaces {
		iface := &x.ports[port].Interfaces[i]
		if mac := iface.ExternalIDs["attached-mac"]; mac != "" {
			return strings.ToLower(mac)
		}
		if x.roles[port] == policy.RoleHost && iface.MACInUse != "" {
			return strings.ToLower(iface.MACInUse)
		}
	}
	return "02:00:00:00:00:01"
}

// groupMAC is the address of a packet that is for a group, empty for others.
func groupMAC(p *policy.Packet) string {
	switch ip := p.Dst.As16(); {
	case p.EtherType == policy.EtherTypeARP:
		return "ff:ff:ff:ff:ff:ff" // a question, see Flow
	case p.EtherType == policy.EtherTypeLLDP:
		return "01:80:c2:00:00:0e" // IEEE 802.1AB
	case !p.IP():
	case p.Dst.Is4() && p.Dst.String() == "255.255.255.255":
		return "ff:ff:ff:ff:ff:ff"
	case p.Dst.Is4() && p.Dst.IsMulticast(): // RFC 1112
		return fmt.Sprintf("01:00:5e:%02x:%02x:%02x", ip[13]&0x7f, ip[14], ip[15])
	case p.Dst.IsMulticast(): // RFC 2464
		return fmt.Sprintf("33:33:%02x:%02x:%02x:%02x", ip[12], ip[13], ip[14], ip[15])
	}
	return ""
}

// vlanOf is the VLAN that a bridge takes a packet to be in at the port, by its
// outermost tag (nil: it has none), or why it takes none like it (xlate's
// input_vid_is_valid and xvlan_input_translate, OVS 3.1).
func (p *Port) vlanOf(tag *uint16) (vlan uint16, dropped string) {
	mode := p.VLANMode
	if mode == "" {
		if mode = "trunk"; p.Tag != nil {
			mode = "access"
		}
	}
	own := uint16(0)
	if p.Tag != nil {
		own = uint16(*p.Tag)
	}
	if tag != nil {
		vlan = *tag
	}
	switch mode {
	case "dot1q-tunnel":
		return own, ""
	case "access":
		if vlan != 0 {
			return 0, fmt.Sprintf("port %s is an access port, which takes no packets with a tag", p.Name)
		}
		return own, ""
	case "native-tagged", "native-untagged":
		if vlan == 0 || vlan == own {
			return own, ""
		}
	}
	if len(p.Trunks) > 0 && !p.Trunks.Contains(vlan) {
		if vlan == 0 {
			return 0, fmt.Sprintf("port %s takes only packets with a tag", p.Name)
		}
		return 0, fmt.Sprintf("port %s does not carry VLAN %d", p.Name, vlan)
	}
	return vlan, ""
}

// Flow is the packet in the words of ovs-fields(7), for ofproto/trace, which wants
// every field by its own name.
func (q *Probe) Flow() string {
	p := &q.Packet
	fields := []string{fmt.Sprintf("in_port=%d", q.ofport), "dl_src=" + p.SrcMAC, "dl_dst=" + p.DstMAC}
	add := func(format string, args ...any) { fields = append(fields, fmt.Sprintf(format, args...)) }
	if p.VLAN != 0 {
		add("dl_vlan=%d", p.VLAN)
	}
	switch number, _ := p.EtherType.Number(); {
	case p.EtherType == policy.EtherTypeARP:
		add("arp,arp_op=1,arp_spa=%s,arp_tpa=%s,arp_sha=%s", p.Src, p.Dst, p.SrcMAC)
	case !p.IP():
		add("dl_type=0x%04x", number)
	default:
		ip, suffix, src, dst, icmp := "ip", "", "nw_src", "nw_dst", "icmp_type=8" // an echo request
		if p.EtherType == policy.EtherTypeIPv6 {
			ip, suffix, src, dst, icmp = "ipv6", "6", "ipv6_src", "ipv6_dst", "icmpv6_type=128"
		}
		add("%s,%s=%s,%s=%s,nw_tos=%d,nw_ttl=64", protocolField(p.ProtocolSeen(), ip, suffix), src, p.Src, dst, p.Dst, p.DSCP<<2)
		switch {
		case p.Fragment != "": // the switch does not look for ports then
			add("nw_frag=%s", p.Fragment)
		case p.HasPorts():
			add("%s_src=%d,%s_dst=%d", p.Protocol, p.SrcPort, p.Protocol, p.DstPort)
		case p.ProtocolSeen() == policy.ProtocolICMP || p.ProtocolSeen() == policy.ProtocolICMP6:
			add("%s", icmp)
		}
	}
	return strings.Join(fields, ",")
}
