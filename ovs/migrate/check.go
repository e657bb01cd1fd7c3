package migrate

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Finding is something about a bridge that an operator must know before it is migrated.
type Finding struct {
	// Refused is set of what cannot be carried: the bridge is not migrated then.
	Refused bool `json:"refused"`
	// Text says what it is, what that means, and what can be done.
	Text string `json:"text"`
}

// A Switch is what Check must know of Open vSwitch.
type Switch struct {
	Bridges, Ports []string // that it has already
	Datapath       string   // what the new bridge shall have; empty is "system"
	KernelDatapath bool     // the kernel has one
	Elsewhere      string   // why ovs-vswitchd does not have this process's network devices, empty if it has
}

// Check says what stands against a migration, and what will be otherwise after it.
func Check(s *State, l *Layout, sw *Switch) []Finding {
	var list []Finding
	refuse := func(format string, args ...any) { list = append(list, Finding{true, fmt.Sprintf(format, args...)}) }
	warn := func(format string, args ...any) { list = append(list, Finding{false, fmt.Sprintf(format, args...)}) }

	checkAround(s, refuse, warn)
	checkBridge(s, refuse, warn)
	checkHost(s, refuse, warn)
	for i := range s.Ports {
		checkPort(s, &s.Ports[i], refuse)
	}
	if sw != nil {
		checkSwitch(l, sw, refuse)
	}
	if err := validName(l.New); err != "" {
		refuse("the new bridge cannot be called %q: %s", l.New, err)
	}
	slices.SortStableFunc(list, func(a, b Finding) int {
		switch {
		case a.Refused == b.Refused:
			return 0
		case a.Refused:
			return -1
		}
		return 1
	})
	return list
}

// Refusals are the texts of the findings that are.
func Refusals(list []Finding) []string {
	var texts []string
	for _, f := range list {
		if f.Refused {
			texts = append(texts, f.Text)
		}
	}
	return texts
}

// validName says what is wrong with a bridge's name (dev_valid_name in the kernel's net/core/dev.c).
func validName(name string) string {
	switch {
	case len(name) == 0 || len(name) >= unix.IFNAMSIZ:
		return fmt.Sprintf("names have 1 to %d characters", unix.IFNAMSIZ-1)
	case name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n"):
		return "it is no name of a device"
	}
	return ""
}

type say func(format string, args ...any)

func checkAround(s *State, refuse, warn say) {
	a := &s.Around
	if a.Owner != "" {
		refuse("it belongs to %s, which makes it anew as a Linux bridge: set that up for Open vSwitch instead", a.Owner)
	}
	if a.Master != "" {
		refuse("it is itself a port of %s: take it out there first", a.Master)
	}
	if len(a.Uppers) > 0 {
		refuse("devices are on top of it and would end with it: %s; make them ports of another kind, or remove them for now", strings.Join(a.Uppers, ", "))
	}
	if len(a.Netfilter) > 0 {
		warn("the host's firewall looks at what it forwards (%s), and not at what Open vSwitch forwards: rules that protect guests there no longer do", strings.Join(a.Netfilter, ", "))
	}
	if len(a.Qdiscs) > 0 {
		warn("its own traffic control (%s) is not carried", strings.Join(a.Qdiscs, ", "))
	}
	if len(a.PacketUsers) > 0 {
		warn("%s listens on it, as DHCP clients and servers do, and will listen on a device that is no more: start it again after the migration", strings.Join(a.PacketUsers, ", "))
	}
	if a.MulticastDB > 0 {
		refuse("its multicast database has %d permanent entries, which Open vSwitch cannot be given: remove them (bridge mdb)", a.MulticastDB)
	}
}

func checkBridge(s *State, refuse, warn say) {
	if s.Settings["vlan_protocol"] == 0xa888 || s.Settings["vlan_protocol"] == 0x88a8 {
		refuse("it filters by service tags (802.1ad), by which a port of Open vSwitch cannot")
	}
	if _, _, _, err := portVLANs(s.VLANs); err != nil && s.filtering() {
		// Open vSwitch has no port without VLANs: the host would have them all.
		refuse("the host's VLANs cannot be carried: %v", err)
	}
	if s.Settings["ageing_time"] < 1500 {
		refuse("it forgets addresses after %d s, and Open vSwitch not before 15 s: raise ageing_time", s.Settings["ageing_time"]/100)
	}
	if s.stp() {
		warn("STP is on: every port waits for twice the forward delay (%d s) before it forwards, after the migration and after going back", 2*s.Settings["forward_delay"]/100)
	}
	switch {
	case s.Settings["mcast_snooping"] == 0:
	case s.Settings["mcast_querier"] != 0:
		refuse("it asks for multicast group memberships (mcast_querier), which Open vSwitch cannot: let another do so, and turn it off")
	case !s.Querier:
		warn("multicast snooping is on and has no effect, for nobody asks for memberships here: Open vSwitch floods multicast too, and snooping stays off there")
	}
	if s.Settings["group_fwd_mask"] != 0 {
		warn("it forwards some frames to reserved addresses (group_fwd_mask %#x); Open vSwitch forwards all of them or none, and will forward all", s.Settings["group_fwd_mask"])
	}
}

func checkHost(s *State, refuse, warn say) {
	for i := range s.Host.Routes {
		if r := &s.Host.Routes[i]; r.attr(rtaNexthop) != nil {
			refuse("route %s goes by a nexthop object (ip-nexthop(8)), which would end with the device: write its gateway", r.Text)
		}
	}
	for i := range s.Host.Addresses {
		if r := &s.Host.Addresses[i]; r.lifetime() != forever {
			warn("address %s has a lifetime: what renews it must be told of the new device, by a restart", r.Text)
		}
	}
	if len(s.FDB) > 0 {
		warn("%d given entries of the forwarding database are not carried (%s): addresses are learnt", len(s.FDB), s.FDB[0].Text)
	}
}

// plainPort are the values of a port's settings that mean nothing special; others have no counterpart in a Port row.
var plainPort = map[string]uint64{
	"hairpin": 0, "guard": 0, "root_block": 0, "learning": 1, "flood": 1, "proxy_arp": 0, "proxy_arp_wifi": 0, "mcast_flood": 1,
	"mcast_to_unicast": 0, "vlan_tunnel": 0, "bcast_flood": 1, "group_fwd_mask": 0, "neigh_suppress": 0, "locked": 0, "mab": 0,
	"neigh_vlan_suppress": 0, "mcast_router": 1, "mcast_max_groups": 0,
}

func checkPort(s *State, p *Port, refuse say) {
	for _, c := range portSettings.list {
		plain, known := plainPort[c.name]
		if v, told := p.Settings[c.name]; known && told && v != plain {
			refuse("port %s has %s %d, which a port of Open vSwitch cannot have: set it to %d (bridge link set)", p.Name, c.name, v, plain)
		}
	}
	if s.filtering() {
		if _, _, _, err := portVLANs(p.VLANs); err != nil {
			refuse("port %s: %v: change its VLANs (bridge vlan)", p.Name, err)
		}
	}
	if p.Kind == "openvswitch" {
		refuse("port %s is a device of Open vSwitch already", p.Name)
	}
}

func checkSwitch(l *Layout, sw *Switch, refuse say) {
	if sw.Elsewhere != "" {
		refuse("%s", sw.Elsewhere)
	}
	if slices.Contains(sw.Bridges, l.New) {
		refuse("Open vSwitch has a bridge %s already: give another --name, or remove it", l.New)
	}
	for _, name := range append(l.portNames(), l.New) {
		if slices.Contains(sw.Ports, name) {
			refuse("Open vSwitch has a port %s already: remove it (ovs-vsctl del-port)", name)
		}
	}
	if (sw.Datapath == "" || sw.Datapath == "system") && !sw.KernelDatapath {
		refuse("the kernel has no datapath of Open vSwitch: load the module openvswitch, or choose --datapath netdev, which is slower")
	}
}
