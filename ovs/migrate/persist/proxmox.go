package persist

import (
	"slices"
	"strconv"
	"strings"
)

// Proxmox reads and writes /etc/network/interfaces itself (its web interface), and takes a bridge for one of Open vSwitch
// by "ovs_type" alone. Its ifupdown2 writes the rows again by what is there, so all of them is.

// keyReplaces is migrate.KeyReplaces: by it revert knows the bridge, also when ifupdown2 has cleared its columns.
const keyReplaces = "spanctl-replaces"

// proxmoxBridge are the lines of the bridge's stanza.
func (u *ifupdown) proxmoxBridge(ports []string, mtu string) []string {
	lines := []string{"ovs_type OVSBridge"}
	if len(ports) > 0 {
		lines = append(lines, "ovs_ports "+strings.Join(ports, " "))
	}
	if mtu != "" {
		lines = append(lines, "ovs_mtu "+mtu)
	}
	extra := "ovs_extra set bridge ${IFACE} external-ids:" + keyReplaces + "=" + u.Bridge
	if u.MAC != "" {
		extra += " -- set bridge ${IFACE} other-config:hwaddr=" + u.MAC
	}
	lines = append(lines, extra)
	return lines
}

// proxmoxPort are the lines of a port's stanza.
func (u *ifupdown) proxmoxPort(p Port) []string {
	lines := []string{"ovs_type OVSPort"}
	if len(p.Members) > 0 {
		lines = []string{"ovs_type OVSBond", "ovs_bonds " + strings.Join(p.Members, " ")}
	}
	lines = append(lines, "ovs_bridge "+u.name())
	options := slices.Clone(p.Options)
	if p.Tag != 0 {
		options = append(options, "tag="+strconv.Itoa(p.Tag))
	}
	if len(p.Trunks) > 0 {
		var trunks []string
		for _, vlan := range p.Trunks {
			trunks = append(trunks, strconv.Itoa(vlan))
		}
		options = append(options, "trunks="+strings.Join(trunks, ","))
	}
	if len(options) > 0 {
		lines = append(lines, "ovs_options "+strings.Join(options, " "))
	}
	return lines
}

// addPorts adds stanzas of ports that have none, before the bridge's, and has all ports brought up at boot.
func (u *ifupdown) addPorts(ports []string) {
	f, at := u.begin()
	if f == nil {
		return
	}
	var add strings.Builder
	for _, name := range ports {
		port, known := u.port(name)
		if !known {
			continue
		}
		stanza := !u.has(name) || len(port.Members) > 0
		if stanza || !u.started(name) {
			add.WriteString("auto " + name + "\n")
		}
		if stanza {
			add.WriteString("iface " + name + " inet manual\n\t" + strings.Join(u.proxmoxPort(port), "\n\t") + "\n\n")
		}
	}
	f.lines[at].raw = add.String() + f.lines[at].raw
}

// begin is the line where the bridge's part of the file begins: its line of "auto", or its stanza.
func (u *ifupdown) begin() (*interfaces, int) {
	for _, f := range u.files {
		for i, l := range f.lines {
			started := l.starts() && slices.Contains(l.words[1:], u.Bridge)
			if started || slices.Contains(f.stanzas(u.Bridge), i) {
				return f, i
			}
		}
	}
	return nil, 0
}
