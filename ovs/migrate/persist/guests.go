package persist

import (
	"fmt"
	"strconv"
	"strings"
)

// Guest is an interface of a guest at the bridge, as its hypervisor has it.
type Guest struct {
	Hypervisor Hypervisor
	Name       string // of the guest, as its hypervisor's tool takes it; of Proxmox, its number
	MAC        string // of the interface; empty: not known
	NIC        string // of Proxmox, which one: net0
	Port       Port   // the guest's port at the bridge, zero if it is not known: its name as it is now, its VLANs
}

// Hypervisor is a hypervisor whose configuration of guests names the bridge.
type Hypervisor string

const (
	QEMU    Hypervisor = "libvirt"
	Xen     Hypervisor = "xen"
	Proxmox Hypervisor = "proxmox"
)

// GuestNotes say, for each guest, what its hypervisor's configuration must be that its next start finds the bridge of Open
// vSwitch. They are text for people: this package changes no guest.
func (l Layout) GuestNotes(guests []Guest) (notes []string) {
	for _, g := range guests {
		switch g.Hypervisor {
		case QEMU:
			notes = append(notes, l.libvirt(g))
		case Xen:
			notes = append(notes, l.xen(g))
		case Proxmox:
			if note := l.proxmox(g); note != "" {
				notes = append(notes, note)
			}
		}
	}
	return notes
}

// libvirt's <virtualport type='openvswitch'/> has it make the port by ovs-vsctl, and <vlan> its tag (libvirt's Domain XML).
func (l Layout) libvirt(g Guest) string {
	var b strings.Builder
	fmt.Fprintf(&b, "libvirt domain %s: virsh edit %s, and make its interface", g.Name, quote(g.Name))
	if g.MAC != "" {
		b.WriteString(" with address " + g.MAC)
	}
	fmt.Fprintf(&b, "\n  <interface type='bridge'>\n    <source bridge='%s'/>\n    <virtualport type='openvswitch'/>\n", l.name())
	switch vlans := g.Port.Trunks; {
	case g.Port.Tag != 0 && len(vlans) == 0:
		fmt.Fprintf(&b, "    <vlan>\n      <tag id='%d'/>\n    </vlan>\n", g.Port.Tag)
	case len(vlans) > 0:
		b.WriteString("    <vlan trunk='yes'>\n")
		if g.Port.Tag != 0 {
			fmt.Fprintf(&b, "      <tag id='%d' nativeMode='untagged'/>\n", g.Port.Tag)
		}
		for _, vlan := range vlans {
			if vlan != g.Port.Tag {
				fmt.Fprintf(&b, "      <tag id='%d'/>\n", vlan)
			}
		}
		b.WriteString("    </vlan>\n")
	}
	b.WriteString("    … what else it has …\n  </interface>")
	return b.String()
}

// Xen's script is the one of the vif that adds it to Open vSwitch; the VLANs stand behind the bridge
// (tools/hotplug/Linux/vif-openvswitch of Xen).
func (l Layout) xen(g Guest) string {
	bridge := l.name()
	if g.Port.Tag != 0 {
		bridge += "." + strconv.Itoa(g.Port.Tag)
	}
	for _, vlan := range g.Port.Trunks {
		bridge += ":" + strconv.Itoa(vlan)
	}
	mac := ""
	if g.MAC != "" {
		mac = "mac=" + g.MAC + ","
	}
	return fmt.Sprintf("Xen domain %s: in its file of xl,\n  vif = [ '%sscript=vif-openvswitch,bridge=%s' ]\n"+
		"  or for all domains in /etc/xen/xl.conf: vif.default.script=\"vif-openvswitch\"", g.Name, mac, bridge)
}

// Proxmox's scripts look at the bridge to see what it is. Of a bridge that keeps its name nothing is said.
func (l Layout) proxmox(g Guest) string {
	if l.name() == l.Bridge {
		return ""
	}
	return fmt.Sprintf("Proxmox guest %s: its %s is on %s: set it again with bridge=%s (qm set, pct set)",
		g.Name, g.NIC, l.Bridge, l.name())
}
