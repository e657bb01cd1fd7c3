package migrate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// FormatVersion is that of what is kept on disk.
const FormatVersion = 1

// A State is a Linux bridge as the kernel tells of it, at one moment.
type State struct {
	FormatVersion int               `json:"format_version"`
	Bridge        Link              `json:"bridge"`
	Settings      map[string]uint64 `json:"settings"` // by ip-link(8)'s names; what the kernel does not know is not in it
	Querier       bool              `json:"querier"`  // somebody asks for group memberships on this segment
	VLANs         []VLAN            `json:"vlans"`    // of the bridge's own port
	Ports         []Port            `json:"ports"`    // in the order in which they joined
	Host          *Host             `json:"host"`
	FDB           []Record          `json:"fdb"` // entries that somebody has given, of ports and of the bridge
	Around        Around            `json:"around"`
}

// A Link is a network device.
type Link struct {
	Name     string `json:"name"`
	Index    int    `json:"index"`
	Kind     string `json:"kind"` // of ip-link(8): veth, bond, ...; "device" is a physical one
	MAC      string `json:"mac"`
	MTU      int    `json:"mtu"`
	Up       bool   `json:"up"`
	Promisc  bool   `json:"promisc"` // as somebody has set it: not for being a port
	TxQueue  int    `json:"txqueuelen"`
	Alias    string `json:"alias,omitempty"`
	AllMulti bool   `json:"allmulticast"`
}

// A Port is a port of the bridge.
type Port struct {
	Link
	Number   int               `json:"number"`
	Settings map[string]uint64 `json:"settings"`
	VLANs    []VLAN            `json:"vlans"`
	Sysctls  map[string]string `json:"sysctls"`        // those that the userspace datapath needs otherwise
	User     string            `json:"user,omitempty"` // who has it: see users
}

// A VLAN is one that a port is in, as bridge-vlan(8) shows it.
type VLAN struct {
	ID       uint16 `json:"id"`
	PVID     bool   `json:"pvid,omitempty"`     // what comes untagged is in it
	Untagged bool   `json:"untagged,omitempty"` // what leaves is untagged
}

// Around is what else there is of the bridge on the host.
type Around struct {
	Master      string   `json:"master,omitempty"`        // what the bridge itself is a port of
	Uppers      []string `json:"uppers"`                  // devices on top of it: VLANs, macvlans, tunnels
	Netfilter   []string `json:"netfilter"`               // what of the host's firewall looks at bridged packets
	Qdiscs      []string `json:"qdiscs"`                  // traffic control of the bridge's own device
	PacketUsers []string `json:"packet_users"`            // programs with a packet socket on it: DHCP clients
	Owner       string   `json:"owner,omitempty"`         // a program that makes and keeps this bridge
	MulticastDB int      `json:"mdb_permanent,omitempty"` // permanent entries of the multicast database
}

// filtering tells whether the bridge heeds VLANs.
func (s *State) filtering() bool { return s.Settings["vlan_filtering"] != 0 }

// stp tells whether the kernel or a daemon runs the spanning tree protocol on it.
func (s *State) stp() bool { return s.Settings["stp_state"] != 0 }

// port is the port of that name, nil if there is none.
func (s *State) port(name string) *Port {
	for i := range s.Ports {
		if s.Ports[i].Name == name {
			return &s.Ports[i]
		}
	}
	return nil
}

// Capture reads a Linux bridge of this process's network namespace.
func Capture(name string) (*State, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("reading network devices: %w", err)
	}
	at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == name })
	if at < 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoBridge, name)
	}
	if links[at].Type() != "bridge" {
		return nil, fmt.Errorf("%w: %s is of kind %s", ErrNoBridge, name, links[at].Type())
	}
	return captureOf(links[at], links)
}

func captureOf(bridge netlink.Link, links []netlink.Link) (*State, error) {
	s := &State{FormatVersion: FormatVersion, Bridge: linkOf(bridge), Ports: []Port{}}
	infos, err := linkInfos()
	if err != nil {
		return nil, err
	}
	own := infos[s.Bridge.Index]
	if s.Settings, err = bridgeSettings.read(own.data); err != nil {
		return nil, fmt.Errorf("bridge %s: %w", s.Bridge.Name, err)
	}
	if attrs, err := nl.ParseRouteAttr(own.data); err == nil {
		for _, a := range attrs {
			s.Querier = s.Querier || a.Attr.Type&nl.NLA_TYPE_MASK == bridgeQuerierState && len(a.Value) > 0
		}
	}
	vlans, err := vlansOf()
	if err != nil {
		return nil, err
	}
	s.VLANs = vlans[s.Bridge.Index]
	for _, link := range links {
		if link.Attrs().MasterIndex != s.Bridge.Index {
			continue
		}
		p := Port{Link: linkOf(link), VLANs: vlans[link.Attrs().Index]}
		info := infos[p.Index]
		if p.Settings, err = portSettings.read(info.port); err != nil {
			return nil, fmt.Errorf("port %s: %w", p.Name, err)
		}
		if attrs, err := nl.ParseRouteAttr(info.port); err == nil {
			for _, a := range attrs {
				if a.Attr.Type&nl.NLA_TYPE_MASK == portNumber && len(a.Value) >= 2 {
					p.Number = int(native.Uint16(a.Value))
				}
			}
		}
		p.Sysctls = portSysctls(p.Name)
		s.Ports = append(s.Ports, p)
	}
	slices.SortFunc(s.Ports, func(a, b Port) int { return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Name, b.Name)) })
	if s.Host, err = captureHost(device{s.Bridge.Name, s.Bridge.Index}); err != nil {
		return nil, fmt.Errorf("bridge %s: %w", s.Bridge.Name, err)
	}
	if s.FDB, err = s.givenFDB(); err != nil {
		return nil, err
	}
	return s, s.lookAround(bridge, links)
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	return Link{
		Name: a.Name, Index: a.Index, Kind: l.Type(), MAC: a.HardwareAddr.String(), MTU: a.MTU, Up: isUp(l),
		Promisc: a.RawFlags&unix.IFF_PROMISC != 0, AllMulti: a.RawFlags&unix.IFF_ALLMULTI != 0, TxQueue: a.TxQLen, Alias: a.Alias,
	}
}

// A linkInfo is what the kernel tells of a device as a bridge, and as a port of one.
type linkInfo struct{ data, port []byte }

func linkInfos() (map[int]linkInfo, error) {
	messages, err := dump(unix.RTM_GETLINK, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize())
	if err != nil {
		return nil, fmt.Errorf("reading network devices: %w", err)
	}
	infos := map[int]linkInfo{}
	for _, m := range messages {
		r, err := parse(m, unix.SizeofIfInfomsg)
		if err != nil {
			return nil, err
		}
		nested, err := nl.ParseRouteAttr(r.attr(unix.IFLA_LINKINFO))
		if err != nil {
			return nil, err
		}
		var info linkInfo
		for _, a := range nested {
			switch a.Attr.Type & nl.NLA_TYPE_MASK {
			case nl.IFLA_INFO_DATA:
				info.data = a.Value
			case nl.IFLA_INFO_SLAVE_DATA:
				info.port = a.Value
			}
		}
		infos[int(int32(native.Uint32(m[4:])))] = info
	}
	return infos, nil
}

// vlansOf are the VLANs of ports, by the device's index. A kernel without them tells of none.
func vlansOf() (map[int][]VLAN, error) {
	list, err := netlink.BridgeVlanList()
	if err != nil {
		return nil, fmt.Errorf("reading VLANs of ports: %w", err)
	}
	vlans := map[int][]VLAN{}
	for index, infos := range list {
		for _, i := range infos {
			v := VLAN{ID: i.Vid, PVID: i.PortVID(), Untagged: i.EngressUntag()}
			if !slices.Contains(vlans[int(index)], v) { // a bridge has some of its own twice
				vlans[int(index)] = append(vlans[int(index)], v)
			}
		}
	}
	return vlans, nil
}

// givenFDB are the entries of the forwarding database that somebody has given: those that the kernel makes are of addresses
// of the ports and the bridge.
func (s *State) givenFDB() ([]Record, error) {
	messages, err := dump(unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, append([]byte{unix.AF_BRIDGE}, make([]byte, ndmHeader-1)...))
	if err != nil {
		return nil, fmt.Errorf("reading the forwarding database: %w", err)
	}
	members, own := map[int]bool{s.Bridge.Index: true}, map[string]bool{s.Bridge.MAC: true}
	for i := range s.Ports {
		members[s.Ports[i].Index], own[s.Ports[i].MAC] = true, true
	}
	list := []Record{}
	for _, m := range messages {
		r, err := parse(m, ndmHeader)
		if err != nil {
			return nil, err
		}
		given := native.Uint16(r.Header[ndmState:])&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0
		index := int(native.Uint32(r.Header[ndmIndex:]))
		r.Text = macText(r.attr(unix.NDA_LLADDR))
		// Multicast addresses on "self" are those that the device itself listens to.
		if !given || !members[index] || own[r.Text] || r.Header[ndmFlags]&unix.NTF_SELF != 0 {
			continue
		}
		for i := range s.Ports {
			if s.Ports[i].Index == index {
				r.Text += " at " + s.Ports[i].Name
			}
		}
		r.drop(unix.NDA_CACHEINFO)
		list = append(list, r)
	}
	return list, nil
}
