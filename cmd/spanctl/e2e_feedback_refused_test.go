package main

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// wantLoop wants plan and apply to refuse the sessions as a loop, with the path, on which ... stands for a tap bridge, and
// some more words, and apply to change nothing.
func (s *site) wantLoop(sessions, path string, words ...string) {
	s.Helper()
	file := s.policy(sessions)
	before := s.database()
	for _, args := range [][]string{{"plan"}, {"apply", "--dry-run"}, {"apply"}} {
		code, _, stderr := s.spanctl(append(args, "-f", file)...)
		if code != exitRefused {
			s.Errorf("%s\n%s exits %d, want %d\n%s", sessions, args, code, exitRefused, stderr)
		}
		start, end, _ := strings.Cut(path, "...")
		for _, word := range append(words, "loop: copies would be copied again ("+start+"spanctl-", end+")") {
			if !strings.Contains(stderr, word) {
				s.Errorf("%s\n%s says\n%s\nand nothing of %q", sessions, args, stderr, word)
			}
		}
	}
	s.wantSame("refused", before, s.database(), ofItself)
}

// Where there are no rules, and no list of senders says what the session asks for, it is refused: so are all that mirror
// what the tunnel's own way sends, and only a part of what else there is.
func TestE2EFeedbackRefused(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	u.lab.DB = u.overTCP()
	path := "br-ext -> ... -> erspan " + u.sensor.Addr().String() + " session 100 -> its route is not known -> br-ext"
	for sources, why := range map[string]string{
		"{role: uplink, bridge: br-ext}":                   "what port vif-v sends is not",
		"{role: uplink, bridge: br-ext, direction: to}":    "nothing else is copied there",
		"{role: guest, bridge: br-ext}":                    "what port ext-sensor sends is not",
		"{role: guest}":                                    "what port ext-sensor sends is not",
		"{vm: v}":                                          "what port ext-sensor sends is not",
		"{role: all, bridge: br-ext, direction: to}":       "nothing else is copied there",
		"{role: all, direction: to}":                       "nothing else is copied there",
		"{role: host, bridge: br-ext}":                     "nothing else is copied there",
		"{role: host, bridge: br-ext, direction: from}":    "nothing else is copied there",
		"{vm: v, direction: from}, {vm: w, direction: to}": "what port ext-sensor sends is not",
		"{role: all, vlans: [10]}, {vm: v, vlans: [11]}":   "what port ext-sensor sends is not",
	} {
		u.wantLoop("  audit: {sources: ["+sources+"], destinations: ["+u.erspan()+"]}\n", path, why)
	}
	u.wantLoop("  audit: {sources: [{role: all}], except: [{vm: v}], destinations: ["+u.erspan()+"]}\n", path, "what port vif-v sends is not")

	// What is refused hurts no other session, and a change of one that stands leaves it as it is.
	u.apply(u.everywhere())
	u.awaitEgress()
	u.wantLoop("  audit: {sources: [{role: guest}], destinations: ["+u.erspan()+"]}\n", strings.Replace(path, "its route is not known -> ", "", 1))
	u.wantNoChanges()
	u.status(exitOK)
}

// A tunnel whose route nobody knows may leave by any bridge: as many ports are listed as would be if it did, or the
// session is refused.
func TestE2EFeedbackUnknownRoute(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	const nowhere = "203.0.113.9"
	whole := "  audit: {sources: [{role: all}], destinations: [{gre: {remote: " + nowhere + "}}]}\n"
	guests := "  audit: {sources: [{role: guest, bridge: br0}], destinations: [{gre: {remote: " + nowhere + "}}]}\n"
	check := func(s *site) {
		s.Helper()
		s.wantLoop(strings.Replace(guests, "role: guest", "vm: a", 1), "br0 -> ... -> gre "+nowhere+" -> its route is not known -> br0", "what port vif-b sends is not", "run spanctl on the host")
		if out := s.want(exitOK, "plan", "-f", s.policy(whole)); !strings.Contains(out, "may leave by it: its route is not known") {
			s.Errorf("plan says\n%s", out)
		}
	}
	// Where it is known that there is none, the tunnel is waited for: who knows by which bridge it will leave one day.
	u.sub("no route", func(s *site) {
		if out := s.apply(whole); !strings.Contains(out, "session audit: waiting (no route to "+nowhere+")") {
			s.Errorf("apply says\n%s", out)
		}
		if health := s.status(exitDegraded)["audit"]; health.State != plan.StateWaiting || len(health.Mirrors) > 0 {
			s.Errorf("status is %+v", health)
		}
		add := exec.Command("ip", "route", "add", nowhere+"/32", "via", u.sensor.Addr().String())
		s.check(s.lab.Launch(add))
		s.check(add.Wait())
		s.want(exitOK, "apply")
		s.awaitEgress()
		if health := s.status(exitOK)["audit"]; health.State != plan.StateActive {
			s.Errorf("status is %+v", health)
		}
		s.settle()
		v := *u
		v.site = s
		v.produce(u.a, u.b)
		s.wantNoLoop()
		s.want(exitOK, "delete", "--all")
		remove := exec.Command("ip", "route", "del", nowhere+"/32")
		s.check(s.lab.Launch(remove))
		s.check(remove.Wait())
	})
	u.sub("ovs-vswitchd does not run", func(s *site) {
		s.lab.KillVSwitchd()
		check(s)
		s.check(s.lab.StartVSwitchd(s.ctx))
	})
	u.sub("remote database", func(s *site) {
		s.lab.DB = s.overTCP()
		check(s)
		s.apply(whole)
		s.want(exitOK, "delete", "--all")
		// Of a tunnel that stands ovs-vswitchd tells the route.
		s.apply(u.everywhere())
		s.awaitEgress()
		s.wantNoChanges()
	})
}

// awaitEgress waits until ovs-vswitchd tells that a tunnel leaves by br-ext.
func (s *site) awaitEgress() {
	s.Helper()
	s.await("the device by which the tunnel leaves", func() bool { return s.vsctl("find", "Interface", "status:tunnel_egress_iface=br-ext") != "" })
}

// The route changes under sessions that stand, and now leads by a bridge that they copy. Status says so, and the next apply
// mends both by rules. By OVSDB alone it mends the one, by a list of senders, and takes the other's rows down, which would
// loop.
func TestE2EFeedbackRouteChanges(t *testing.T) {
	t.Parallel()
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote %v", remote), func(t *testing.T) {
			t.Parallel()
			u := newUnderlay(t)
			second := u.add(ovstest.GuestConfig{Name: "second", Bridge: "br-ext", IP: netip.MustParsePrefix("192.0.2.99/24"), MTU: 1600})
			file := u.policy("  audit: {sources: [{vm: '[ab]'}], destinations: [" + u.erspan() + "]}\n" +
				"  one: {sources: [{vm: a}], destinations: [{gre: {remote: " + second.Addr().String() + "}}]}\n")
			u.want(exitOK, "apply", "-f", file)
			u.status(exitOK)
			u.detour(u.sensor, second)
			copies := 2 // as they are selected by both sessions
			if remote {
				u.lab.DB = u.overTCP()
				copies = 1
				u.mendByOVSDB(file)
			} else {
				for name, health := range u.status(exitDegraded) {
					if health.State != plan.StateDegraded {
						t.Errorf("status of %s: %s (%s)", name, health.State, health.Problems)
					}
				}
			}
			u.want(exitOK, "apply")
			u.status(exitOK)
			u.settle()
			_, err := u.lab.AppCtl(u.ctx, "tnl/neigh/set", "br0", u.a.Addr().String(), u.a.HardwareAddr().String())
			u.check(err)
			atA := u.capture(u.a)
			sent := udp(u.b, u.a)
			u.send(u.b, sent)
			u.check(atA.Fence(u.ctx, u.b, u.a))
			if n := ovstest.CountPayload(atA.Frames(), sent[42:]); n != 1+copies {
				t.Errorf("the frame and its %d copies have come to the guest by which the tunnels leave %d times", copies, n)
			}
			u.wantNoLoop()
			u.wantNoChanges()
		})
	}
}

// detour makes the ways to the tunnels' far ends lead over br0 and its guest a.
func (u *underlay) detour(remotes ...*ovstest.Guest) {
	u.Helper()
	_, err := u.lab.HostIP(u.ctx, "br0", netip.MustParsePrefix("10.9.0.200/24"))
	u.check(err)
	u.vsctl("set", "Interface", "br0", "mtu_request=1600")
	for _, remote := range remotes {
		add := exec.Command("ip", "route", "add", remote.Addr().String()+"/32", "via", u.a.Addr().String())
		u.check(u.lab.Launch(add))
		u.check(add.Wait())
	}
	u.await("the device by which the tunnels leave", func() bool {
		return strings.Count(u.vsctl("--columns=status", "list", "Interface"), "tunnel_egress_iface=br0") == len(remotes)
	})
}

// mendByOVSDB mends session audit, and takes session one down, both of the file.
func (u *underlay) mendByOVSDB(file string) {
	u.Helper()
	health := u.status(exitDegraded)
	if h := health["audit"]; h.State != plan.StateDegraded {
		u.Errorf("status: %s (%s)", h.State, h.Problems)
	}
	const loop = "loop: copies would be copied again (br0 -> spanctl-"
	if h := health["one"]; h.State != plan.StateRefused || !strings.Contains(h.Reason, loop) {
		u.Errorf("status: %s (%s)", h.State, h.Reason)
	}
	for code, args := range map[int][]string{exitDegraded: {"apply"}, exitRefused: {"apply", "-f", file}} {
		if got, _, stderr := u.spanctl(args...); got != code || !strings.Contains(stderr, loop) {
			u.Errorf("%s exits %d, want %d, and says\n%s", args, got, code, stderr)
		}
	}
	if h := u.status(exitDegraded)["one"]; h.State != plan.StateRefused || len(h.Mirrors) > 0 {
		u.Errorf("what looped goes on: %s, mirrors %v", h.State, h.Mirrors)
	}
	u.want(exitOK, "delete", "one")
}

// overTCP is the database as a remote one.
func (s *site) overTCP() (remote string) {
	s.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.check(err)
	s.forward(listener, carry)
	return "tcp:" + listener.Addr().String()
}
