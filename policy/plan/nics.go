package plan

import (
	"cmp"
	"slices"
	"strings"
)

// keyIfaceStatus is active or inactive, of one of several devices that are one
// NIC by their iface-id (ovs-vswitchd.conf.db(5)).
const keyIfaceStatus = "iface-status"

// inUse leaves out, of the ports of a guest, those of a NIC that has another one
// in use. Xen gives a guest that boots as on hardware two devices for each NIC, an
// emulated one beside the vif, and the guest uses the emulated one until its
// drivers for Xen unplug that. XAPI has both marked by iface-status, a moment
// after they are there (ovs-xapi-sync); xl marks none.
func (x *portIndex) inUse(ports []int32) []int32 {
	if len(ports) < 2 {
		return ports
	}
	live, emulated := map[string]bool{}, map[string]bool{} // by NIC
	for _, port := range ports {
		if nic, isEmulated := x.nicOf(port); x.live(port) {
			live[nic] = true
			emulated[nic] = emulated[nic] || isEmulated
		}
	}
	return slices.DeleteFunc(slices.Clone(ports), func(port int32) bool {
		nic, isEmulated := x.nicOf(port)
		if !x.live(port) {
			return nic != "" && live[nic]
		}
		return emulated[nic] && !isEmulated
	})
}

// byNIC sorts ports of a guest by ofport, each having the lowest that any device of
// its NIC has among all: a NIC keeps its number when another device comes to it.
func (x *portIndex) byNIC(ports, all []int32) {
	first := func(port int32) int {
		lowest := x.ofport(port)
		nic, _ := x.nicOf(port)
		for _, other := range all {
			if same, _ := x.nicOf(other); nic != "" && same == nic && x.ofport(other) > 0 {
				lowest = min(lowest, x.ofport(other))
			}
		}
		return lowest
	}
	slices.SortStableFunc(ports, func(a, b int32) int { return cmp.Compare(first(a), first(b)) })
}

// live is false for a port that the hypervisor has marked as not in use.
func (x *portIndex) live(port int32) bool {
	ifaces := x.ports[port].Interfaces
	return len(ifaces) != 1 || ifaces[0].ExternalIDs[keyIfaceStatus] != "inactive"
}

// nicOf tells which NIC a port is a device of, and whether it is the emulated one
// of Xen's two: tap1.0 (XAPI) or vif1.0-emu (xl) beside vif1.0, after the numbers
// of the guest and of its NIC. Other devices are of one NIC by iface-id; the NIC
// is empty where nothing tells.
func (x *portIndex) nicOf(port int32) (nic string, emulated bool) {
	name := x.ports[port].Name
	for _, form := range []struct {
		before, after string
		emulated      bool
	}{{"vif", "", false}, {"tap", "", true}, {"vif", "-emu", true}} {
		if matchesDigits(form.before+"#.#"+form.after, name) {
			return strings.TrimSuffix(strings.TrimPrefix(name, form.before), form.after), form.emulated
		}
	}
	if ifaces := x.ports[port].Interfaces; len(ifaces) == 1 {
		return ifaces[0].ExternalIDs["iface-id"], false
	}
	return "", false
}
