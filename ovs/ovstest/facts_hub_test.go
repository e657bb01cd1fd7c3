package ovstest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// hubRows makes the mirror hub by hand: a bridge that floods everything, and a parked patch from each production bridge.
// As all that is called Rows here it is part of a transaction of ovs-vsctl.
func hubRows(hub string, bridges ...string) []string {
	rows := []string{
		"--", "add-br", hub, "--", "set", "Bridge", hub, "datapath_type=netdev", "fail_mode=standalone",
		"flood_vlans=0-4095", "other_config:forward-bpdu=true",
	}
	for _, b := range bridges {
		rows = append(rows, "--", "add-port", b, "out-"+b, "vlan_mode=trunk", "trunks=4095",
			"--", "set", "Interface", "out-"+b, "type=patch", "options:peer=in-"+b,
			"--", "add-port", hub, "in-"+b, "protected=true", "trunks=0-4094",
			"--", "set", "Interface", "in-"+b, "type=patch", "options:peer=out-"+b)
	}
	return rows
}

// mirrorRows makes a mirror. What the selection selects is as ovs-vsctl takes it, but ports are named:
// "select_src_port=vif-a,vif-b".
func mirrorRows(bridge, name, output string, selection ...string) []string {
	var ports, columns []string
	id := func(what string) string { return "@" + strings.ReplaceAll(name+"_"+what, "-", "_") }
	for _, s := range slices.Concat(selection, []string{"output_port=" + output}) {
		column, value, _ := strings.Cut(s, "=")
		if strings.HasSuffix(column, "_port") {
			list := strings.Split(value, ",")
			for i, port := range list {
				list[i] = id(port)
				if !slices.Contains(ports, "--id="+id(port)) {
					ports = append(ports, "--", "--id="+id(port), "get", "Port", port)
				}
			}
			value = strings.Join(list, ",")
		}
		columns = append(columns, column+"="+value)
	}
	return slices.Concat(ports, []string{"--", "--id=" + id("mirror"), "create", "Mirror", "name=" + name}, columns,
		[]string{"--", "add", "Bridge", bridge, "mirrors", id("mirror")})
}

// sourceRows mirrors a production bridge into its patch to the hub: everything, unless a selection is given.
func sourceRows(bridge string, selection ...string) []string {
	if len(selection) == 0 {
		selection = []string{"select_all=true"}
	}
	return mirrorRows(bridge, "from-"+bridge, "out-"+bridge, selection...)
}

// destinationRows mirrors what floods to the hub's own internal port to a port of the hub.
func destinationRows(hub, port string) []string {
	return mirrorRows(hub, "to-"+port, port, "select_dst_port="+hub)
}

// tunnelRows makes a tunnel port on a bridge; options as ovs-vsctl takes them, "key=7".
func tunnelRows(bridge, port, kind string, remote *ovstest.Guest, options ...string) []string {
	rows := []string{
		"--", "add-port", bridge, port, "--", "set", "Interface", port, "type=" + kind,
		`options:remote_ip="` + remote.Addr().String() + `"`,
	}
	for _, o := range options {
		rows = append(rows, "options:"+o)
	}
	return rows
}

// goneRows removes the hub and all that leads to it from the production bridges. Their mirrors go too, all of them.
func goneRows(hub string, bridges ...string) []string {
	rows := []string{"--", "del-br", hub}
	for _, b := range bridges {
		rows = append(rows, "--", "clear", "Bridge", b, "mirrors", "--", "del-port", "out-"+b)
	}
	return rows
}

// collector adds one whose address its underlay has learnt: a tunnel's packets are not flooded to others.
func collector(ctx context.Context, t *testing.T, lab *ovstest.Lab, cfg ovstest.CollectorConfig) *ovstest.Guest {
	t.Helper()
	c, err := lab.AddCollector(ctx, cfg)
	check(t, err)
	check(t, c.Send(ovstest.Raw(c, ovstest.Broadcast.HardwareAddr(), 0x88b5, ovstest.Payload("here I am"))))
	for !strings.Contains(appctl(ctx, t, lab, "fdb/show", c.Bridge()), c.HardwareAddr().String()) {
	}
	return c
}

// stranger is an endpoint that nobody has seen before: its first frame is the first of a new flow, which takes every
// mirror as it is, while flows that run already follow late (see TestRunningConnectionFollowsMirrorWithPatchPort).
func stranger() ovstest.Station {
	return ovstest.Station{MAC: append(net.HardwareAddr{2}, rand.Text()[:5]...), IP: netip.MustParseAddr("10.9.0.250")}
}

func appctl(ctx context.Context, t *testing.T, lab *ovstest.Lab, args ...string) string {
	t.Helper()
	out, err := lab.AppCtl(ctx, args...)
	check(t, err)
	return out
}

// receiver is a destination's capture, and how many bytes a tunnel puts in front of each frame.
type receiver struct {
	*ovstest.Capture
	outer int
}

const (
	erspanOuter = 14 + 20 + 8 + 8 // Ethernet, IPv4, GRE with number, ERSPAN Type II
	greOuter    = 14 + 20 + 8     // Ethernet, IPv4, GRE with key
)

// want says that exactly one copy of the frame with the payload came, and is the frame, byte for byte.
func (r receiver) want(t *testing.T, what string, frame, payload []byte) {
	t.Helper()
	got := arrived(r.Capture, payload)
	if len(got) != 1 || !bytes.Equal(got[0][r.outer:], frame) {
		t.Errorf("%s: copies, after %d bytes of tunnel,\n%x\nwant\n%x", what, r.outer, got, frame)
	}
}

// kinds is a frame of every kind from a to b, by name, around the payload that make gives.
func kinds(a, b ovstest.Endpoint, payload func(kind string) []byte) map[string][]byte {
	udp := func(kind string, from, to ovstest.Endpoint) []byte { return ovstest.UDP(from, to, 1, 2, payload(kind)) }
	group := func(ip string, mac ...byte) ovstest.Station {
		return ovstest.Station{MAC: mac, IP: netip.MustParseAddr(ip)}
	}
	six := func(e ovstest.Endpoint) ovstest.Station {
		return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom16([16]byte{0: 0xfd, 15: e.Addr().As4()[3]})}
	}
	raw := func(kind string, etherType uint16, to ...byte) []byte {
		return ovstest.Raw(a, net.HardwareAddr(to), etherType, payload(kind))
	}
	full := payload("full size")
	return map[string][]byte{
		"unicast":           udp("unicast", a, b),
		"unknown unicast":   udp("unknown unicast", a, group("10.9.0.201", 2, 0, 0, 0, 0, 1)),
		"broadcast":         udp("broadcast", a, ovstest.Broadcast),
		"multicast":         udp("multicast", a, group("224.0.0.5", 1, 0, 0x5e, 0, 0, 5)),
		"IPv6":              udp("IPv6", six(a), six(b)),
		"IPv6 all nodes":    udp("IPv6 all nodes", six(a), group("ff02::1", 0x33, 0x33, 0, 0, 0, 1)),
		"VLAN":              ovstest.Tagged(udp("VLAN", a, b), 10),
		"VLAN broadcast":    ovstest.Tagged(udp("VLAN broadcast", a, ovstest.Broadcast), 20),
		"VLAN 4094":         ovstest.Tagged(udp("VLAN 4094", a, b), 4094),
		"priority":          ovstest.Tagged(udp("priority", a, b), 5<<13),
		"priority and VLAN": ovstest.Tagged(udp("priority and VLAN", a, b), 5<<13|10),
		"two tags":          ovstest.Tagged(udp("two tags", a, b), 10, 20),
		"4095 inside":       ovstest.Tagged(udp("4095 inside", a, b), 10, 4095),
		"QinQ":              ovstest.QinQ(udp("QinQ", a, b), 10, 20),
		"three tags":        ovstest.QinQ(udp("three tags", a, b), 10, 20, 30),
		"full size":         ovstest.UDP(a, b, 1, 2, append(full, make([]byte, 1500-28-len(full))...)),
		"experimental":      raw("experimental", 0x88b5, b.HardwareAddr()...),
		"BPDU":              raw("BPDU", 60, 1, 0x80, 0xc2, 0, 0, 0),
		"pause":             raw("pause", 0x8808, 1, 0x80, 0xc2, 0, 0, 1),
		"LACP":              raw("LACP", 0x8809, 1, 0x80, 0xc2, 0, 0, 2),
		"LLDP":              raw("LLDP", 0x88cc, 1, 0x80, 0xc2, 0, 0, 0xe),
		"CDP":               raw("CDP", 60, 1, 0, 0xc, 0xcc, 0xcc, 0xcc),
		tag4095:             ovstest.Tagged(udp(tag4095, a, b), 4095),
	}
}

// tag4095 is the one kind that does not pass the hub ends of patches.
const tag4095 = "VLAN 4095"

// Any number of production bridges, any number of destinations: each has each frame once, as it was, and production
// notices nothing. The exception is what is tagged 4095 by its sender: that is not copied, with a line in the log.
func TestHubCopiesEveryKindOnceToEveryDestination(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{Bridges: []string{"br0", "br1"}})
	var pairs [][2]*ovstest.Guest
	for _, b := range []string{"br0", "br1"} {
		var pair [2]*ovstest.Guest
		for i, name := range []string{"x", "y"} {
			pair[i] = add(ctx, t, lab, ovstest.GuestConfig{Name: name + b, Bridge: b})
		}
		_, err := ovstest.Exchange(ctx, pair[0], pair[1], 1) // addresses are learnt
		check(t, err)
		pairs = append(pairs, pair)
	}
	c1 := collector(ctx, t, lab, ovstest.CollectorConfig{Name: "c1", MTU: 1600})
	c2 := collector(ctx, t, lab, ovstest.CollectorConfig{Name: "c2", MTU: 1600})
	vsctl(ctx, t, lab, hubRows("hub", "br0", "br1")...)
	audit := add(ctx, t, lab, ovstest.GuestConfig{Name: "audit", Bridge: "hub"})
	vsctl(ctx, t, lab, slices.Concat(
		tunnelRows("hub", "erspan1", "erspan", c1, "erspan_ver=1", "key=7"), tunnelRows("hub", "gre1", "gre", c2, "key=7"),
		sourceRows("br0"), sourceRows("br1"),
		destinationRows("hub", audit.Port()), destinationRows("hub", "erspan1"), destinationRows("hub", "gre1"))...)
	appctl(ctx, t, lab, "revalidator/purge")

	destinations := map[string]receiver{
		"local":  {capture(ctx, t, audit), 0},
		"erspan": {capture(ctx, t, c1), erspanOuter},
		"gre":    {capture(ctx, t, c2), greOuter},
	}
	for _, pair := range pairs {
		atSender, atReceiver := capture(ctx, t, pair[0]), capture(ctx, t, pair[1])
		payloads := map[string][]byte{}
		frames := kinds(pair[0], pair[1], func(kind string) []byte {
			payloads[kind] = ovstest.Payload(kind)
			return payloads[kind]
		})
		for _, frame := range frames {
			check(t, pair[0].Send(frame))
		}
		for _, d := range destinations {
			check(t, d.Fence(ctx, pair[0], pair[1]))
		}
		for kind, frame := range frames {
			for name, d := range destinations {
				if kind != tag4095 {
					d.want(t, name+", "+kind, frame, payloads[kind])
				} else if n := len(arrived(d.Capture, payloads[kind])); n != 0 {
					t.Errorf("%s, %s: %d copies, want none", name, kind, n)
				}
			}
			if n := len(arrived(atReceiver, payloads[kind])); n > 1 {
				t.Errorf("%s: %d frames at the receiver", kind, n)
			}
			if n := len(arrived(atSender, payloads[kind])); n != 0 {
				t.Errorf("%s: %d frames came back to the sender", kind, n)
			}
		}
	}
	log, err := lab.VSwitchdLog()
	check(t, err)
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "dropping VLAN 4095") && (strings.Contains(line, "|WARN|") || strings.Contains(line, "|ERR|")) {
			t.Error(line)
		}
	}
}

// On the hub a tunnel port treats tags as a local port does, and as the output of any mirror does: see
// TestTagsOfCopiesFollowTheOutputsMode. So vlan_mode=trunk undoes a destination's own tag, and dot1q-tunnel or access
// strips the outermost tag for any destination.
func TestTagsOfHubCopiesFollowTheDestinationsMode(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	remote := collector(ctx, t, lab, ovstest.CollectorConfig{Name: "r"})
	vsctl(ctx, t, lab, hubRows("hub", "br0")...)
	audit := add(ctx, t, lab, ovstest.GuestConfig{Name: "audit", Bridge: "hub", Tag: 10})
	vsctl(ctx, t, lab, slices.Concat(tunnelRows("hub", "erspan1", "erspan", remote, "erspan_ver=1"),
		sourceRows("br0"), destinationRows("hub", audit.Port()), destinationRows("hub", "erspan1"))...)
	keeps := map[string]string{}
	strips := map[string]string{"10": "untagged", "20": "untagged", "10 30": "30", "s10 30": "30"}
	for _, c := range []struct {
		columns []string
		becomes map[string]string // shape of the copy, where it is not that of the frame
	}{
		{nil, keeps},
		{[]string{"vlan_mode=trunk"}, keeps},
		{[]string{"vlan_mode=trunk", "tag=10"}, keeps},
		{[]string{"vlan_mode=trunk", "trunks=4095"}, keeps},
		{[]string{"trunks=99"}, keeps},
		{[]string{"vlan_mode=native-tagged", "tag=10"}, keeps},
		{[]string{"vlan_mode=native-untagged", "tag=10"}, map[string]string{"10": "untagged", "10 30": "30", "s10 30": "30"}},
		{[]string{"tag=10"}, strips},
		{[]string{"vlan_mode=access"}, strips},
		{[]string{"vlan_mode=dot1q-tunnel"}, strips},
		{[]string{"vlan_mode=dot1q-tunnel", "tag=0"}, strips},
		{[]string{"vlan_mode=dot1q-tunnel", "tag=10"}, strips},
	} {
		var args []string
		for _, port := range []string{audit.Port(), "erspan1"} {
			args = append(args, "--", "clear", "Port", port, "tag", "trunks", "vlan_mode",
				"--", "set", "Port", port, "protected=false")
			args = append(args, c.columns...)
		}
		vsctl(ctx, t, lab, args...)
		appctl(ctx, t, lab, "revalidator/purge")
		destinations := []receiver{{capture(ctx, t, audit), 0}, {capture(ctx, t, remote), erspanOuter}}
		for _, shape := range []string{"untagged", "10", "20", "10 30", "s10 30"} {
			payload := ovstest.Payload(shape)
			frame := ovstest.UDP(a, b, 1, 2, payload)
			check(t, a.Send(shapes[shape](frame)))
			want := shapes[shape](frame)
			if becomes, other := c.becomes[shape]; other {
				want = shapes[becomes](frame)
			}
			for _, d := range destinations {
				check(t, d.Fence(ctx, a, b))
				d.want(t, strings.Join(c.columns, " ")+", frame tagged "+shape, want, payload)
			}
		}
	}
}
