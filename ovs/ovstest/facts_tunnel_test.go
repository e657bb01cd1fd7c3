package ovstest_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// tunnelBench is a hub that copies a and b's bridge, without a destination.
type tunnelBench struct {
	ctx  context.Context
	lab  *ovstest.Lab
	a, b *ovstest.Guest
}

func newTunnelBench(t *testing.T) tunnelBench {
	t.Helper()
	ctx, lab := start(t, ovstest.Config{})
	b := tunnelBench{ctx, lab, guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")}
	vsctl(ctx, t, lab, hubRows("hub", "br0")...)
	vsctl(ctx, t, lab, sourceRows("br0")...)
	return b
}

// replace makes the one tunnel "tun", a destination of the hub.
func (b tunnelBench) replace(t *testing.T, kind string, remote *ovstest.Guest, options ...string) {
	t.Helper()
	vsctl(b.ctx, t, b.lab, "--", "clear", "Bridge", "hub", "mirrors", "--", "--if-exists", "del-port", "hub", "tun")
	rows := slices.Concat(tunnelRows("hub", "tun", kind, remote, options...), destinationRows("hub", "tun"))
	vsctl(b.ctx, t, b.lab, rows...)
}

// fence is Fence with new flows, which take the tunnel as it is now.
func (b tunnelBench) fence(t *testing.T, at *ovstest.Capture) {
	t.Helper()
	check(t, at.FenceFrame(b.ctx, b.a, func(p []byte) []byte { return ovstest.UDP(stranger(), b.b, 9, 9, p) }))
}

// sendFull sends one frame of 1500 bytes of IP, in a new flow, and is its payload. It is through when this returns.
func (b tunnelBench) sendFull(t *testing.T) []byte {
	t.Helper()
	atB := capture(b.ctx, t, b.b)
	payload := ovstest.Payload("full size")
	check(t, b.a.Send(full(stranger(), b.b, payload)))
	check(t, atB.WaitPayload(b.ctx, payload, 1))
	return payload
}

// full is a frame of 1500 bytes of IP.
func full(src, dst ovstest.Endpoint, payload []byte) []byte {
	return ovstest.UDP(src, dst, 1, 2, append(payload, make([]byte, 1500-20-8-len(payload))...))
}

// column reads a column of the tunnel's Interface row.
func (b tunnelBench) column(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(vsctl(b.ctx, t, b.lab, "--if-exists", "get", "Interface", "tun", name))
}

// A wire is a tunnel and what it sends. In what follows the outer IP header each S is the number of the packet, from
// 0, and a dot is not looked at: UDP source ports, checksums, ERSPAN's time.
type wire struct {
	kind, options string
	tos, ttl      byte // of IPv4; traffic class and hop limit of IPv6
	fragment      bool // DF is not set
	protocol      byte
	rest          string
}

// What each kind of tunnel puts in front of a copy, and which options it heeds. All kinds work over IPv4 and IPv6,
// the ip6 ones too, unlike in the kernel datapath (fact 26). Numbers of ERSPAN are hex (fact 23).
func TestTunnelsSendWhatTheirOptionsSay(t *testing.T) {
	b := newTunnelBench(t)
	four := collector(b.ctx, t, b.lab, ovstest.CollectorConfig{Name: "four"})
	_, err := b.lab.HostIP(b.ctx, "br-ext", netip.MustParsePrefix("192.0.2.77/24")) // before IPv6: it changes the MAC
	check(t, err)
	six := collector(b.ctx, t, b.lab, ovstest.CollectorConfig{
		Name: "six", Host: netip.MustParsePrefix("fd00::1/64"), IP: netip.MustParsePrefix("fd00::9/64"),
	})
	const gre, udp = 47, 17
	for _, w := range []wire{
		{"erspan", "erspan_ver=1", 0, 64, false, gre, "100088be SSSSSSSS 1000 0000 00000000"},
		{"erspan", "erspan_ver=1 key=100 erspan_idx=64", 0, 64, false, gre, "100088be SSSSSSSS 1000 0064 00000064"},
		{"erspan", "erspan_ver=1 key=1023 erspan_idx=0xfffff", 0, 64, false, gre, "100088be SSSSSSSS 1000 03ff 000fffff"},
		{"erspan", "erspan_ver=1 key=7 erspan_hwid=4 erspan_dir=1", 0, 64, false, gre, "100088be SSSSSSSS 1000 0007 00000000"},
		{"erspan", "erspan_ver=2 key=7 erspan_hwid=1f erspan_dir=1", 0, 64, false, gre, "100022eb SSSSSSSS 2000 0007 ........ 0000 01f8"},
		{"erspan", "erspan_ver=2 key=7 erspan_hwid=3f erspan_dir=0", 0, 64, false, gre, "100022eb SSSSSSSS 2000 0007 ........ 0000 03f0"},
		{"erspan", "erspan_ver=1 key=7 csum=true seq=false", 0, 64, false, gre, "100088be SSSSSSSS 1000 0007 00000000"},
		{"gre", "", 0, 64, false, gre, "00006558"},
		{"gre", "key=0", 0, 64, false, gre, "20006558 00000000"},
		{"gre", "key=4294967295", 0, 64, false, gre, "20006558 ffffffff"},
		{"gre", "key=flow", 0, 64, false, gre, "20006558 00000000"},
		{"gre", "seq=true", 0, 64, false, gre, "10006558 SSSSSSSS"},
		{"gre", "key=5 seq=true", 0, 64, false, gre, "30006558 00000005 SSSSSSSS"},
		{"gre", "key=5 csum=true", 0, 64, false, gre, "a0006558 ....0000 00000005"},
		{"vxlan", "", 0, 64, false, udp, "....12b5 .... 0000 08000000 00000000"},
		{"vxlan", "key=16777215", 0, 64, false, udp, "....12b5 .... 0000 08000000 ffffff00"},
		{"vxlan", "key=16777216", 0, 64, false, udp, "....12b5 .... 0000 08000000 00000000"}, // cut
		{"vxlan", "key=5 dst_port=8472", 0, 64, false, udp, "....2118 .... 0000 08000000 00000500"},
		{"geneve", "key=5", 0, 64, false, udp, "....17c1 .... 0000 00006558 00000500"},
		{"geneve", "key=16777216", 0, 64, false, udp, "....17c1 .... 0000 00006558 00000000"}, // cut

		{"erspan", "erspan_ver=1 ttl=5 tos=0x20 df_default=false", 0x20, 5, true, gre, "100088be SSSSSSSS 1000 0000 00000000"},
		{"gre", "ttl=255 tos=32 df_default=false", 0x20, 255, true, gre, "00006558"},
		{"vxlan", "ttl=5 tos=0x20 df_default=false", 0x20, 5, true, udp, "....12b5 .... 0000 08000000 00000000"},
		{"geneve", "ttl=5 tos=0x20 df_default=false", 0x20, 5, true, udp, "....17c1 .... 0000 00006558 00000000"},
		{"gre", "ttl=inherit tos=inherit", innerTOS, innerTTL, false, gre, "00006558"},
		{"gre", "ttl=0 tos=0xff df_default=no", 0, 64, false, gre, "00006558"}, // each as if it was not there
	} {
		b.wantWire(t, w, four, netip.MustParseAddr("192.0.2.1"))
		w.rest = strings.NewReplacer("12b5 .... 0000", "12b5 .... ....", "2118 .... 0000", "2118 .... ....",
			"17c1 .... 0000", "17c1 .... ....").Replace(w.rest) // IPv6 has the UDP checksum, always
		b.wantWire(t, w, six, netip.MustParseAddr("fd00::1"))
	}
	for _, w := range []wire{
		{"ip6erspan", "erspan_ver=1 key=7", 0, 64, false, gre, "100088be SSSSSSSS 1000 0007 00000000"},
		{"ip6gre", "key=5 seq=true", 0, 64, false, gre, "30006558 00000005 SSSSSSSS"},
	} {
		b.wantWire(t, w, four, netip.MustParseAddr("192.0.2.1"))
		b.wantWire(t, w, six, netip.MustParseAddr("fd00::1"))
	}
	for _, kind := range []string{"gre", "ip6gre"} {
		w := wire{kind, "local_ip=192.0.2.77", 0, 64, false, gre, "00006558"}
		b.wantWire(t, w, four, netip.MustParseAddr("192.0.2.77"))
	}
}

const innerTOS, innerTTL = 0xb8, 33

// wantWire sends two frames and looks at what arrives.
func (b tunnelBench) wantWire(t *testing.T, w wire, remote *ovstest.Guest, local netip.Addr) {
	t.Helper()
	what := fmt.Sprintf("%s to %s, %q", w.kind, remote.Addr(), w.options)
	b.replace(t, w.kind, remote, strings.Fields(w.options)...)
	at := capture(b.ctx, t, remote)
	from := stranger()
	for i := range 2 {
		payload := ovstest.Payload("wire")
		frame := ovstest.UDP(from, b.b, 1, 2, payload)
		frame[15], frame[22] = innerTOS, innerTTL
		check(t, b.a.Send(frame))
		check(t, at.WaitPayload(b.ctx, payload, 1))
		got := arrived(at, payload)[0]
		if !strings.HasSuffix(string(got), string(frame)) {
			t.Errorf("%s: the frame in %x is not %x", what, got, frame)
			continue
		}
		outer := got[14 : len(got)-len(frame)]
		if local.Is4() {
			flags := map[bool]string{false: "4000", true: "0000"}[w.fragment]
			b.wantHex(t, what, outer[:20], fmt.Sprintf("45%02x .... 0000 %s %02x%02x .... %x %x",
				w.tos, flags, w.ttl, w.protocol, local.AsSlice(), remote.Addr().AsSlice()))
			outer = outer[20:]
		} else {
			b.wantHex(t, what, outer[:40], fmt.Sprintf("6%02x 00000 .... %02x%02x %x %x",
				w.tos, w.protocol, w.ttl, local.AsSlice(), remote.Addr().AsSlice()))
			outer = outer[40:]
		}
		b.wantHex(t, what, outer, strings.Replace(w.rest, "SSSSSSSS", fmt.Sprintf("%08x", i), 1))
	}
}

func (b tunnelBench) wantHex(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	have, want := hex.EncodeToString(got), strings.ReplaceAll(want, " ", "")
	same := len(have) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = want[i] == '.' || want[i] == have[i]
	}
	if !same {
		t.Errorf("%s: header\n%s\nwant\n%s", what, have, want)
	}
}

// The bits of explicit congestion notification are those of the copied frame whatever tos says (RFC 6040): one that
// met congestion makes an outer packet that may.
func TestTunnelsInheritECN(t *testing.T) {
	b := newTunnelBench(t)
	remote := collector(b.ctx, t, b.lab, ovstest.CollectorConfig{Name: "r"})
	b.replace(t, "gre", remote, "tos=0x20")
	at := capture(b.ctx, t, remote)
	for inner, want := range map[byte]byte{0xb8: 0x20, 0xb9: 0x21, 0xba: 0x22, 0xbb: 0x22} {
		payload := ovstest.Payload("ecn")
		frame := ovstest.UDP(stranger(), b.b, 1, 2, payload)
		frame[15] = inner
		check(t, b.a.Send(frame))
		check(t, at.WaitPayload(b.ctx, payload, 1))
		if got := arrived(at, payload)[0][15]; got != want {
			t.Errorf("tos 0x%x of the frame, 0x%x of the tunnel's packet, want 0x%x", inner, got, want)
		}
	}
}

// Options that Open vSwitch refuses, and those that it takes without a word and then sends nothing: ofport, error and
// link_state are those of a healthy tunnel. Only where there is no way to the collector does status tell.
func TestTunnelsThatSendNothing(t *testing.T) {
	b := newTunnelBench(t)
	remote := collector(b.ctx, t, b.lab, ovstest.CollectorConfig{Name: "r"})
	vsctl(b.ctx, t, b.lab, tunnelRows("hub", "good", "gre", remote, "key=99")...)
	for _, c := range []struct{ kind, options, refusal string }{
		{"erspan", "erspan_ver=3", "tun: invalid erspan version: 3"},
		{"erspan", "erspan_ver=2 erspan_dir=2", "tun: invalid erspan direction: 2"},
		{"erspan", "erspan_ver=2 erspan_hwid=40", "tun: invalid erspan hardware ID: 40"},
		{"erspan", "erspan_ver=1 erspan_idx=100000", "tun: invalid erspan index: 100000"},
		{"gre", `local_ip="fd00::1"`, "tun: 'remote_ip' and 'local_ip' has to be of the same address family"},
		{"erspan", "", ""},
		{"erspan", "erspan_ver=1 key=1024", ""}, // fact 24
		{"erspan", "erspan_ver=1 key=-1", ""},
		{"gre", "local_ip=192.0.2.99", ""}, // not the host's
		{"gre", "remote_ip=203.0.113.9", ""},
	} {
		b.replace(t, c.kind, remote, strings.Fields(c.options)...)
		vsctl(b.ctx, t, b.lab, destinationRows("hub", "good")...)
		if c.refusal != "" {
			if got := b.column(t, "error"); got != `"`+c.refusal+`"` || b.column(t, "ofport") != "-1" {
				t.Errorf("%s %q: error %s, ofport %s", c.kind, c.options, got, b.column(t, "ofport"))
			}
			continue
		}
		number, err := b.lab.OFPort(b.ctx, "tun")
		check(t, err)
		if got := b.column(t, "error"); number <= 0 || got != "[]" || b.column(t, "link_state") != "up" {
			t.Errorf("%s %q: ofport %d, error %s", c.kind, c.options, number, got)
		}
		routed := !strings.Contains(c.options, "remote_ip")
		for strings.Contains(b.column(t, "status"), "tunnel_egress_iface=br-ext") != routed {
		}
		at := capture(b.ctx, t, remote)
		payload := ovstest.Payload("nothing")
		check(t, b.a.Send(ovstest.UDP(stranger(), b.b, 1, 2, payload)))
		b.fence(t, at)
		if n := len(arrived(at, payload)); n != 1 {
			t.Errorf("%s %q: %d copies, want none but the good tunnel's", c.kind, c.options, n-1)
		}
	}
}

// Fact 27, userspace datapath: a copy that does not fit the port it leaves by is lost, whatever df_default says: nothing
// fragments, and only the log tells. The path needs room for the frame with its Ethernet header, and the tunnel's
// headers. (And 4 for each tag of the frame.)
func TestCopyLargerThanItsPathIsLost(t *testing.T) {
	b := newTunnelBench(t)
	v6 := func(cfg ovstest.CollectorConfig) ovstest.CollectorConfig {
		cfg.Host, cfg.IP = netip.MustParsePrefix("fd00::1/64"), netip.MustParsePrefix("fd00::9/64")
		return cfg
	}
	for _, c := range []struct {
		kind, options string
		six           bool
		need          int // MTU of the path, for frames of 1500 bytes of IP
	}{
		{"gre", "", false, 1538},
		{"gre", "key=5 seq=true", false, 1546},
		{"erspan", "erspan_ver=1", false, 1550},
		{"erspan", "erspan_ver=1 df_default=false", false, 1550},
		{"erspan", "erspan_ver=2", false, 1554},
		{"vxlan", "df_default=false", false, 1550},
		{"geneve", "key=5", false, 1550},
		{"ip6erspan", "erspan_ver=1", true, 1570},
		{"vxlan", "", true, 1570},
	} {
		for _, mtu := range []int{c.need, c.need - 1} {
			cfg := ovstest.CollectorConfig{Name: "r", MTU: mtu}
			if c.six {
				cfg = v6(cfg)
			}
			remote := collector(b.ctx, t, b.lab, cfg)
			b.replace(t, c.kind, remote, strings.Fields(c.options)...)
			at := capture(b.ctx, t, remote)
			payload := b.sendFull(t)
			b.fence(t, at)
			want := map[bool]int{true: 1}[mtu == c.need]
			if n := len(arrived(at, payload)); n != want {
				t.Errorf("%s %q, MTU %d: %d copies, want %d", c.kind, c.options, mtu, n, want)
			}
			if got := vsctl(b.ctx, t, b.lab, "get", "Interface", "br-ext", "mtu"); got != fmt.Sprintln(mtu) {
				t.Errorf("MTU of the internal port is %s, want that of the smallest port, %d", got, mtu)
			}
			check(t, at.Close())
			check(t, remote.Remove(b.ctx))
		}
	}
	log, err := b.lab.VSwitchdLog()
	check(t, err)
	if !strings.Contains(log, "error sending Ethernet packet on ext-r: Message too long") {
		t.Error("the log does not tell of lost copies")
	}
}

// The tunnel's own counter takes a lost copy for sent, as it does any copy twice; that of the port it should have left by
// says nothing.
func TestNoCounterTellsOfLostCopies(t *testing.T) {
	b := newTunnelBench(t)
	remote := collector(b.ctx, t, b.lab, ovstest.CollectorConfig{Name: "r"})
	b.replace(t, "erspan", remote, "erspan_ver=1", "df_default=false")
	b.sendFull(t)
	for b.column(t, "statistics:tx_packets") != "2" { // one frame; written every 5 s
	}
	got := vsctl(b.ctx, t, b.lab, "get", "Interface", remote.Port(), "statistics:tx_packets", "statistics:tx_errors", "statistics:tx_dropped")
	if got != "0\n0\n0\n" {
		t.Errorf("tx_packets, tx_errors, tx_dropped of the port are\n%s", got)
	}
}

// In the userspace datapath a copy too large for its port takes with it what is behind it in the batch for that port
// (OVS 3.1, netdev_linux_send gives up at the first error): the copied frame itself, where that leaves by the same port.
// So a mirror into a tunnel with too little room makes production lose full-size frames, all of them while few
// come at a time. (From 17 at a time on, copies fill a batch without originals.)
func TestCopyTooLargeForItsPortTakesProductionWithIt(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	remote := collector(ctx, t, lab, ovstest.CollectorConfig{Name: "r"})
	a := add(ctx, t, lab, ovstest.GuestConfig{Name: "a", Bridge: "br-ext"})
	vsctl(ctx, t, lab, hubRows("hub", "br-ext")...)
	audit := add(ctx, t, lab, ovstest.GuestConfig{Name: "audit", Bridge: "hub"})
	vsctl(ctx, t, lab, slices.Concat(sourceRows("br-ext", "select_src_port="+a.Port()), destinationRows("hub", audit.Port()))...)
	appctl(ctx, t, lab, "revalidator/purge")
	atAudit, atRemote := capture(ctx, t, audit), capture(ctx, t, remote)
	production := func() (arrive int) {
		for range 10 {
			payload := ovstest.Payload("production")
			check(t, a.Send(full(a, remote, payload)))
			check(t, atAudit.WaitPayload(ctx, payload, 1)) // it is through
			check(t, atRemote.Fence(ctx, a, remote))
			arrive += len(arrived(atRemote, payload))
		}
		return arrive
	}
	if n := production(); n != 10 {
		t.Errorf("copied to a guest: %d of 10 full-size frames of production arrive", n)
	}
	vsctl(ctx, t, lab, slices.Concat(tunnelRows("hub", "tun", "gre", remote), destinationRows("hub", "tun"))...)
	appctl(ctx, t, lab, "revalidator/purge")
	if n := production(); n != 0 {
		t.Errorf("copied to a tunnel by their own port: %d of 10 full-size frames of production arrive", n)
	}
}

// A tunnel whose row goes with one hub may come back under the same name, with the same remote and key, on another hub
// in the same transaction: all removals come first.
func TestTunnelMovesToNewHubInOneTransaction(t *testing.T) {
	b := newTunnelBench(t)
	remote := collector(b.ctx, t, b.lab, ovstest.CollectorConfig{Name: "r"})
	hubs := []string{"hub", "hub2"}
	for _, kind := range []string{"erspan", "gre", "vxlan", "geneve"} {
		options := []string{"key=7"}
		if kind == "erspan" {
			options = append(options, "erspan_ver=1")
		}
		for range 2 {
			vsctl(b.ctx, t, b.lab, slices.Concat(goneRows(hubs[0], "br0"), hubRows(hubs[1], "br0"), sourceRows("br0"),
				tunnelRows(hubs[1], "tun", kind, remote, options...), destinationRows(hubs[1], "tun"))...)
			slices.Reverse(hubs)
			_, err := b.lab.OFPort(b.ctx, "tun")
			check(t, err)
			if got := b.column(t, "error"); got != "[]" {
				t.Errorf("%s: error %s", kind, got)
			}
			at := capture(b.ctx, t, remote)
			payload := ovstest.Payload("moved")
			check(t, b.a.Send(ovstest.UDP(stranger(), b.b, 1, 2, payload)))
			check(t, at.WaitPayload(b.ctx, payload, 1))
		}
	}
}
