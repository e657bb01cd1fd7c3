package main

import (
	"bytes"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// in runs a command in the collector.
func (u *underlay) in(command string) {
	u.Helper()
	out, err := exec.CommandContext(u.ctx, "nsenter", "-t", strconv.Itoa(u.sensor.PID()), "-n", "sh", "-c", command).CombinedOutput()
	if err != nil {
		u.Fatalf("%s: %v: %s", command, err, out)
	}
}

// forget makes ovs-vswitchd forget the collector's address.
func (u *underlay) forget() {
	u.Helper()
	for _, command := range []string{"tnl/neigh/flush", "revalidator/purge"} {
		_, err := u.lab.AppCtl(u.ctx, command)
		u.check(err)
	}
}

// Whatever way a collector is dead, production has each frame once, and what the tunnel makes go over the wire, in both
// directions, is one frame or less for each that is copied, and a few more.
func TestE2EFeedbackDeadCollector(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		more int
		die  func(u *underlay)
	}{
		{"does not answer", 0, func(u *underlay) {
			u.in("ip address flush dev eth0")
			u.forget()
		}},
		{"link down", 0, func(u *underlay) { u.link(u.sensor, "down") }},
		{"forgotten", 10, func(u *underlay) { u.forget() }},
		// An answer is copied and answered again: a Linux host makes six, and then one a second.
		{"no GRE", 2 * (6 + 30), func(u *underlay) { u.in("echo 1000 >/proc/sys/net/ipv4/icmp_ratelimit") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := newUnderlay(t)
			u.apply(u.everywhere())
			u.settle()
			c.die(u)
			wire, err := u.lab.CapturePort(u.ctx, u.sensor.Port(), ovstest.Outgoing())
			u.check(err)
			sent := 0
			for range 5 {
				sent += u.produce(u.a, u.b) + u.produce(u.v, u.w)
			}
			kinds := map[string]int{}
			for _, f := range wire.Frames() {
				said := strings.Fields(ovstest.Describe(f.Data) + " - - - -")
				kinds[strings.Join(said[:4], " ")]++
			}
			if n := len(wire.Frames()); n > sent+c.more {
				t.Errorf("%d frames on the wire of %d of production: %v", n, sent, kinds)
			}
			t.Log(sent, kinds)
			u.wantNoLoop()
			u.want(exitOK, "delete", "--all")
		})
	}
}

// produce exchanges frames of new and of running connections, wants each guest to have exactly those sent to it, but for
// ovs-vswitchd's own questions for the collector, and says how many there were.
func (u *underlay) produce(a, b *ovstest.Guest) int {
	u.Helper()
	const fences = 3
	at := map[*ovstest.Guest]*ovstest.Capture{a: u.capture(a), b: u.capture(b)}
	sent := append(u.exchange(a, b, 2), u.exchange(a, b, 2, 10)...)
	for _, pair := range [][2]*ovstest.Guest{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		fresh := udp(from, to)
		sent = append(sent, ovstest.Sent{From: from, Frame: fresh})
		u.send(from, fresh)
		u.check(at[to].Fence(u.ctx, from, to))
		var have [][]byte
		for _, f := range at[to].Frames() {
			said := ovstest.Describe(f.Data)
			if !strings.HasPrefix(said, "ARP who-has "+u.sensor.Addr().String()) && !bytes.Contains(f.Data, []byte("<fence/")) {
				have = append(have, f.Data)
			}
		}
		u.wantSameFrames("at "+to.Name(), have, frames(sent, from))
	}
	return len(sent) + 2*fences
}
