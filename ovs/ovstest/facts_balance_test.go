package ovstest_test

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// balanceTo sends a connection, whole, to one of the audit ports: its number goes to a register, for the rules of
// outputRules. One of the numbers is that of no port.
func balanceTo(members int) string {
	list := []string{"65279"}
	for i := range members {
		list = append(list, fmt.Sprint(i+1))
	}
	return "bundle_load(symmetric_l3l4+udp,0,hrw,ofport,NXM_NX_REG1[0..15],members:" + strings.Join(list, ",") + "),resubmit(,4)"
}

// outputRules send to the port whose number is in the register, cut to 64 bytes.
func outputRules(members int) []string {
	var rules []string
	for i := range members {
		rules = append(rules, fmt.Sprintf("table=4,priority=100,reg1=%d actions=output(port=%d,max_len=64)", i+1, i+1))
	}
	return rules
}

// A way is the audit port that had a copy of the frame there, and that of the frame back, 0 for none.
type way struct{ there, back int }

// spread sends a frame each way of each connection, and says where the copies went: to some of these audit ports.
func (b ruleBench) spread(t *testing.T, list []connection, live ...int) map[uint16]way {
	t.Helper()
	ways := map[uint16]way{}
	for i, frames := range b.copies(t, list, live...) {
		for _, f := range frames {
			number, back := numberOf(f.Data)
			w := ways[number]
			at := map[bool]*int{false: &w.there, true: &w.back}[back]
			if *at != 0 {
				t.Errorf("connection %d: a frame has two copies, at %d and at %d", number, *at, live[i])
			}
			*at = live[i]
			ways[number] = w
		}
	}
	return ways
}

// copies sends a frame each way of each connection, and is what arrived at each of these audit ports.
func (b ruleBench) copies(t *testing.T, list []connection, live ...int) [][]ovstest.Frame {
	t.Helper()
	open := func(g *ovstest.Guest) *ovstest.Capture {
		c, err := g.Capture(b.ctx)
		check(t, err)
		return c
	}
	atA, atB := open(b.a), open(b.b)
	var at []*ovstest.Capture
	for _, i := range live {
		at = append(at, open(b.audits[i-1]))
	}
	for i, c := range list {
		check(t, b.a.Send(c.frame(false, nil)))
		check(t, b.b.Send(c.frame(true, nil)))
		if i%50 == 49 || i == len(list)-1 {
			for _, c := range []*ovstest.Capture{atA, atB} {
				check(t, c.Wait(b.ctx, func(f []ovstest.Frame) bool { return len(f) > i }))
			}
		}
	}
	b.fenceAll(t, at...)
	var frames [][]ovstest.Frame
	for _, c := range at {
		frames = append(frames, slices.DeleteFunc(slices.Clone(c.Frames()), func(f ovstest.Frame) bool {
			return strings.Contains(ovstest.Describe(f.Data), "UDP 9 > 9")
		}))
	}
	for _, c := range append(at, atA, atB) {
		check(t, c.Close())
	}
	return frames
}

// settled is spread, repeated until each connection goes whole to one port, which one it says: running flows follow what
// happens to a port when ovs-vswitchd has looked at them all again, one before the other. It has 5 s for that.
func (b ruleBench) settled(t *testing.T, what string, list []connection, live ...int) map[uint16]int {
	t.Helper()
	for began := time.Now(); ; {
		ways := b.spread(t, list, live...)
		member := map[uint16]int{}
		for _, c := range list {
			if w := ways[c.number]; w.there != 0 && w.there == w.back {
				member[c.number] = w.there
			}
		}
		if len(member) == len(list) {
			t.Logf("%s: shares %v, after %v", what, shares(member), time.Since(began).Round(time.Millisecond))
			return member
		}
		if time.Since(began) > 5*time.Second {
			t.Fatalf("%s: %d of %d connections go whole to one port", what, len(member), len(list))
		}
	}
}

// shares is how many connections each member has.
func shares(member map[uint16]int) map[int]int {
	n := map[int]int{}
	for _, m := range member {
		n[m]++
	}
	return n
}

// wantShare says that n of total is the share p, but for chance (5 standard deviations).
func wantShare(t *testing.T, what string, n, total int, p float64) {
	t.Helper()
	mean := float64(total) * p
	if off := math.Abs(float64(n) - mean); off > 5*math.Sqrt(mean*(1-p)) {
		t.Errorf("%s: %d of %d, want about %.0f", what, n, total, mean)
	}
}

// Both directions of each connection go to one member, evenly. What goes wrong with a local member moves its connections,
// those that run too, and no others; when it is back they are. A number without a port has none.
func TestBalanceMovesOnlyTheConnectionsOfADeadMember(t *testing.T) {
	b := newRuleBench(t, 3)
	b.rules(t, append(outputRules(3), "priority=100 actions="+balanceTo(3))...)
	list := connections(b.a, b.b, 300)
	before := b.settled(t, "all", list, 1, 2, 3)
	for m, n := range shares(before) {
		wantShare(t, fmt.Sprintf("member %d", m), n, len(list), 1./3)
	}
	first := b.audits[0]
	device := func(in func(*exec.Cmd) error, name, state string) func() {
		return func() {
			cmd := exec.Command("ip", "link", "set", name, state)
			check(t, in(cmd))
			check(t, cmd.Wait())
		}
	}
	for _, c := range []struct {
		what     string
		down, up func()
	}{
		{"down in the guest", device(first.Launch, "eth0", "down"), device(first.Launch, "eth0", "up")},
		{"down on the host", device(b.lab.Launch, first.Port(), "down"), device(b.lab.Launch, first.Port(), "up")},
		{"port removed", func() { check(t, first.Stop(b.ctx)) }, func() { check(t, first.Start(b.ctx)) }},
		{"device gone", func() { check(t, first.Vanish(b.ctx)) }, func() { check(t, first.Stop(b.ctx)); check(t, first.Start(b.ctx)) }},
	} {
		c.down()
		after := b.settled(t, c.what, list, 2, 3)
		for _, l := range list {
			if before[l.number] != 1 && after[l.number] != before[l.number] {
				t.Errorf("%s: connection %d moves from %d to %d", c.what, l.number, before[l.number], after[l.number])
			}
		}
		c.up()
		for began := time.Now(); !maps.Equal(b.settled(t, c.what+", over", list, 1, 2, 3), before); {
			if time.Since(began) > 5*time.Second {
				t.Fatalf("%s, over: connections are not where they were", c.what)
			}
		}
	}
}

// What is hashed is the exclusive or of both addresses, and of both ports: pairs of hosts that differ in the same bits, and
// speak from and to one port, all go to one member.
func TestBalanceHashesTheDifferenceOfAddresses(t *testing.T) {
	b := newRuleBench(t, 3)
	b.rules(t, append(outputRules(3), "priority=100 actions="+balanceTo(3))...)
	station := func(g *ovstest.Guest, third, last byte) ovstest.Station {
		return ovstest.Station{MAC: g.HardwareAddr(), IP: netip.AddrFrom4([4]byte{10, 8, third, last})}
	}
	var captures []*ovstest.Capture
	for _, g := range b.audits {
		captures = append(captures, capture(b.ctx, t, g))
	}
	for _, c := range []struct {
		what    string
		port    uint16
		second  func(i byte) byte
		members int
	}{
		{"the same bits", 123, func(i byte) byte { return i }, 1},
		{"other bits", 124, func(byte) byte { return 1 }, 3},
	} {
		for i := range byte(64) {
			frame := ovstest.UDP(station(b.a, 1, i), station(b.b, 2, c.second(i)), c.port, c.port, nil)
			check(t, b.a.Send(frame))
		}
		b.fenceAll(t, captures...)
		used := 0
		for _, at := range captures {
			if slices.ContainsFunc(at.Frames(), func(f ovstest.Frame) bool {
				return strings.Contains(ovstest.Describe(f.Data), fmt.Sprintf("UDP %d > %d", c.port, c.port))
			}) {
				used++
			}
		}
		if used != c.members {
			t.Errorf("%s: %d members are used, want %d", c.what, used, c.members)
		}
	}
}

func TestBalanceWithoutLiveMembersCopiesNothing(t *testing.T) {
	b := newRuleBench(t, 1)
	b.rules(t, append(outputRules(1), "priority=100 actions="+balanceTo(0))...)
	for _, frames := range b.copies(t, connections(b.a, b.b, 8), 1) {
		if len(frames) != 0 {
			t.Errorf("%d copies", len(frames))
		}
	}
}

// kept is the connections of which both ways have copies. None has but one.
func kept(t *testing.T, what string, frames []ovstest.Frame) map[uint16]bool {
	t.Helper()
	ways := map[uint16]int{}
	for _, f := range frames {
		number, back := numberOf(f.Data)
		ways[number] |= map[bool]int{false: 1, true: 2}[back]
	}
	whole := map[uint16]bool{}
	for number, w := range ways {
		if w != 3 {
			t.Errorf("%s: of connection %d one way only is copied", what, number)
		}
		whole[number] = true
	}
	return whole
}

// Sampling keeps one in N connections, both ways of each, and has nothing to do with balancing what it keeps.
func TestSampleKeepsOneInN(t *testing.T) {
	b := newRuleBench(t, 5)
	ns := []int{2, 3, 16, 1000, 4}
	all := "priority=100 actions="
	rules := outputRules(5)
	for i, n := range ns {
		all += fmt.Sprintf("multipath(symmetric_l3l4+udp,1024,modulo_n,%d,0,NXM_NX_REG0[]),resubmit(,%d),", n, 10+i)
		rules = append(rules, fmt.Sprintf("table=%d,priority=100,reg0=0 actions=output:%d", 10+i, i+1))
	}
	b.rules(t, append(rules, strings.TrimSuffix(all, ","))...)
	list := connections(b.a, b.b, 4000)
	for i, frames := range b.copies(t, list, 1, 2, 3, 4, 5) {
		what := fmt.Sprintf("1 in %d", ns[i])
		whole := kept(t, what, frames)
		t.Logf("%s: %d", what, len(whole))
		wantShare(t, what, len(whole), len(list), 1/float64(ns[i]))
	}

	b.rules(t, append(outputRules(3),
		"priority=100 actions=multipath(symmetric_l3l4+udp,1024,modulo_n,4,0,NXM_NX_REG0[]),resubmit(,2)",
		"table=2,priority=100,reg0=0 actions="+balanceTo(3))...)
	members := map[int]int{}
	total := 0
	for i, frames := range b.copies(t, list, 1, 2, 3) {
		members[i+1] = len(kept(t, "sample, balanced", frames))
		total += members[i+1]
	}
	t.Logf("1 in 4, balanced: %v", members)
	wantShare(t, "1 in 4", total, len(list), 1./4)
	for m, n := range members {
		wantShare(t, fmt.Sprintf("member %d of 1 in 4", m), n, total, 1./3)
	}
}

func TestSampleAtMostOneIn65536(t *testing.T) {
	b := newRuleBench(t, 1)
	rule := func(n int, register string) error {
		return b.tryRules(fmt.Sprintf("priority=100 actions=multipath(symmetric_l3l4+udp,1024,modulo_n,%d,0,%s),resubmit(,2)", n, register))
	}
	for _, n := range []int{1, 2, 65535, 65536} {
		check(t, rule(n, "NXM_NX_REG0[]"))
		if got := ofctl(b.ctx, t, b.lab, "dump-flows", "tap"); !strings.Contains(got, fmt.Sprintf("modulo_n,%d,0,NXM_NX_REG0[]", n)) {
			t.Errorf("1 in %d: rules are\n%s", n, got)
		}
	}
	for _, c := range []struct {
		n        int
		register string
	}{{0, "NXM_NX_REG0[]"}, {65537, "NXM_NX_REG0[]"}, {17, "NXM_NX_REG0[0..3]"}} {
		if err := rule(c.n, c.register); err == nil {
			t.Errorf("1 in %d into %s is taken", c.n, c.register)
		}
	}
}
