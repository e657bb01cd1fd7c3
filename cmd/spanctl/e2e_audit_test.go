package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// wantProduction exchanges frames, untagged and tagged, and wants each guest to have exactly those sent to it. It returns
// all of them.
func (s *site) wantProduction(a, b *ovstest.Guest, n int) [][]byte {
	s.Helper()
	atA, atB := s.capture(a), s.capture(b)
	sent := append(s.exchange(a, b, n), s.exchange(a, b, n, 10)...)
	s.check(atA.Fence(s.ctx, b, a))
	s.check(atB.Fence(s.ctx, a, b))
	s.wantExactly(atA, frames(sent, b)...)
	s.wantExactly(atB, frames(sent, a)...)
	return frames(sent, a, b)
}

// wantCopied is wantProduction with every frame copied once to the audit guest.
func (s *site) wantCopied(a, b, audit *ovstest.Guest, n int) {
	s.Helper()
	s.settle()
	atAudit := s.capture(audit)
	sent := s.wantProduction(a, b, n)
	s.check(atAudit.Fence(s.ctx, a, b))
	s.wantExactly(atAudit, sent...)
}

// wantHealth is a session's state as status tells it, and some text of its problems or reason.
func (s *site) wantHealth(code int, state plan.State, about string) {
	s.Helper()
	h := s.status(code)["audit"]
	if told := strings.Join(append(h.Problems, h.Reason), "; "); h.State != state || !strings.Contains(told, about) {
		s.Errorf("status: %s (%s), want %s (%s)", h.State, told, state, about)
	}
}

// link sets the guest's own device up or down, as the guest itself can.
func (s *site) link(g *ovstest.Guest, state string) {
	s.Helper()
	pid := strconv.Itoa(g.PID())
	out, err := exec.CommandContext(s.ctx, "nsenter", "-t", pid, "-n", "ip", "link", "set", "eth0", state).CombinedOutput()
	if err != nil {
		s.Fatalf("ip link set eth0 %s: %v: %s", state, err, out)
	}
	s.vsctl("--no-wait", "wait-until", "Interface", g.Port(), "link_state="+state)
}

func TestE2EProductionGoesOnWithoutTheAuditGuest(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b")
	a, b := s.guests["a"], s.guests["b"]
	audit := s.add(ovstest.GuestConfig{Name: "audit", Tag: 10}) // borrowed anew each time it starts
	s.greet(a, b)
	s.apply(everything)
	s.wantCopied(a, b, audit, 20)

	s.sub("stopped", func(s *site) {
		s.check(audit.Stop(s.ctx))
		s.wantProduction(a, b, 20)
		s.wantHealth(exitDegraded, plan.StateWaiting, "vm audit is not present")
		s.want(exitOK, "apply") // waiting is no error
		s.wantProduction(a, b, 20)
		s.check(audit.Start(s.ctx))
		s.wantHealth(exitDegraded, plan.StateDegraded, "run spanctl apply")
		s.want(exitOK, "apply")
		s.wantCopied(a, b, audit, 20)
		s.wantHealth(exitOK, plan.StateActive, "")
	})
	s.sub("device vanished", func(s *site) {
		s.check(audit.Vanish(s.ctx))
		gone, told := "link_state=down", "link is down"
		if s.kernels() { // it takes the port out
			gone, told = "ofport=-1", "could not open network device"
		}
		s.vsctl("--no-wait", "wait-until", "Interface", audit.Port(), gone)
		s.wantProduction(a, b, 20)
		s.wantHealth(exitDegraded, plan.StateDegraded, told)
		s.check(audit.Stop(s.ctx))
		s.check(audit.Start(s.ctx))
		s.want(exitOK, "apply")
		s.wantCopied(a, b, audit, 20)
	})
	s.sub("link down", func(s *site) {
		s.link(audit, "down")
		s.wantProduction(a, b, 20)
		s.wantHealth(exitDegraded, plan.StateDegraded, "link is down")
		s.want(exitDegraded, "apply")
		s.link(audit, "up")
		s.wantCopied(a, b, audit, 20)
		s.wantHealth(exitOK, plan.StateActive, "")
	})
}

// The feedback rule, and that nothing from the audit side enters production.
func TestE2EWhatAuditGuestsInjectGoesNowhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit", "audit2")
	a, b := s.guests["a"], s.guests["b"]
	audits := []*ovstest.Guest{s.guests["audit"], s.guests["audit2"]}
	up := s.uplink("up")
	s.greet(a, b, up, audits[0], audits[1])
	for _, sources := range []string{
		"{role: all}", "{role: guest}", "{interface: '*', direction: from}", "{vm: '*', direction: to}", "{role: all, vlans: [0, 10]}",
	} {
		for _, other := range []string{"{role: all}", "{vm: '[ab]'}"} {
			s.sub(sources+" beside "+other, func(s *site) {
				s.apply(fmt.Sprintf(`
  audit: {sources: [%s], destinations: [{vm: audit}]}
  two: {sources: [%s], destinations: [{vm: audit2}]}
`, sources, other))
				s.settle()
				var captures []*ovstest.Capture
				for _, g := range []*ovstest.Guest{a, b, up, audits[0], audits[1]} {
					captures = append(captures, s.capture(g))
				}
				for i, from := range audits {
					for _, to := range []ovstest.Endpoint{a, up, ovstest.Broadcast, audits[1-i]} {
						s.send(from, udp(from, to), ovstest.Tagged(udp(from, to), 10), ovstest.QinQ(udp(from, to), 10, 20))
					}
					s.send(from, udp(a, b)) // in another guest's name
				}
				// Each hears a, but a itself and the uplink hear b.
				s.check(captures[0].Fence(s.ctx, b, a))
				s.check(captures[1].Fence(s.ctx, a, b))
				s.check(captures[2].Fence(s.ctx, b, up))
				for _, c := range captures[3:] {
					s.check(c.Fence(s.ctx, a, b))
				}
				for _, c := range captures {
					s.wantExactly(c)
				}
				sent := s.wantProduction(a, b, 10) // a's place is still known
				for _, c := range captures[3:] {
					s.check(c.Fence(s.ctx, a, b))
					s.wantExactly(c, sent...)
				}
			})
		}
	}
}
