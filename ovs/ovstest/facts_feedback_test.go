package ovstest_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// underlay is a hub whose tunnel leaves by br-ext: by its internal port, by route, and by the collector's port. A
// guest w is on br-ext too, and br-ext has a patch to the hub, for mirrors of br-ext itself.
type underlay struct {
	ctx             context.Context
	lab             *ovstest.Lab
	a, b, w, remote *ovstest.Guest
	patch           string // the end on br-ext
}

func newUnderlay(t *testing.T) underlay {
	t.Helper()
	ctx, lab := start(t, ovstest.Config{})
	u := underlay{ctx: ctx, lab: lab, a: guest(ctx, t, lab, "a"), b: guest(ctx, t, lab, "b"), patch: "out-br-ext"}
	u.remote = collector(ctx, t, lab, ovstest.CollectorConfig{Name: "r"})
	u.w = add(ctx, t, lab, ovstest.GuestConfig{Name: "w", Bridge: "br-ext"})
	vsctl(ctx, t, lab, hubRows("hub", "br0", "br-ext")...)
	vsctl(ctx, t, lab, tunnelRows("hub", "erspan1", "erspan", u.remote, "erspan_ver=1", "key=7")...)
	vsctl(ctx, t, lab, sourceRows("br0")...)
	vsctl(ctx, t, lab, destinationRows("hub", "erspan1")...)
	return u
}

// mirror makes the one mirror of br-ext.
func (u underlay) mirror(t *testing.T, output, selection string) {
	t.Helper()
	vsctl(u.ctx, t, u.lab, "clear", "Bridge", "br-ext", "mirrors")
	vsctl(u.ctx, t, u.lab, mirrorRows("br-ext", "again", output, selection)...)
	appctl(u.ctx, t, u.lab, "revalidator/purge")
}

// copied sends one frame of a new flow in br0 and awaits its copy, and all copies of copies, at the collector. It is
// how often it arrived at a capture.
func (u underlay) copied(t *testing.T, atRemote, at *ovstest.Capture) int {
	t.Helper()
	payload := ovstest.Payload("copied")
	check(t, u.a.Send(ovstest.UDP(stranger(), u.b, 1, 2, payload)))
	check(t, atRemote.WaitPayload(u.ctx, payload, 1))
	check(t, atRemote.FenceFrame(u.ctx, u.a, func(p []byte) []byte { return ovstest.UDP(stranger(), u.b, 9, 9, p) }))
	return ovstest.CountPayload(at.Frames(), payload)
}

// asked makes ovs-vswitchd forget the collector's address and need it, and is how many requests for it arrived at a
// capture when it has the answer.
func (u underlay) asked(t *testing.T, at *ovstest.Capture) int {
	t.Helper()
	before := len(at.Frames())
	appctl(u.ctx, t, u.lab, "tnl/neigh/flush")
	appctl(u.ctx, t, u.lab, "revalidator/purge") // an answer that a flow of before carries teaches ovs-vswitchd nothing
	check(t, u.a.Send(ovstest.UDP(stranger(), u.b, 1, 2, ovstest.Payload("lost"))))
	for !strings.Contains(appctl(u.ctx, t, u.lab, "tnl/neigh/show"), u.remote.Addr().String()) {
	}
	n := 0
	for _, f := range at.Frames()[before:] {
		if strings.HasPrefix(ovstest.Describe(f.Data), "ARP who-has "+u.remote.Addr().String()+" tell 192.0.2.1") {
			n++
		}
	}
	return n
}

// Fact 29, userspace datapath: what a tunnel sends enters its underlay bridge by no port, so that no select_src_port
// copies it, not that of the internal port either; it leaves as any frame does, so that select_all and the
// select_dst_port of where it leaves copy it. What ovs-vswitchd itself sends, ARP for the collector, does enter by the
// internal port. So a mirror of the underlay into the tunnel is safe with the select_src_port of all real
// ports, without the internal one.
func TestOnlyRealPortsAsSourcesDoNotFeedATunnelBack(t *testing.T) {
	u := newUnderlay(t)
	ext, w := u.remote.Port(), u.w.Port()
	atW, atRemote := capture(u.ctx, t, u.w), capture(u.ctx, t, u.remote)
	for _, c := range []struct {
		selection string
		outer     bool // the tunnel's packets are copied, so that they feed back
		arp       bool // requests are copied, so that they feed back while there is no answer
	}{
		{"select_all=true", true, true},
		{"select_dst_port=" + ext, true, true},
		{"select_src_port=" + ext + "," + w + ",br-ext", false, true},
		{"select_src_port=" + ext + "," + w, false, false},
		{"select_dst_port=br-ext", false, false},
	} {
		u.mirror(t, w, c.selection)
		want := map[bool]int{true: 1}[c.outer]
		if n := u.copied(t, atRemote, atW); n != want {
			t.Errorf("%s to a guest: the tunnel's packet is copied %d times, want %d", c.selection, n, want)
		}
		if n := u.asked(t, atW); (n > 0) != c.arp {
			t.Errorf("%s to a guest: %d requests, want some: %v", c.selection, n, c.arp)
		}

		u.mirror(t, u.patch, c.selection)
		n := u.copied(t, atRemote, atRemote)
		if c.outer && n < 10 || !c.outer && n != 1 {
			t.Errorf("%s to the tunnel: %d packets of one frame, want many: %v", c.selection, n, c.outer)
		}
		// A loop asks 64 times or more. A few are no loop: each copy that comes before the answer asks, that of the
		// answer too, and so does each flow that is looked at again meanwhile.
		if n := u.asked(t, atRemote); c.arp && n < 30 || !c.arp && (n < 1 || n > 15) {
			t.Errorf("%s to the tunnel: %d requests, want many: %v", c.selection, n, c.arp)
		}
	}
	log, err := u.lab.VSwitchdLog()
	check(t, err)
	if !strings.Contains(log, "over max translation depth 64") {
		t.Error("the log says nothing of loops")
	}
}

// As long as the underlay bridge does not know where the collector is, the tunnel's packets flood, as requests for its
// address always do: then they leave by every port, and any select_dst_port copies them.
func TestFloodedTunnelFeedsBackThroughAnyPort(t *testing.T) {
	u := newUnderlay(t)
	u.mirror(t, u.patch, "select_dst_port="+u.w.Port())
	atRemote := capture(u.ctx, t, u.remote)
	if n := u.copied(t, atRemote, atRemote); n != 1 {
		t.Errorf("%d packets of one frame, want 1", n)
	}
	appctl(u.ctx, t, u.lab, "fdb/flush", "br-ext")
	if n := u.copied(t, atRemote, atRemote); n < 10 {
		t.Errorf("%d packets of one frame after a flush, want many", n)
	}
}

// A collector without GRE answers each packet with an ICMP error, which enters by a real port: where that is a
// source, the error is copied, answered and copied again, each frame one packet that goes round for ever. (Linux ends it
// by its rate limit: by default after 7 errors. Here that is off, and the burst of 50 for the whole host is
// what ends it.)
func TestErrorsOfCollectorGoRoundWhereTheirPortIsASource(t *testing.T) {
	u := newUnderlay(t)
	allow := exec.Command("sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit")
	check(t, u.remote.Launch(allow))
	check(t, allow.Wait())
	atRemote, err := u.remote.Capture(u.ctx, ovstest.Outgoing())
	check(t, err)
	count := func(frames []ovstest.Frame) (copies, errors int) {
		for _, f := range frames {
			switch said := ovstest.Describe(f.Data); {
			case strings.Contains(said, "GRE ERSPAN session 7"):
				copies++
			case f.Outgoing && strings.Contains(said, "DestinationUnreachable(Protocol)"):
				errors++
			}
		}
		return copies, errors
	}
	send := func() { check(t, u.a.Send(ovstest.UDP(stranger(), u.b, 1, 2, ovstest.Payload("copied")))) }

	for range 3 {
		send()
	}
	check(t, atRemote.Wait(u.ctx, func(frames []ovstest.Frame) bool {
		_, errors := count(frames)
		return errors >= 3
	}))
	check(t, atRemote.Fence(u.ctx, u.w, u.remote))
	if copies, errors := count(atRemote.Frames()); copies != 3 || errors != 3 {
		t.Errorf("no mirror: %d copies and %d errors of 3 frames", copies, errors)
	}

	u.mirror(t, u.patch, "select_src_port="+u.remote.Port())
	send()
	check(t, atRemote.Wait(u.ctx, func(frames []ovstest.Frame) bool {
		copies, errors := count(frames)
		return copies > 3+10 && errors > 3+10
	}))
}
