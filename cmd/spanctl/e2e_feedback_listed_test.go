package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// everywhere is a session that copies everything, also on the bridge by which its tunnel leaves.
func (u *underlay) everywhere() string {
	return "  audit: {sources: [{role: all}], destinations: [" + u.erspan() + "]}\n"
}

// crowd is frames of production on both bridges, and which of them come to the collector by themselves. What is entered
// by the host's port of br-ext is apart: it is documented not to be copied where ports are listed.
type crowd struct {
	shots         []shot
	frames, seen  [][]byte // all but the host's by br-ext; those that the collector receives
	hosts, seenOf [][]byte // the host's, likewise
}

// crowd is one frame from everybody to everybody, and to all.
func (u *underlay) crowd() crowd {
	var c crowd
	add := func(from ovstest.Sender, to ovstest.Endpoint, frame []byte) {
		c.shots = append(c.shots, shot{from, frame})
		seen := from != ovstest.Sender(u.sensor) && (to.HardwareAddr()[0] == 0xff || to.HardwareAddr().String() == u.sensor.HardwareAddr().String())
		if from == ovstest.Sender(u.host) {
			c.hosts = append(c.hosts, frame)
			if seen {
				c.seenOf = append(c.seenOf, frame)
			}
			return
		}
		c.frames = append(c.frames, frame)
		if seen && from != ovstest.Sender(u.a) && from != ovstest.Sender(u.b) {
			c.seen = append(c.seen, frame)
		}
	}
	for _, bridge := range [][]ovstest.Sender{{u.a, u.b}, {u.v, u.w, u.sensor, u.host}} {
		for _, from := range bridge {
			for _, to := range bridge {
				if from != to {
					add(from, to, udp(from, to))
					add(from, to, ovstest.Tagged(udp(from, to), 10))
				}
			}
			add(from, ovstest.Broadcast, udp(from, ovstest.Broadcast))
			add(from, ovstest.Broadcast, ovstest.QinQ(udp(from, ovstest.Broadcast), 10, 20))
		}
	}
	return c
}

// A tunnel by a bridge that is mirrored whole. On the host rules leave its packets out, and everything is copied once, what
// the host sends by that bridge too. By OVSDB alone ports are listed: what enters by real ports is copied once, and what the
// host sends is not. Either way there is no other frame on the wire.
func TestE2EFeedbackTunnelByMirroredBridge(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
			t.Parallel()
			u := newUnderlay(t)
			if remote {
				u.lab.DB = u.overTCP()
			}
			out := u.apply(u.everywhere())
			for _, words := range []string{"on bridge br-ext ports are listed one by one", "what the host sends by the host's own ports is not copied"} {
				if strings.Contains(out, words) != remote {
					t.Errorf("apply says %q: %v\n%s", words, !remote, out)
				}
			}
			u.settle()
			wire, atV := u.wire(), u.capture(u.v)
			c := u.crowd()
			u.check(fire(c.shots))
			u.check(wire.Fence(u.ctx, u.a, u.b))
			u.check(wire.Fence(u.ctx, u.v, u.w))
			copies := c.frames
			if !remote {
				copies = slices.Concat(c.frames, c.hosts)
			}
			wire.want(copies, append(c.seen, c.seenOf...))
			u.check(atV.Fence(u.ctx, u.w, u.v))
			for _, f := range atV.Frames() {
				if strings.Contains(ovstest.Describe(f.Data), "GRE") {
					t.Errorf("at a guest there is %s", ovstest.Describe(f.Data))
				}
			}
			u.wantNoLoop()
			u.wantNoChanges()
			u.status(exitOK)
			u.want(exitOK, "delete", "--all")
			u.settle()
			again, d := u.wire(), u.crowd()
			u.check(fire(d.shots))
			u.check(again.Fence(u.ctx, u.v, u.sensor))
			again.want(nil, append(d.seen, d.seenOf...))
		})
	}
}
