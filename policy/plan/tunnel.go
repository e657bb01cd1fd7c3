package plan

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"spanctl/policy"
)

// A tunnel is a tunnel destination as the rows that make it. Equal tunnels of
// one compilation are the same pointer.
type tunnel struct {
	// name is the Port's and Interface's, text what people are told, whole all that
	// the tunnel is.
	name, text, whole string
	kind              string // Interface.type
	options           map[string]string
	pskFile           string
	remote            netip.Addr
	// identity is what OVS tells tunnels apart by; of two with the same it
	// installs one, the other gets ofport -1 and "File exists" (OVS 3.1).
	identity string
	// overhead is how many bytes of IP packet it adds to a frame without its
	// Ethernet header, whose length is the MTU that a port tells.
	overhead int
	erspan   policy.ERSPANType // empty for others
	ecn      bool              // tos has bits that OVS does not set
	local    netip.Addr
}

// field is the kind by its policy field.
func (t *tunnel) field() string { return strings.TrimPrefix(t.kind, "ip6") }

func isTunnel(d *policy.Destination) bool {
	return d.ERSPAN != nil || d.GRE != nil || d.VXLAN != nil || d.Geneve != nil
}

// tunnel returns the destination's tunnel.
func (c *compiler) tunnel(d *policy.Destination) *tunnel {
	t := newTunnel(d)
	if known, ok := c.tunnels[t.whole]; ok {
		return known
	}
	c.tunnels[t.whole] = t
	return t
}

// newTunnel works out the rows of a tunnel destination. Options are as
// ovs-vswitchd.conf.db(5) says, less what it leaves out: erspan_idx and
// erspan_hwid are read as hexadecimal (ofproto's netdev-vport, OVS 3.1).
func newTunnel(d *policy.Destination) *tunnel {
	t := &tunnel{options: map[string]string{}}
	set := func(option string, value any) { t.options[option] = fmt.Sprint(value) }
	var common *policy.Tunnel
	var id string
	switch {
	case d.ERSPAN != nil:
		e := d.ERSPAN
		common, t.kind, t.erspan = &e.Tunnel, "erspan", e.Type
		t.overhead = 8 + 8 // GRE with sequence number, ERSPAN type II
		if t.erspan == "" {
			t.erspan = policy.ERSPANTypeII
		}
		if e.Session != nil {
			set("key", *e.Session)
			id = fmt.Sprintf("session %d", *e.Session)
		}
		if t.erspan == policy.ERSPANTypeIII {
			t.overhead += 4
			set("erspan_ver", 2)
			set("erspan_dir", e.Direction)
			set("erspan_hwid", strconv.FormatInt(int64(e.HWID), 16))
		} else {
			set("erspan_ver", 1)
			set("erspan_idx", strconv.FormatInt(int64(e.Index), 16))
		}
	case d.GRE != nil:
		g := d.GRE
		common, t.kind, t.pskFile = &g.Tunnel, "gre", g.PSKFile
		t.overhead = 4
		if g.Key != nil {
			set("key", *g.Key)
			id = fmt.Sprintf("key %d", *g.Key)
			t.overhead += 4
		}
		if g.Seq {
			set("seq", true)
			t.overhead += 4
		}
	default:
		v := d.VXLAN
		t.kind = "vxlan"
		if v == nil {
			v, t.kind = d.Geneve, "geneve"
		}
		common, t.pskFile = &v.Tunnel, v.PSKFile
		t.overhead = 8 + 8
		set("key", v.VNI)
		id = fmt.Sprintf("vni %d", v.VNI)
		if v.Port != 0 {
			set("dst_port", v.Port)
			id += fmt.Sprintf(" port %d", v.Port)
		}
	}
	t.text = strings.TrimSpace(fmt.Sprintf("%s %s %s", t.kind, common.Remote, id))
	t.remote = common.Remote
	t.overhead += 20 + 14
	if t.remote.Is6() {
		t.overhead += 20
		if t.kind == "erspan" || t.kind == "gre" {
			t.kind = "ip6" + t.kind
		}
	}
	set("remote_ip", common.Remote)
	if common.Local.IsValid() {
		set("local_ip", common.Local)
	}
	if common.TTL != 0 {
		set("ttl", common.TTL)
	}
	t.local, t.ecn = common.Local, common.TOS&3 != 0
	if common.TOS != 0 {
		set("tos", common.TOS)
	}
	set("df_default", common.DF)
	t.identity = tunnelIdentity(t.kind, t.options)
	t.whole = strings.Join(append(mapValue(t.options), t.kind, t.pskFile), "\n")
	t.name = shortName(t.whole)
	return t
}

// tunnelIdentity is what OVS tells tunnels apart by, empty if they are none:
// ofproto's tunnel.c compares the addresses, the key and the datapath's port,
// which is one a kind and UDP port (OVS 3.1). No key and key 0 are the same.
func tunnelIdentity(kind string, options map[string]string) string {
	switch kind {
	case "erspan", "ip6erspan", "gre", "ip6gre", "vxlan", "geneve":
	default:
		return ""
	}
	port := udpPort(kind, options)
	key := options["key"]
	if n, err := strconv.ParseUint(key, 0, 64); err == nil || key == "" { // as OVS reads it
		key = strconv.FormatUint(n, 10)
	}
	ends := []string{options["remote_ip"], options["local_ip"]}
	for i, end := range ends {
		if address, err := netip.ParseAddr(end); err == nil {
			ends[i] = address.String()
		}
	}
	return strings.Join([]string{kind, port, ends[0], ends[1], key}, "|")
}

// udpPort is the UDP port of a tunnel's packets, empty if they are not UDP.
func udpPort(kind string, options map[string]string) string {
	if p := options["dst_port"]; p != "" {
		return p
	}
	return map[string]string{"vxlan": "4789", "geneve": "6081"}[kind]
}

// refuseKind says what Open vSwitch cannot do, wherever the tunnel leads.
func refuseKind(t *tunnel) (field, problem, remedy string) {
	switch {
	case t.erspan == policy.ERSPANTypeI:
		return ".erspan.type", "Open vSwitch sends no ERSPAN type I", "use type II or III; or have the kernel send it, by a device of type erspan with erspan_ver 0 that is a port of a bridge, and name that: {interface: NAME, dedicated: true}"
	case t.ecn:
		return "." + t.field() + ".tos", "Open vSwitch sets the upper six bits of the TOS byte, and takes the others from the packet inside", "use a multiple of 4"
	}
	return "", "", ""
}

// refuseTunnel says what is wrong with a tunnel on a tap bridge of the datapath.
func (c *compiler) refuseTunnel(t *tunnel, tap, datapath string) (field, problem, remedy string) {
	switch {
	case t.pskFile != "" && datapath == "netdev":
		return "." + t.field() + ".psk_file", "the userspace datapath does not encrypt tunnels: the copies would go in clear", "leave it out, or use a bridge of the kernel's datapath"
	case t.pskFile != "" && c.standing(t) == nil && !c.snap.Local:
		return "." + t.field() + ".psk_file", "the file is on the host, and this is a remote connection", "run spanctl on the host"
	}
	if problem := c.snap.BadFiles[t.pskFile]; problem != "" && t.pskFile != "" {
		return "." + t.field() + ".psk_file", problem, "put the key there"
	}
	for b := range c.snap.Bridges {
		for p := range c.snap.Bridges[b].Ports {
			port := &c.snap.Bridges[b].Ports[p]
			at := slices.IndexFunc(port.Interfaces, func(i Interface) bool { return tunnelIdentity(i.Type, i.Options) == t.identity })
			if at >= 0 && c.holds(&c.snap.Bridges[b]) && c.snap.Bridges[b].Name != tap {
				return "", fmt.Sprintf("session %s, which cannot be compiled, has a tunnel with the same remote, local and key", c.snap.Bridges[b].ExternalIDs[KeySession]), "use another session, key or vni, or mend that session"
			}
			if at >= 0 && !port.Managed() {
				return "", fmt.Sprintf("port %s of bridge %s is a tunnel with the same remote, local and key, and Open vSwitch installs one of them", port.Name, c.snap.Bridges[b].Name),
					"use another session, key or vni, or remove that port"
			}
		}
	}
	return "", "", ""
}

// row is the Port that the tunnel is on a tap bridge.
func (t *tunnel) row(on *tap, sessions []string, strip bool) Row {
	options := mapValue(t.options)
	if t.pskFile != "" {
		options = mapValue(withSecret(t.options))
	}
	row := Row{
		Table: TablePort, Bridge: on.name, Name: t.name, Sessions: sessions, Tier: on.tier,
		Columns: map[string]Value{
			colType: {t.kind}, colOptions: options, colVLANMode: nil,
			colTrunks: nil, colProtected: boolValue(false), colOther: noSpanningTree(), colIDs: managedIDs(sessions), colIfaceIDs: nil,
		},
	}
	if strip {
		row.Columns[colVLANMode] = Value{modeFor(true)}
	}
	if t.pskFile != "" {
		row.Columns[colIfaceIDs] = Value{KeyPSKFile + "=" + t.pskFile}
	}
	return row
}

// Secret stands for an IPsec key in a plan: keys are never shown.
const Secret = "(secret)"

func withSecret(options map[string]string) map[string]string {
	all := map[string]string{"psk": Secret}
	for k, v := range options {
		all[k] = v
	}
	return all
}
