package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// What guests send is no tunnel's packet: it is selected as it is, on the bridge by which the tunnel leaves too, and
// nothing is listed in its place.
func TestE2EFeedbackSenders(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	for _, sources := range []string{"{role: guest, direction: from}", "{vm: '[vw]', direction: from}", "{interface: ext-sensor, direction: from}"} {
		out := u.apply("  audit: {sources: [" + sources + "], destinations: [" + u.erspan() + "]}\n")
		if strings.Contains(out, "are listed") {
			t.Errorf("%s: apply says\n%s", sources, out)
		}
		u.settle()
		wire, c := u.wire(), u.crowd()
		u.check(fire(c.shots))
		u.check(wire.Fence(u.ctx, u.v, u.sensor))
		var copies [][]byte
		for _, s := range c.shots {
			guest, _ := s.from.(*ovstest.Guest)
			of := map[*ovstest.Guest]bool{u.a: strings.Contains(sources, "role"), u.b: strings.Contains(sources, "role"), u.v: guest != nil && !strings.Contains(sources, "ext"), u.w: !strings.Contains(sources, "ext"), u.sensor: strings.Contains(sources, "ext")}
			if guest != nil && of[guest] {
				copies = append(copies, s.frame)
			}
		}
		wire.want(copies, append(c.seen, c.seenOf...))
		u.wantNoLoop()
		u.wantNoChanges()
	}
}

// A bridge that patch ports join to the one by which the tunnel leaves: as long as that has not learnt where the
// collector is the tunnel's packets flood over the patch. Copied whole, both are listed, and each frame of either is
// copied once, where it entered; one of them alone cannot be.
func TestE2EFeedbackJoinedUnderlay(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	u.vsctl("add-port", "br0", "to-ext", "--", "set", "Interface", "to-ext", "type=patch", "options:peer=to-br0",
		"--", "add-port", "br-ext", "to-br0", "--", "set", "Interface", "to-br0", "type=patch", "options:peer=to-ext")
	for _, sources := range []string{"{role: all, bridge: br0}", "{vm: a}"} {
		u.wantLoop("  audit: {sources: ["+sources+"], destinations: ["+u.erspan()+"]}\n", "br0 -> ... -> erspan "+u.sensor.Addr().String()+" session 100 -> br-ext -> br0")
	}
	u.apply(u.everywhere())
	u.settle()
	for _, known := range []bool{true, false} {
		if !known {
			_, err := u.lab.AppCtl(u.ctx, "fdb/flush", "br-ext")
			u.check(err)
		}
		wire := u.wire()
		c := u.crowd()
		var frames [][]byte
		for _, s := range c.shots {
			if s.from != ovstest.Sender(u.host) {
				u.send(s.from, s.frame)
				frames = append(frames, s.frame)
			}
		}
		u.check(wire.Fence(u.ctx, u.a, u.b))
		u.check(wire.Fence(u.ctx, u.v, u.w))
		copies, _ := wire.sorted()
		u.wantSameFrames(fmt.Sprintf("copies, collector's place known: %v", known), copies, frames)
	}
	u.wantNoLoop()
	u.wantNoChanges()
}

// A tunnel of one session leaves by a bridge that another session copies to a local guest: that is listed, and has each
// frame once and none of the tunnel's.
func TestE2EFeedbackTunnelBesideLocalGuest(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	local := u.add(ovstest.GuestConfig{Name: "local", Bridge: "br-ext"})
	u.apply("  local: {sources: [{role: all, bridge: br-ext}], destinations: [{vm: local}]}\n")
	out := u.apply("  tunnel: {sources: [{role: all, bridge: br0}], destinations: [" + u.erspan() + "]}\n")
	if !strings.Contains(out, "session local: on bridge br-ext ports are listed one by one, so that packets of the tunnel erspan "+u.sensor.Addr().String()+" session 100 are not copied again") {
		t.Errorf("apply says\n%s", out)
	}
	u.settle()
	atLocal, wire := u.capture(local), u.wire()
	c := u.crowd()
	u.check(fire(c.shots))
	u.check(wire.Fence(u.ctx, u.a, u.b))
	u.check(atLocal.Fence(u.ctx, u.v, u.w))
	var onExt, onBr0 [][]byte
	for _, s := range c.shots {
		switch s.from {
		case ovstest.Sender(u.a), ovstest.Sender(u.b):
			onBr0 = append(onBr0, s.frame)
		case ovstest.Sender(u.host):
		default:
			onExt = append(onExt, s.frame)
		}
	}
	u.wantExactly(atLocal, onExt...)
	wire.want(onBr0, append(c.seen, c.seenOf...))
	u.wantNoLoop()
	u.wantNoChanges()
	// What no list of senders says is copied as it is, to a guest of this host: that makes no loop, and a warning.
	out = u.apply("  local: {sources: [{vm: v}], destinations: [{vm: local}]}\n")
	if !strings.Contains(out, "session local: packets of the tunnel erspan "+u.sensor.Addr().String()+" session 100 of session tunnel cross bridge br-ext and are copied too") {
		t.Errorf("apply says\n%s", out)
	}
	u.produce(u.a, u.b)
	u.wantNoLoop()
	u.want(exitOK, "delete", "tunnel")
	u.wantNoChanges()
}

// Two tunnels, each by a bridge that the other's session copies: both are listed, or the later is refused.
func TestE2EFeedbackTwoTunnelsAcross(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	far, err := u.lab.AddCollector(u.ctx, ovstest.CollectorConfig{Name: "far", Bridge: "br0", Host: netip.MustParsePrefix("198.51.100.1/24"), IP: netip.MustParsePrefix("198.51.100.2/24")})
	u.check(err)
	u.vsctl("set", "Interface", "br0", "mtu_request=1700", "--", "set", "Interface", far.Port(), "external_ids:spanctl-role=uplink")
	u.greet(u.a, u.b, far)
	tunnels := func(one, two string) string {
		// The host's own ports are left out: each is as wide as the path by it, and no path is wide enough for both.
		return fmt.Sprintf(`
  one: {sources: [%s], except: [{role: host}], destinations: [{gre: {remote: %s, key: 7}}]}
  two: {sources: [%s], except: [{role: host}], destinations: [%s]}
`, one, far.Addr(), two, u.erspan())
	}
	u.apply(tunnels("{role: all, bridge: br-ext}", "{role: all, bridge: br0}"))
	u.settle()
	atSensor, atFar := u.wire(), u.capture(far)
	c := u.crowd()
	var forSensor [][]byte
	for _, s := range c.shots {
		u.send(s.from, s.frame)
		if s.from == ovstest.Sender(u.a) || s.from == ovstest.Sender(u.b) {
			forSensor = append(forSensor, s.frame)
		}
	}
	u.check(atSensor.Fence(u.ctx, u.a, u.b))
	u.check(atFar.Fence(u.ctx, u.v, u.w))
	copies, _ := atSensor.sorted()
	u.wantSameFrames("copies of br0", copies, forSensor)
	for _, f := range atFar.Frames() {
		if said := ovstest.Describe(f.Data); strings.Count(said, "GRE") > 1 {
			t.Errorf("at the collector beyond br0 there is %s", said)
		}
	}
	u.wantNoLoop()
	u.wantNoChanges()
	u.want(exitOK, "delete", "two")
	u.wantLoop(tunnels("{role: all, bridge: br-ext}", "{vm: a}"), "gre "+far.Addr().String()+" key 7 of session one -> br0 -> ... -> erspan "+u.sensor.Addr().String()+" session 100")
}
