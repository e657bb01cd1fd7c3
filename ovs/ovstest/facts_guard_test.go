package ovstest_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// guardBench is a ruleBench whose tunnel leaves through br0, which is mirrored whole into it.
type guardBench struct {
	ruleBench
	remote *ovstest.Guest
	local  string // the host's address

	outer, asks, errors string // guards against each, without actions
}

func newGuardBench(t *testing.T, v6 bool) guardBench {
	t.Helper()
	g := guardBench{ruleBench: newRuleBench(t, 1), local: "192.0.2.1"}
	cfg := ovstest.CollectorConfig{Name: "r", Bridge: "br0", MTU: 9000}
	if v6 {
		cfg.Host, cfg.IP = netip.MustParsePrefix("fd00::1/64"), netip.MustParsePrefix("fd00::9/64")
		g.local = "fd00::1"
	}
	g.remote = collector(g.ctx, t, g.lab, cfg)
	to := g.remote.Addr().String()
	g.outer = "priority=1000,ip,nw_proto=47,nw_dst=" + to
	g.asks = "priority=1000,arp,arp_op=1,arp_spa=" + g.local + ",arp_tpa=" + to
	g.errors = "priority=1000,icmp,icmp_type=3,icmp_code=2,nw_src=" + to // protocol unreachable
	if v6 {
		g.outer = "priority=1000,ipv6,nw_proto=47,ipv6_dst=" + to
		g.asks = "priority=1000,icmp6,icmp_type=135,icmp_code=0,ipv6_src=" + g.local + ",nd_target=" + to
		g.errors = "priority=1000,icmp6,icmp_type=4,icmp_code=1,ipv6_src=" + to // unrecognized next header
	}
	vsctl(g.ctx, t, g.lab, append(tunnelRows("tap", "gre1", "gre", g.remote, "key=7"), "--", "set", "Interface", "gre1", "ofport_request=11")...)
	return g
}

// fence is for the tunnel: its markers are copied into it.
func (g guardBench) fence(t *testing.T, at *ovstest.Capture) {
	t.Helper()
	check(t, at.FenceFrame(g.ctx, g.a, func(p []byte) []byte { return ovstest.UDP(stranger(), g.b, 1, 2, p) }))
}

// copied sends a frame in br0, and is how many packets with it arrived at the collector.
func (g guardBench) copied(t *testing.T, at *ovstest.Capture) int {
	t.Helper()
	payload := ovstest.Payload("copied")
	check(t, g.a.Send(ovstest.UDP(stranger(), g.b, 1, 2, payload)))
	g.fence(t, at)
	return ovstest.CountPayload(at.Frames(), payload)
}

// asked makes ovs-vswitchd forget the collector's address and need it, and is the requests for it that arrive there.
func (g guardBench) asked(t *testing.T, at *ovstest.Capture) int {
	t.Helper()
	before := len(at.Frames())
	appctl(g.ctx, t, g.lab, "revalidator/purge") // or each running flow asks too
	appctl(g.ctx, t, g.lab, "tnl/neigh/flush")
	check(t, g.a.Send(ovstest.UDP(stranger(), g.b, 1, 2, ovstest.Payload("lost"))))
	for !strings.Contains(appctl(g.ctx, t, g.lab, "tnl/neigh/show"), g.remote.Addr().String()) {
		check(t, g.ctx.Err())
	}
	g.fence(t, at)
	n := 0
	for _, f := range at.Frames()[before:] {
		if said := ovstest.Describe(f.Data); strings.HasPrefix(said, "ARP who-has "+g.remote.Addr().String()+" tell "+g.local) ||
			strings.HasPrefix(said, g.local+" > ff02::1:ff00:9 ICMPv6 NeighborSolicitation") {
			n++
		}
	}
	return n
}

// Three guards make a tunnel through a mirrored bridge safe on the userspace datapath: against its own packets, against
// what ovs-vswitchd asks while it does not know the collector's address, and, where the collector may have no
// tunnel, against the errors it sends. Without them everything goes round until ofproto ends it, 64 deep.
func TestGuardsKeepATunnelThroughAMirroredBridgeFromFeedingBack(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		g := newGuardBench(t, v6)
		at := capture(g.ctx, t, g.remote)
		copies := "priority=100 actions=output:11"
		for _, c := range []struct {
			guards []string
			outer  bool // the tunnel's packets go round
			asks   bool // requests do
		}{
			{nil, true, true},
			{[]string{g.outer, g.errors}, false, true},
			{[]string{g.outer, g.errors, g.asks}, false, false},
		} {
			rules := []string{copies}
			for _, r := range c.guards {
				rules = append(rules, r+" actions=drop")
			}
			g.rules(t, rules...)
			n := g.copied(t, at)
			if c.outer && n < 10 || !c.outer && n != 1 {
				t.Errorf("IPv6 %v, %d guards: %d packets of one frame, want many: %v", v6, len(c.guards), n, c.outer)
			}
			m := g.asked(t, at)
			if c.asks && m < 30 || !c.asks && (m < 1 || m > 10) {
				t.Errorf("IPv6 %v, %d guards: %d requests, want many: %v", v6, len(c.guards), m, c.asks)
			}
			t.Logf("IPv6 %v, %d guards: %d packets of one frame, %d requests", v6, len(c.guards), n, m)
		}
	}
}

// What the guards see, on the tap bridge: the tunnel's packets as they leave, and requests as they enter by the internal
// port; from the host's address of the bridge, IP and Ethernet, to everybody.
func TestWhatOfATunnelEntersTheMirror(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		g := newGuardBench(t, v6)
		g.rules(t, "priority=100 actions=output:11", g.outer+" actions=output:1", g.asks+" actions=output:1", g.errors+" actions=drop")
		at, atTap := capture(g.ctx, t, g.remote), capture(g.ctx, t, g.audits[0])
		g.copied(t, at)
		g.asked(t, at)
		g.fenceAll(t, atTap)
		seen := map[string]bool{}
		for _, f := range atTap.Frames() {
			if said := ovstest.Describe(f.Data); !strings.Contains(said, " > 10.9.0.2 UDP 9 > 9") {
				said, _, _ = strings.Cut(said, " len")
				seen[fmt.Sprintf("%x %s", f.Data[:12], said)] = true
			}
		}
		r, mac := g.remote.Addr().String(), g.remote.HardwareAddr()
		host := strings.ReplaceAll(strings.Trim(vsctl(g.ctx, t, g.lab, "get", "Interface", "br0", "mac_in_use"), "\"\n"), ":", "")
		asks := fmt.Sprintf("ffffffffffff%s ARP who-has %s tell %s", host, r, g.local)
		if v6 {
			asks = fmt.Sprintf("3333ff000009%s %s > ff02::1:ff00:9 ICMPv6 NeighborSolicitation", host, g.local)
		}
		outer := fmt.Sprintf("%x%s %s > %s GRE ", []byte(mac), host, g.local, r)
		for _, want := range []string{asks, outer + "10.9.0.250 > 10.9.0.2 UDP 1 > 2"} {
			if !seen[want] {
				t.Errorf("IPv6 %v: the tap bridge has not %s", v6, want)
			}
		}
		for s := range seen {
			if s != asks && !strings.HasPrefix(s, outer) { // around the collector's own frames too
				t.Errorf("IPv6 %v: the guards match %s", v6, s)
			}
		}
	}
}

// Errors of a collector without GRE go round for ever, each frame one error, unless they are not copied.
func TestGuardAgainstErrorsOfTheCollector(t *testing.T) {
	g := newGuardBench(t, false)
	allow := exec.Command("sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit")
	check(t, g.remote.Launch(allow))
	check(t, allow.Wait())
	at, err := g.remote.Capture(g.ctx, ovstest.Outgoing())
	check(t, err)
	count := func(frames []ovstest.Frame) (copies, errors int) {
		for _, f := range frames {
			switch said := ovstest.Describe(f.Data); {
			case f.Outgoing && strings.Contains(said, "DestinationUnreachable(Protocol)"):
				errors++
			case strings.HasPrefix(said, "192.0.2.1 > "+g.remote.Addr().String()+" GRE"):
				copies++
			}
		}
		return copies, errors
	}
	rules := []string{"priority=100 actions=output:11", g.outer + " actions=drop", g.asks + " actions=drop"}
	g.rules(t, append(rules, g.errors+" actions=drop")...)
	for range 3 {
		g.copied(t, at)
	}
	check(t, at.Wait(g.ctx, func(f []ovstest.Frame) bool {
		copies, errors := count(f)
		return copies >= 3*4 && errors == copies
	}))
	check(t, at.Fence(g.ctx, g.b, g.remote))
	// Twice an address was asked for and told, by the host and by the collector, and some of that copied.
	if copies, errors := count(at.Frames()); copies > 3*4+4 || errors != copies {
		t.Errorf("guarded: %d errors of %d copies of 12 frames", errors, copies)
	}
	g.rules(t, rules...)
	before, _ := count(at.Frames())
	check(t, g.a.Send(ovstest.UDP(stranger(), g.b, 1, 2, nil)))
	check(t, at.Wait(g.ctx, func(f []ovstest.Frame) bool {
		copies, _ := count(f)
		return copies >= before+10
	}))
	g.rules(t, append(rules, g.errors+" actions=drop")...)
}
