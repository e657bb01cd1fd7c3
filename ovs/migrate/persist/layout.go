package persist

import "cmp"

// Layout is a migrated bridge, as it is to be after the next boot.
type Layout struct {
	Bridge string // the name of the Linux bridge that was
	New    string // the name of the bridge of Open vSwitch that is; empty: the same
	MAC    string // the bridge's address, as in other_config:hwaddr of its row; empty: not known
	MTU    int    // of the bridge's own device; 0: not known
	Ports  []Port // of the bridge, in any order
}

// Port is a port of the bridge.
type Port struct {
	Name    string
	Tag     int      // its VLAN, as in Port.tag; 0: none
	Trunks  []int    // its VLANs, as in Port.trunks; empty: all
	Members []string // the devices of a bond that Open vSwitch makes in the place of a Linux bond; empty: a device
	Options []string // further columns of its row as ovs-vsctl(8) takes them: bond_mode=balance-tcp, lacp=active
}

// name is that of the bridge of Open vSwitch.
func (l Layout) name() string { return cmp.Or(l.New, l.Bridge) }

// port is the port of that name.
func (l Layout) port(name string) (Port, bool) {
	for _, p := range l.Ports {
		if p.Name == name {
			return p, true
		}
	}
	return Port{}, false
}

// devices are what must be brought up for the port, by ip-link(8).
func (p Port) devices() []string {
	if len(p.Members) > 0 {
		return p.Members
	}
	return []string{p.Name}
}
