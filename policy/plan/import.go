package plan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"spanctl/policy"
)

// An Import is a foreign mirror as a session.
type Import struct {
	Bridge, Mirror, UUID string
	// Name is one that the session may have, and no other has.
	Name string
	// Session copies what the mirror does; it is nil if no policy can say that.
	Session *policy.Session
	// Notes are what the policy does not say, or why there is none.
	Notes []string
}

// Foreign makes sessions of all foreign mirrors, sorted by bridge and name. The
// names are not those of stored sessions.
func Foreign(snap *Snapshot) []Import {
	taken := map[string]bool{}
	for name := range snap.Intent {
		taken[name] = true
	}
	var list []Import
	for b := range snap.Bridges {
		bridge := &snap.Bridges[b]
		for m := range bridge.Mirrors {
			if mirror := &bridge.Mirrors[m]; !mirror.Managed() && !bridge.Managed() {
				i := Import{Bridge: bridge.Name, Mirror: mirror.Name, UUID: mirror.UUID, Name: sessionName(mirror.Name, taken)}
				taken[i.Name] = true
				i.read(snap, bridge, mirror)
				list = append(list, i)
			}
		}
	}
	return list
}

// sessionName makes a session's name of any text.
func sessionName(text string, taken map[string]bool) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, text)
	const most = 36 // so that a number fits
	name = strings.Trim(name[:min(len(name), most)], "-")
	if name == "" {
		name = "mirror"
	}
	for n, base := 2, name; taken[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

func (i *Import) note(format string, args ...any) {
	i.Notes = append(i.Notes, fmt.Sprintf(format, args...))
}

// read makes the session.
func (i *Import) read(snap *Snapshot, bridge *Bridge, m *Mirror) {
	session := &policy.Session{Description: fmt.Sprintf("mirror %s of bridge %s", m.Name, bridge.Name), Snaplen: m.Snaplen}
	if session.Sources = i.sources(bridge, m); session.Sources == nil {
		return
	}
	destination, err := importDestination(bridge, m)
	if err != nil {
		i.note("%v", err)
		return
	}
	session.Destinations = []policy.Destination{*destination}
	if m.Filter != "" {
		i.note("it copies only packets that match its filter %q, which a policy says by include", m.Filter)
		return
	}
	i.Session = session
}

// sources are the selectors of what the mirror selects, nil if that is nothing.
func (i *Import) sources(bridge *Bridge, m *Mirror) []policy.Selector {
	var vlans policy.Ranges
	for _, r := range m.SelectVLANs {
		if r.Last >= maxVLAN {
			i.note("VLAN %d, which no policy can name, is left out", maxVLAN)
			if r.Last--; r.First > r.Last {
				continue
			}
		}
		vlans = append(vlans, r)
	}
	if vlans == nil && m.SelectVLANs != nil {
		return nil
	}
	if m.SelectAll {
		return []policy.Selector{{Role: policy.RoleAll, Bridge: literal(bridge.Name), VLANs: vlans}}
	}
	names := slices.Concat(m.SelectSrc, m.SelectDst)
	slices.Sort(names)
	var list []policy.Selector
	for _, name := range slices.Compact(names) {
		port := bridge.Port(name)
		if port == nil || roleOf(port) == roleNone {
			i.note("port %s is left out: patch and tunnel ports, and those of other bridges, are not copied", name)
			continue
		}
		s := policy.Selector{Interface: literal(name), VLANs: vlans}
		if _, ok := slices.BinarySearch(m.SelectDst, name); !ok {
			s.Direction = policy.DirectionFrom
		} else if _, ok := slices.BinarySearch(m.SelectSrc, name); !ok {
			s.Direction = policy.DirectionTo
		}
		list = append(list, s)
	}
	if list == nil {
		i.note("it selects no port, and copies nothing")
	}
	return list
}

// literal is the glob that matches just the name.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// importDestination is where the mirror's copies go.
func importDestination(bridge *Bridge, m *Mirror) (*policy.Destination, error) {
	switch {
	case m.OutputPort == "" && m.OutputVLAN != nil && *m.OutputVLAN >= 1 && *m.OutputVLAN < maxVLAN:
		return &policy.Destination{VLAN: *m.OutputVLAN}, nil
	case m.OutputPort == "":
		return nil, errors.New("it has no output, and copies nothing")
	}
	port := bridge.Port(m.OutputPort)
	if port == nil {
		return nil, fmt.Errorf("its output %s is on another bridge, and it copies nothing", m.OutputPort)
	}
	if len(port.Interfaces) == 1 {
		iface := &port.Interfaces[0]
		if tunnelIdentity(iface.Type, iface.Options) != "" {
			return importTunnel(iface)
		}
		if _, isReal := realTypes[iface.Type]; !isReal {
			return nil, fmt.Errorf("its output %s is a %s port: what is behind it is for another policy", port.Name, iface.Type)
		}
	}
	role := guessRole(port)
	return &policy.Destination{Interface: literal(port.Name), Dedicated: role == policy.RoleUplink || role == policy.RoleHost}, nil
}

// importedOptions are those that a policy can say.
var importedOptions = []string{
	"remote_ip", "local_ip", "ttl", "tos", "df_default", "psk", "key", "seq", "dst_port", "erspan_ver", "erspan_idx", "erspan_hwid", "erspan_dir",
}

// importTunnel reads a tunnel's options, ovs-vswitchd.conf.db(5).
func importTunnel(iface *Interface) (*policy.Destination, error) {
	read := optionReader{iface: iface}
	common := policy.Tunnel{
		Remote: read.address("remote_ip"), Local: read.address("local_ip"), TTL: read.number("ttl", 0), TOS: read.number("tos", 0),
		DF: iface.Options["df_default"] != "false",
	}
	if !common.Remote.IsValid() {
		read.bad("remote_ip")
	}
	if _, ok := iface.Options["psk"]; ok {
		return nil, fmt.Errorf("its output %s is encrypted: put its psk into a file, and name that by psk_file", iface.Name)
	}
	for option := range iface.Options {
		if !slices.Contains(importedOptions, option) {
			read.bad(option)
		}
	}
	_, hasKey := iface.Options["key"]
	key := read.number("key", 0)
	d := &policy.Destination{}
	switch kind := strings.TrimPrefix(iface.Type, "ip6"); kind {
	case "erspan":
		if key > 1023 || iface.Options["erspan_ver"] != "1" && iface.Options["erspan_ver"] != "2" {
			return nil, fmt.Errorf("its output %s sends nothing: Open vSwitch takes a key from 0 to 1023, and erspan_ver 1 or 2", iface.Name)
		}
		d.ERSPAN = &policy.ERSPAN{Tunnel: common, Session: &key, Index: read.number("erspan_idx", 16)}
		if iface.Options["erspan_ver"] == "2" {
			d.ERSPAN.Type, d.ERSPAN.Index = policy.ERSPANTypeIII, 0
			d.ERSPAN.HWID, d.ERSPAN.Direction = read.number("erspan_hwid", 16), read.number("erspan_dir", 0)
		}
	case "gre":
		d.GRE = &policy.GRE{Tunnel: common, Seq: iface.Options["seq"] == "true"}
		if hasKey {
			k := uint32(key)
			d.GRE.Key = &k
		}
	default:
		v := &policy.VXLAN{Tunnel: common, VNI: key, Port: read.number("dst_port", 0)}
		if d.VXLAN = v; kind == "geneve" {
			d.VXLAN, d.Geneve = nil, v
		}
	}
	return d, read.err
}

// An optionReader reads options of a tunnel and keeps the first that no policy
// can say, such as those that flows set.
type optionReader struct {
	iface *Interface
	err   error
}

func (r *optionReader) bad(option string) {
	if r.err == nil {
		r.err = fmt.Errorf("its output %s has %s=%s, which no policy can say", r.iface.Name, option, r.iface.Options[option])
	}
}

func (r *optionReader) number(option string, base int) int {
	text, ok := r.iface.Options[option]
	if !ok {
		return 0
	}
	if base == 16 {
		text = strings.TrimPrefix(text, "0x")
	}
	n, err := strconv.ParseUint(text, base, 32) // base 0: as OVS reads decimal and 0x
	if err != nil {
		r.bad(option)
	}
	return int(n)
}

func (r *optionReader) address(option string) netip.Addr {
	text, ok := r.iface.Options[option]
	if !ok {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		r.bad(option)
	}
	return address
}
