package ovstest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spanctl/ovs/ovstest"
)

// ruleBench is a production bridge br0 with the guests a and b, mirrored by a parked patch into the bridge "tap", which
// copies by OpenFlow rules alone: it is fail_mode=secure, and without a port of its own name.
type ruleBench struct {
	ctx    context.Context
	lab    *ovstest.Lab
	a, b   *ovstest.Guest
	audits []*ovstest.Guest // ports of tap, numbered from 1
}

// entry is the number of the tap bridge's end of the patch.
const entry = 1000

func newRuleBench(t *testing.T, audits int) ruleBench {
	t.Helper()
	ctx, lab := start(t, ovstest.Config{})
	b := ruleBench{ctx: ctx, lab: lab, a: guest(ctx, t, lab, "a"), b: guest(ctx, t, lab, "b")}
	vsctl(ctx, t, lab, append(secureRows(), "--", "set", "Open_vSwitch", ".", "other_config:max-revalidator=100")...) // ms
	for i := range audits {
		b.audits = append(b.audits, numbered(ctx, t, lab, fmt.Sprintf("audit%d", i+1), i+1))
	}
	_, err := ovstest.Exchange(ctx, b.a, b.b, 1) // addresses are learnt
	check(t, err)
	return b
}

// numbered adds a guest to the tap bridge whose port has an OpenFlow number of our choice.
func numbered(ctx context.Context, t *testing.T, lab *ovstest.Lab, name string, number int) *ovstest.Guest {
	t.Helper()
	return add(ctx, t, lab, ovstest.GuestConfig{
		Name: name, Bridge: "tap",
		PortColumns: []string{"--", "set", "Interface", "vif-" + name, fmt.Sprintf("ofport_request=%d", number)},
	})
}

// secureRows makes the tap bridge, the patch to it, and the mirror of br0.
func secureRows() []string {
	return append([]string{
		"--", "--id=@tap", "create", "Bridge", "name=tap", "datapath_type=netdev", "fail_mode=secure",
		"--", "add", "Open_vSwitch", ".", "bridges", "@tap",
		"--", "add-port", "br0", "out-br0", "vlan_mode=trunk", "trunks=4095",
		"--", "set", "Interface", "out-br0", "type=patch", "options:peer=in-br0",
		"--", "add-port", "tap", "in-br0", "vlan_mode=trunk", "trunks=0-4094",
		"--", "set", "Interface", "in-br0", "type=patch", "options:peer=out-br0", fmt.Sprintf("ofport_request=%d", entry),
	}, sourceRows("br0")...)
}

// ofctl runs ovs-ofctl with OpenFlow 1.4, which has bundles.
func ofctl(ctx context.Context, t *testing.T, lab *ovstest.Lab, args ...string) string {
	t.Helper()
	out, err := lab.OFCtl(ctx, append([]string{"--protocols=OpenFlow14"}, args...)...)
	check(t, err)
	return out
}

// rules makes these the rules of a bridge, in one bundle, where others may already be. Each matches the entry.
func (b ruleBench) rules(t *testing.T, rules ...string) {
	t.Helper()
	check(t, b.tryRules(rules...))
	appctl(b.ctx, t, b.lab, "revalidator/wait") // running flows follow
}

func (b ruleBench) tryRules(rules ...string) error {
	var everywhere []string
	for i := range b.audits {
		everywhere = append(everywhere, fmt.Sprintf("output:%d", i+1))
	}
	var lines strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&lines, "in_port=%d,%s\n", entry, r)
	}
	// What fences: see fenceAll.
	fmt.Fprintf(&lines, "in_port=%d,priority=65000,udp,tp_src=9,tp_dst=9 actions=%s\n", entry, strings.Join(everywhere, ","))
	file := filepath.Join(b.lab.Dir, "rules") // also seen from within another system (see RootVariable)
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		return err
	}
	_, err := b.lab.OFCtl(b.ctx, "--protocols=OpenFlow14", "--bundle", "replace-flows", "tap", file)
	return err
}

// fenceAll returns when what was sent before has arrived at each capture of an audit guest if it ever will.
func (b ruleBench) fenceAll(t *testing.T, at ...*ovstest.Capture) {
	t.Helper()
	for _, c := range at {
		check(t, c.Fence(b.ctx, b.a, b.b))
	}
}

// A connection has a number of its own, which is in its ports.
type connection struct {
	from, to ovstest.Endpoint
	tcp      bool
	number   uint16
}

// connections is n connections from one guest to another: a quarter each of UDP and TCP, over IPv4 and over IPv6.
func connections(from, to ovstest.Endpoint, n int) []connection {
	list := make([]connection, n)
	for i := range list {
		list[i] = connection{unanswered(from), unanswered(to), i%2 == 1, uint16(i)}
		if i%4 >= 2 {
			list[i].from, list[i].to = six(from), six(to)
		}
	}
	return list
}

// unanswered is the station with an IPv4 address that is not its own, so that its kernel resets no connections.
func unanswered(e ovstest.Endpoint) ovstest.Station {
	ip := e.Addr().As4()
	return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom4([4]byte{10, 9, 77, ip[3]})}
}

// six is the station with an IPv6 address.
func six(e ovstest.Endpoint) ovstest.Station {
	return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom16([16]byte{0: 0xfd, 15: e.Addr().As4()[3]})}
}

const (
	clientPort = 20000 // plus the number
	serverPort = 443
)

// frame is one of the connection's, there or back.
func (c connection) frame(back bool, payload []byte) []byte {
	build := ovstest.UDP
	if c.tcp {
		build = tcp
	}
	if back {
		return build(c.to, c.from, serverPort, clientPort+c.number, payload)
	}
	return build(c.from, c.to, clientPort+c.number, serverPort, payload)
}

// numberOf finds the connection that a frame, of which the first 64 bytes are there, belongs to.
func numberOf(frame []byte) (number uint16, back bool) {
	at := 14 + 20
	if binary.BigEndian.Uint16(frame[12:]) == 0x86dd {
		at = 14 + 40
	}
	src, dst := binary.BigEndian.Uint16(frame[at:]), binary.BigEndian.Uint16(frame[at+2:])
	if src == serverPort {
		return dst - clientPort, true
	}
	return src - clientPort, false
}

// tcp is a frame with a TCP segment (ACK).
func tcp(src, dst ovstest.Endpoint, sport, dport uint16, payload []byte) []byte {
	segment := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Seq: 1, Ack: 1, ACK: true, Window: 1000}
	eth := &layers.Ethernet{SrcMAC: src.HardwareAddr(), DstMAC: dst.HardwareAddr()}
	from, to := src.Addr().AsSlice(), dst.Addr().AsSlice()
	parts := []gopacket.SerializableLayer{eth, nil, segment, gopacket.Payload(payload)}
	var ip gopacket.NetworkLayer
	if src.Addr().Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: from, DstIP: to}
		ip, parts[1] = v4, v4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: from, DstIP: to}
		ip, parts[1] = v6, v6
	}
	err := segment.SetNetworkLayerForChecksum(ip)
	buf := gopacket.NewSerializeBuffer()
	if err == nil {
		err = gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...)
	}
	if err != nil {
		panic(err) // frames that cannot fail to build
	}
	return buf.Bytes()
}

// One rule strips the outermost tag, whatever its kind; what has none is the next rule's.
func TestPopVLANStripsTheOutermostTag(t *testing.T) {
	b := newRuleBench(t, 1)
	b.rules(t, "priority=200,vlan_tci=0x1000/0x1000 actions=pop_vlan,output:1", "priority=100 actions=output:1")
	at, atB := capture(b.ctx, t, b.audits[0]), capture(b.ctx, t, b.b)
	for shape, becomes := range map[string]string{
		"untagged": "untagged", "10": "untagged", "20": "untagged", "30": "untagged", "10 30": "30", "s10 30": "30",
	} {
		payload := ovstest.Payload(shape)
		frame := ovstest.UDP(b.a, b.b, 1, 2, payload)
		check(t, b.a.Send(shapes[shape](frame)))
		check(t, atB.WaitPayload(b.ctx, payload, 1))
		b.fenceAll(t, at)
		wantFrame(t, at.Frames(), shapes[becomes](frame), payload)
		wantFrame(t, atB.Frames(), shapes[shape](frame), payload)
	}
}

// Rules take a frame of any kind, and whatever its tag: 4095 too, which the trunks of the tap bridge's end of the patch leave
// out, for only NORMAL heeds those; BPDUs without forward-bpdu.
func TestRulesCopyEveryKind(t *testing.T) {
	b := newRuleBench(t, 1)
	b.rules(t, "priority=100 actions=output:1")
	at := capture(b.ctx, t, b.audits[0])
	for kind, frame := range kinds(b.a, b.b, ovstest.Payload) {
		check(t, b.a.Send(frame))
		b.fenceAll(t, at)
		n := 0
		for _, f := range at.Frames() {
			if bytes.Equal(f.Data, frame) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s: %d copies, want 1", kind, n)
		}
	}
}

// Each output of a rule cuts for itself, and production is whole, also where the rule is behind a resubmit and ofproto does
// not clone. A cut copy in a userspace tunnel is well formed, unlike that of a Mirror with snaplen (fact 9): the cut
// comes before the outer headers, whose lengths fit it.
func TestRulesCutEachCopyForItself(t *testing.T) {
	b := newRuleBench(t, 3)
	remote := collector(b.ctx, t, b.lab, ovstest.CollectorConfig{Name: "r", MTU: 1600})
	var tunnels []string
	kinds := map[int]string{11: "gre", 12: "erspan", 13: "vxlan", 14: "geneve"}
	headers := map[int]int{11: greOuter, 12: erspanOuter, 13: 50, 14: 50}
	for n, kind := range kinds {
		options := []string{"key=7"}
		if kind == "erspan" {
			options = append(options, "erspan_ver=1")
		}
		tunnels = append(tunnels, tunnelRows("tap", kind+"1", kind, remote, options...)...)
		tunnels = append(tunnels, "--", "set", "Interface", kind+"1", fmt.Sprintf("ofport_request=%d", n))
	}
	vsctl(b.ctx, t, b.lab, tunnels...)
	w := add(b.ctx, t, b.lab, ovstest.GuestConfig{Name: "w", Bridge: "br-ext"})
	atB, atRemote := capture(b.ctx, t, b.b), capture(b.ctx, t, remote)
	var at []*ovstest.Capture
	for _, g := range b.audits {
		at = append(at, capture(b.ctx, t, g))
	}
	for _, outputs := range []map[int]int{ // by port: how long, 0 for whole
		{1: 64},
		{1: 14},
		{1: 64, 2: 128, 3: 0},
		{1: 64, 2: 0, 11: 0},
		{11: 64},
		{12: 100, 1: 0, 11: 0},
		{12: 64, 11: 128, 1: 90},
		{13: 80, 14: 90, 1: 0},
		{1: 64, 12: 0},
	} {
		for _, behind := range []bool{false, true} {
			list := ""
			for port, length := range outputs { // in any order
				if length == 0 {
					list += fmt.Sprintf(",output:%d", port)
				} else {
					list += fmt.Sprintf(",output(port=%d,max_len=%d)", port, length)
				}
			}
			rules := []string{"priority=100 actions=" + list[1:]}
			if behind {
				rules = []string{"priority=100 actions=resubmit(,4)", "table=4 actions=" + list[1:]}
			}
			check(t, b.tryRules(rules...)) // a stranger's flow is new
			payload := ovstest.Payload("cut")
			frame := full(stranger(), b.b, payload)
			before := len(atRemote.Frames())
			check(t, b.a.Send(frame))
			check(t, atB.WaitPayload(b.ctx, payload, 1))
			wantFrame(t, atB.Frames(), frame, payload)
			check(t, atRemote.Fence(b.ctx, w, remote))
			for _, c := range at {
				check(t, c.FenceFrame(b.ctx, b.a, func(p []byte) []byte { return ovstest.UDP(stranger(), b.b, 9, 9, p) }))
			}
			for port, length := range outputs {
				want, got := frame, atRemote.Frames()[before:]
				if length > 0 {
					want = frame[:length]
				}
				if port <= len(at) {
					got = at[port-1].Frames()
				}
				n := 0
				for _, f := range got {
					if len(f.Data) != len(want)+headers[port] || !bytes.HasSuffix(f.Data, want) {
						continue
					}
					n++
					if headers[port] > 0 && 14+int(binary.BigEndian.Uint16(f.Data[16:])) != len(f.Data) {
						t.Errorf("%s: the IP length of %x is wrong", list[1:], f.Data)
					}
				}
				if n != 1 {
					t.Errorf("%s: %d copies of %d bytes at port %d %s", list[1:], n, len(want), port, kinds[port])
				}
			}
		}
	}
}

// What an audit guest, or the far end of a tunnel, sends into the tap bridge reaches nobody as long as every rule matches
// the patch: whatever its tag, whatever its destination.
//
// ovs-vsctl emer-reset takes the fail_mode too: then the tap bridge is an ordinary switch. Audit guests and
// tunnels reach each other; production they do not, thanks to both ends of the patch, of which each alone carries some.
func TestWhatEntersTheTapBridgeReachesNobody(t *testing.T) {
	b := newRuleBench(t, 2)
	remote := collector(b.ctx, t, b.lab, ovstest.CollectorConfig{Name: "r", MTU: 1600})
	vsctl(b.ctx, t, b.lab, append(tunnelRows("tap", "gre1", "gre", remote), "--", "set", "Interface", "gre1", "ofport_request=11")...)
	w := add(b.ctx, t, b.lab, ovstest.GuestConfig{Name: "w", Bridge: "br-ext"})
	b.rules(t, "priority=100 actions=output:1,output:2,output:11")
	at := map[string]*ovstest.Capture{
		"a": capture(b.ctx, t, b.a), "b": capture(b.ctx, t, b.b),
		"audit1": capture(b.ctx, t, b.audits[0]), "audit2": capture(b.ctx, t, b.audits[1]), "remote": capture(b.ctx, t, remote),
	}
	// inject is who had anything of what audit1 sends, once the flows of what it sent before follow the configuration: a
	// revalidators' round under way may have begun before that, the next has not.
	inject := func() string {
		for range 2 {
			appctl(b.ctx, t, b.lab, "revalidator/wait")
		}
		payload := ovstest.Payload("injected")
		for _, to := range []ovstest.Endpoint{
			b.a, b.audits[1], ovstest.Broadcast, ovstest.Station{MAC: []byte{1, 0x80, 0xc2, 0, 0, 0}, IP: b.a.Addr()},
		} {
			frame := ovstest.UDP(b.audits[0], to, 1, 2, payload)
			check(t, b.audits[0].Send(frame))
			for _, vid := range []uint16{0, 1, 10, 4094, 4095} {
				check(t, b.audits[0].Send(ovstest.Tagged(frame, vid)))
				check(t, b.audits[0].Send(ovstest.QinQ(frame, vid, 10)))
			}
		}
		for range 2 { // fences of its own: what it sends is read
			check(t, at["a"].Fence(b.ctx, b.b, b.a))
			check(t, at["b"].Fence(b.ctx, b.a, b.b))
			check(t, at["remote"].Fence(b.ctx, w, remote))
		}
		var had []string
		for _, who := range []string{"a", "b", "audit1", "audit2", "remote"} {
			if len(arrived(at[who], payload)) > 0 {
				had = append(had, who)
			}
		}
		return strings.Join(had, " ")
	}
	if had := inject(); had != "" {
		t.Errorf("secure: %s had what was injected", had)
	}
	vsctl(b.ctx, t, b.lab, "emer-reset")
	if had := inject(); had != "audit2 remote" {
		t.Errorf("reset: %q had what was injected", had)
	}
	vsctl(b.ctx, t, b.lab, "clear", "Port", "in-br0", "trunks")
	if had := inject(); had != "a b audit2 remote" {
		t.Errorf("reset, the end on the tap bridge carrying everything: %q had what was injected", had)
	}
}
