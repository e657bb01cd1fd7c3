package migrate

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lookAround finds who else has to do with the bridge.
func (s *State) lookAround(bridge netlink.Link, links []netlink.Link) error {
	a := Around{Uppers: []string{}, Netfilter: []string{}, Qdiscs: []string{}, PacketUsers: []string{}}
	members := map[string][]string{} // of bonds
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Index == bridge.Attrs().MasterIndex {
			a.Master = attrs.Name
		}
		// The parent of one in another namespace is another device.
		if attrs.NetNsID < 0 && (attrs.ParentIndex == s.Bridge.Index || parentOfTunnel(link) == s.Bridge.Index) {
			a.Uppers = append(a.Uppers, attrs.Name+" ("+link.Type()+")")
		}
		for _, master := range links {
			if master.Type() == "bond" && attrs.MasterIndex == master.Attrs().Index {
				members[master.Attrs().Name] = append(members[master.Attrs().Name], attrs.Name)
			}
		}
	}
	a.Netfilter = append(bridgeNetfilter(), bridgeTables()...)
	qdiscs, err := netlink.QdiscList(bridge)
	if err != nil {
		return fmt.Errorf("reading traffic control of %s: %w", s.Bridge.Name, err)
	}
	for _, q := range qdiscs {
		if q.Type() != "noqueue" {
			a.Qdiscs = append(a.Qdiscs, q.Type())
		}
	}
	a.PacketUsers = packetUsers(s.Bridge.Index)
	a.Owner = owner(s.Bridge.Name)
	network, users, guests := askLibvirt(libvirtState, s.Bridge.Name)
	if network != "" {
		a.Owner = "network " + network + " of libvirt"
	}
	a.Libvirt = users
	a.MulticastDB = permanentGroups(s.Bridge.Index)
	s.Around = a
	taps := tapUsers()
	for i := range s.Ports {
		p := &s.Ports[i]
		p.User = user(&p.Link, taps[p.Name], members[p.Name])
		if guest, known := guests[p.Name]; known {
			p.User, p.ExternalIDs = "libvirt domain "+guest.name, guest.ids
			if guest.filter != "" {
				s.Around.Netfilter = append(s.Around.Netfilter, fmt.Sprintf("libvirt's filter %s of domain %s", guest.filter, guest.name))
			}
		}
	}
	return nil
}

// parentOfTunnel is the device that a tunnel is bound to, 0 for none.
func parentOfTunnel(link netlink.Link) int {
	if vxlan, ok := link.(*netlink.Vxlan); ok {
		return vxlan.VtepDevIndex
	}
	return 0
}

// bridgeNetfilter are the settings by which bridged packets pass the host's firewall (the kernel's br_netfilter).
func bridgeNetfilter() []string {
	list := []string{}
	for _, key := range []string{"bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"} {
		value, err := os.ReadFile("/proc/sys/net/bridge/" + key)
		if err == nil && strings.TrimSpace(string(value)) != "0" {
			list = append(list, key)
		}
	}
	return list
}

// bridgeTables are the tables of nftables that look at bridged packets (nft(8), family bridge; ebtables-nft writes them too).
func bridgeTables() []string {
	const (
		subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
		header    = 4 // struct nfgenmsg
	)
	family := []byte{unix.NFPROTO_BRIDGE, 0, 0, 0}
	messages, err := dumpOf(unix.NETLINK_NETFILTER, subsystem|unix.NFT_MSG_GETTABLE, subsystem|unix.NFT_MSG_NEWTABLE, family)
	if err != nil {
		return nil // a kernel without nftables
	}
	var list []string
	for _, m := range messages {
		if r, err := parse(m, header); err == nil {
			list = append(list, "nftables: table bridge "+r.name(unix.NFTA_TABLE_NAME))
		}
	}
	return list
}

// permanentGroups counts entries of the multicast database that somebody has given (struct br_mdb_entry: ifindex, state, ...).
func permanentGroups(bridge int) int {
	const (
		header    = 8 // struct br_port_msg: family, ifindex
		entries   = 1 // MDBA_MDB
		entry     = 1 // MDBA_MDB_ENTRY
		info      = 1 // MDBA_MDB_ENTRY_INFO
		permanent = 1 // MDB_PERMANENT
	)
	messages, err := dump(unix.RTM_GETMDB, unix.RTM_GETMDB, append([]byte{unix.AF_BRIDGE}, make([]byte, header-1)...))
	if err != nil {
		return 0 // a kernel without
	}
	count := 0
	var walk func(data []byte, path []uint16)
	walk = func(data []byte, path []uint16) {
		nested, err := parse(data, 0)
		if err != nil {
			return
		}
		for _, a := range nested.Attrs {
			switch {
			case a.Type != path[0]:
			case len(path) > 1:
				walk(a.Value, path[1:])
			case len(a.Value) > 4 && a.Value[4] == permanent:
				count++
			}
		}
	}
	for _, m := range messages {
		if len(m) >= header && int(native.Uint32(m[4:])) == bridge {
			walk(m[header:], []uint16{entries, entry, info})
		}
	}
	return count
}

// owner is a program that makes bridges of such a name and keeps them as it wants.
func owner(bridge string) string {
	switch {
	case bridge == "docker0" || regexp.MustCompile(`^br-[0-9a-f]{12}$`).MatchString(bridge):
		return "Docker"
	case regexp.MustCompile(`^(lxc|lxd|incus)br\d+$`).MatchString(bridge):
		return "LXC"
	case regexp.MustCompile(`^virbr\d+$`).MatchString(bridge):
		return "a network of libvirt"
	case bridge == "cni0" || bridge == "cni-podman0" || regexp.MustCompile(`^podman\d+$`).MatchString(bridge):
		return "a container network"
	case regexp.MustCompile(`^fwbr\d+i\d+$`).MatchString(bridge):
		return "the firewall of Proxmox VE"
	}
	return ""
}

// user says who has a port: the program that holds a tap device, and what hypervisors call theirs.
func user(l *Link, program string, members []string) string {
	names := map[string]string{
		`^vnet\d+$`:                    "libvirt domain",
		`^(vif|tap)\d+\.\d+(-emu)?$`:   "Xen guest",
		`^(tap|veth|fwpr)\d+[ip]\d+$`:  "Proxmox VE guest",
		`^veth[0-9a-f]{7}$`:            "container",
		`^(macvtap|lxdbr|lxc|incus).*`: "container",
	}
	who := ""
	for pattern, name := range names {
		if regexp.MustCompile(pattern).MatchString(l.Name) {
			who = name
		}
	}
	switch {
	case l.Kind == "bond":
		return "bond of " + strings.Join(members, ", ")
	case l.Kind == "device":
		return "physical device"
	case program != "" && who != "":
		return who + ", " + program
	}
	return who + program
}

// tapUsers are the programs that hold tap devices, by the device's name: the kernel tells it of an open file.
func tapUsers() map[string]string {
	users := map[string]string{}
	eachFile("/dev/net/tun", func(pid, fd string) {
		text, _ := os.ReadFile("/proc/" + pid + "/fdinfo/" + fd)
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "iff:"); ok {
				users[strings.TrimSpace(name)] = program(pid)
			}
		}
	})
	return users
}

// packetUsers are the programs with a packet socket bound to a device (packet(7)), as DHCP clients have.
func packetUsers(index int) []string {
	list := []string{}
	file, err := os.Open("/proc/net/packet")
	if err != nil {
		return list
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // sk RefCnt Type Proto Iface R Rmem User Inode
		if len(fields) < 9 || fields[4] != strconv.Itoa(index) {
			continue
		}
		eachFile("socket:["+fields[8]+"]", func(pid, _ string) {
			if who := program(pid); !slices.Contains(list, who) {
				list = append(list, who)
			}
		})
	}
	slices.Sort(list)
	return list
}

// eachFile calls f for each open file of any process that is this one.
func eachFile(target string, f func(pid, fd string)) {
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is right
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil && to == target {
			parts := strings.Split(file, "/")
			f(parts[2], parts[4])
		}
	}
}

// program names a process.
func program(pid string) string {
	name, _ := os.ReadFile("/proc/" + pid + "/comm") // it may have ended
	return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
}

func macText(b []byte) string { return net.HardwareAddr(b).String() }
