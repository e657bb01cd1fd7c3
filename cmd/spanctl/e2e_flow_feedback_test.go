package main

import (
	"bytes"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// picks are sources on the bridge by which the tunnel leaves, that no list of senders says, and by name of the station what
// they pick: what it sends, and what is sent to it.
var picks = []struct {
	sources  string
	from, to string // v, w, sensor, host, a, b
	tagged   bool   // what is tagged 10 alone
}{
	{"{role: all}", "v w sensor host a b", "v w sensor host a b", false},
	{"{role: uplink, bridge: br-ext}", "sensor", "sensor", false},
	{"{role: uplink, bridge: br-ext, direction: to}", "", "sensor", false},
	{"{role: guest}", "v w a b", "v w a b", false},
	{"{vm: v}", "v", "v", false},
	{"{role: all, bridge: br-ext, direction: to}", "", "v w sensor host", false},
	{"{role: host, bridge: br-ext}", "host", "host", false},
	{"{role: host, bridge: br-ext, direction: from}", "host", "", false},
	{"{vm: v, direction: from}, {vm: w, direction: to}", "v", "w", false},
	{"{role: all, vlans: [10]}", "v w sensor host a b", "v w sensor host a b", true},
}

// On the host what is copied of the bridge by which the tunnel leaves is what was asked for, each frame once, the host's
// too, and there is no other frame on the wire.
func TestE2EFlowFeedbackCopiesWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	for _, p := range picks {
		u.apply("  audit: {sources: [" + p.sources + "], destinations: [" + u.erspan() + "]}\n")
		u.settle()
		wire, c := u.wire(), u.crowd()
		u.check(fire(c.shots))
		u.check(wire.Fence(u.ctx, u.v, u.sensor))
		u.check(wire.Fence(u.ctx, u.w, u.sensor))
		var want [][]byte
		for _, s := range c.shots {
			if u.picked(s, strings.Fields(p.from), strings.Fields(p.to)) && (!p.tagged || s.frame[12] == 0x81 || s.frame[12] == 0x88) {
				want = append(want, s.frame)
			}
		}
		u.sub(p.sources, func(s *site) {
			wire.s = s
			wire.want(want, append(c.seen, c.seenOf...))
		})
		u.wantNoLoop()
	}
	u.wantNoChanges()
	u.status(exitOK)
	u.want(exitOK, "delete", "--all")
}

// picked reports whether a frame is sent by one of the first or to one of the others.
func (u *underlay) picked(s shot, from, to []string) bool {
	sent := func(name string) ovstest.Sender {
		return map[string]ovstest.Sender{"v": u.v, "w": u.w, "sensor": u.sensor, "host": u.host, "a": u.a, "b": u.b}[name]
	}
	beside := func(one, other ovstest.Sender) bool { // on one bridge
		onBr0 := func(s ovstest.Sender) bool { return s == ovstest.Sender(u.a) || s == ovstest.Sender(u.b) }
		return onBr0(one) == onBr0(other)
	}
	for _, name := range from {
		if sent(name) == s.from {
			return true
		}
	}
	for _, name := range to {
		if one := sent(name); one != s.from && beside(one, s.from) && (s.frame[0] == 0xff || bytes.Equal(s.frame[:6], one.HardwareAddr())) {
			return true
		}
	}
	return false
}

// While the collector's address is not known ovs-vswitchd asks for it, by the very bridge: the questions are not copied,
// whoever asks, and what is copied once it is known is copied once.
func TestE2EFlowFeedbackAsksForTheCollector(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	u.apply(u.everywhere())
	u.settle()
	for range 3 {
		u.forget()
		wire := u.wire()
		// Until there is an answer copies are lost: what is sent again arrives.
		u.await("a copy", func() bool {
			u.send(u.v, udp(u.v, u.w))
			copies, _ := wire.sorted()
			return len(copies) > 0
		})
		u.check(wire.Fence(u.ctx, u.v, u.w))
		copies, others := wire.sorted()
		count := map[string]int{}
		for _, frame := range copies {
			said := ovstest.Describe(frame)
			if count[string(frame)]++; count[string(frame)] > 1 && !strings.HasPrefix(said, "ARP") || strings.Contains(said, "GRE") || strings.Contains(said, "who-has "+u.sensor.Addr().String()) {
				t.Errorf("copied is %s", said)
			}
		}
		for _, frame := range others {
			if said := ovstest.Describe(frame); !strings.HasPrefix(said, "ARP who-has "+u.sensor.Addr().String()) {
				t.Errorf("on the wire is %s", said)
			}
		}
		c := u.crowd()
		wire = u.wire()
		u.check(fire(c.shots))
		u.check(wire.Fence(u.ctx, u.v, u.w))
		u.check(wire.Fence(u.ctx, u.w, u.v))
		copies, _ = wire.sorted()
		u.wantSameFrames("copies", copies, append(c.frames, c.hosts...))
	}
	u.wantNoLoop()
	u.wantNoChanges()
}
