package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
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
// collector is the tunnel's packets flood over the patch, and are not copied there either. By rules each frame is copied
// once for each bridge by whose ports it goes, on both bridges or one; by lists of both, once, where it entered, and one
// of them alone is refused.
func TestE2EFeedbackJoinedUnderlay(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
			t.Parallel()
			u := newUnderlay(t)
			u.vsctl("add-port", "br0", "to-ext", "--", "set", "Interface", "to-ext", "type=patch", "options:peer=to-br0",
				"--", "add-port", "br-ext", "to-br0", "--", "set", "Interface", "to-br0", "type=patch", "options:peer=to-ext")
			if remote {
				u.lab.DB = u.overTCP()
				for _, sources := range []string{"{role: all, bridge: br0}", "{vm: a}"} {
					u.wantLoop("  audit: {sources: ["+sources+"], destinations: ["+u.erspan()+"]}\n", "br0 -> ... -> erspan "+u.sensor.Addr().String()+" session 100 -> its route is not known -> br0")
				}
				u.apply(u.everywhere())
				u.awaitEgress()
				u.apply(u.everywhere())
				u.crossing(func(string, bool) int { return 1 })
				return
			}
			u.apply(u.everywhere())
			u.crossing(func(_ string, crosses bool) int { return 1 + btoi(crosses) })
			u.apply("  audit: {sources: [{role: all, bridge: br0}], destinations: [" + u.erspan() + "]}\n")
			u.crossing(func(entered string, crosses bool) int { return btoi(entered == "br0" || crosses) })
		})
	}
}

// crossing sends a crowd's frames less the host's over two bridges that are joined, first where it is known where everybody
// is and then where br-ext has forgotten, and wants of each as many copies as there should be of what enters a bridge and
// is sent to the other too or is not.
func (u *underlay) crossing(copies func(entered string, crosses bool) int) {
	u.Helper()
	u.settle()
	for _, known := range []bool{true, false} {
		if !known {
			_, err := u.lab.AppCtl(u.ctx, "fdb/flush", "br-ext")
			u.check(err)
		}
		wire, c := u.wire(), u.crowd()
		c.shots = slices.DeleteFunc(c.shots, func(s shot) bool { return s.from == ovstest.Sender(u.host) })
		u.check(fire(c.shots))
		u.check(wire.Fence(u.ctx, u.a, ovstest.Broadcast))
		u.check(wire.Fence(u.ctx, u.v, ovstest.Broadcast))
		have, _ := wire.sorted()
		count := map[string]int{}
		for _, frame := range have {
			count[string(frame)]++
		}
		for _, s := range c.shots {
			entered, floods := "br-ext", s.frame[0] == 0xff
			if s.from == ovstest.Sender(u.a) || s.from == ovstest.Sender(u.b) {
				entered = "br0"
			}
			mayFlood := entered == "br-ext" && (!known || bytes.Equal(s.frame[:6], u.host.HardwareAddr()))
			least, most := copies(entered, floods), copies(entered, floods || mayFlood)
			if n := count[string(s.frame)]; n < least || n > most {
				u.Errorf("collector's place known %v: %d copies, not %d to %d, of %s", known, n, least, most, ovstest.Describe(s.frame))
			}
			delete(count, string(s.frame))
		}
		for frame, n := range count {
			u.Errorf("collector's place known %v: %d copies of %s", known, n, ovstest.Describe([]byte(frame)))
		}
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

// Two tunnels, each by a bridge that the other's session copies. On the host rules leave out the packets of both; by OVSDB
// alone both are listed, or the later is refused.
func TestE2EFeedbackTwoTunnelsAcross(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
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
			both := tunnels("{role: all, bridge: br-ext}", "{role: all, bridge: br0}")
			if remote {
				u.lab.DB = u.overTCP()
			}
			u.apply(both)
			if remote {
				u.await("the devices by which the tunnels leave", func() bool {
					return strings.Count(u.vsctl("--columns=status", "list", "Interface"), "tunnel_egress_iface=") == 2
				})
				u.apply(both)
			}
			u.across(far, u.a, u.b)
			partly := tunnels("{role: all, bridge: br-ext}", "{vm: a, direction: from}, {vm: b, direction: to}")
			if !remote {
				u.apply(partly)
				u.across(far, u.a)
				return
			}
			u.wantLoop(partly, "gre "+far.Addr().String()+" key 7 of session one -> br0 -> ... -> erspan "+u.sensor.Addr().String()+" session 100")
		})
	}
}

// across sends a crowd's frames and wants those of br0 that the guests send copied once to the one collector, and no copy
// of a copy at the other, which is on br0.
func (u *underlay) across(far *ovstest.Guest, senders ...ovstest.Sender) {
	u.Helper()
	u.settle()
	atSensor, atFar := u.wire(), u.capture(far)
	var forSensor [][]byte
	for _, s := range u.crowd().shots {
		u.send(s.from, s.frame)
		if slices.Contains(senders, s.from) {
			forSensor = append(forSensor, s.frame)
		}
	}
	u.check(atSensor.Fence(u.ctx, u.a, u.b))
	u.check(atFar.Fence(u.ctx, u.v, u.w))
	copies, _ := atSensor.sorted()
	u.wantSameFrames("copies of br0", copies, forSensor)
	for _, f := range atFar.Frames() {
		if said := ovstest.Describe(f.Data); strings.Count(said, "GRE") > 1 {
			u.Errorf("at the collector beyond br0 there is %s", said)
		}
	}
	u.wantNoLoop()
	u.wantNoChanges()
}
