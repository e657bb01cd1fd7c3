package main

import (
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// The audit guest goes and comes back, under the same name and under another. Production has what it ever has, and the
// collector has every copy once; but for moments in which the host's routes change, as they do when devices come and go:
// then the userspace datapath has no way for tunnels for some milliseconds (OVS 3.1, ovs_router_flush). The next apply
// takes the guest in again.
func TestE2EHubTunnelGoesOnWithoutTheAuditGuest(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	a, b, audit, one := s.guests["a"], s.guests["b"], s.guests["audit"], s.guests["one"]
	const tunnel = "erspan II session 100 index 0"
	s.apply(s.addressed("  audit: {sources: [{vm: '[abcd]'}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}\n"))
	for _, port := range []string{"vif-audit", "vif-again"} {
		s.part(port, func(s *watchedSite) {
			atOne, atB := s.capture(one), s.capture(b)
			stop := s.runs(a, b)
			s.check(audit.Stop(s.ctx))
			if out := s.want(exitDegraded, "apply"); !strings.Contains(out, "! vm audit is not present") {
				t.Errorf("apply says\n%s", out)
			}
			s.check(audit.Rename(port))
			s.check(audit.Start(s.ctx))
			s.want(exitOK, "apply")
			sent := stop()
			s.check(atB.Fence(s.ctx, a, b))
			s.check(atOne.Fence(s.ctx, a, b))
			s.wantExactly(atB, frames(sent, a)...)
			copies, lost := map[string]int{}, 0
			for _, c := range arrivals(atOne)[tunnel] {
				copies[string(c.inner)]++
			}
			for _, one := range sent {
				if n := copies[string(one.Frame)]; n > 1 {
					t.Errorf("the collector has %d copies of a frame", n)
				} else if n == 0 {
					lost++
				}
			}
			if lost > len(sent)/2 {
				t.Errorf("the collector misses %d copies of %d", lost, len(sent))
			}
			s.wantCopiedAt(map[string]string{"audit": "abcd", "one: " + tunnel: "abcd"})
			s.wantNoChanges()
		})
	}
	alone := func() {
		s.Helper()
		s.settle()
		atOne := s.capture(one)
		sent := s.exchangeBoth(10)
		s.check(atOne.Fence(s.ctx, a, b))
		s.wantTunnels(atOne, []string{tunnel}, frames(sent, a, b, s.guests["c"], s.guests["d"])...)
	}
	s.check(audit.Stop(s.ctx))
	alone()
	s.wantHealth(exitDegraded, plan.StateDegraded, "vm audit is not present")
	s.check(audit.Start(s.ctx))
	alone()
	s.wantHealth(exitDegraded, plan.StateDegraded, "run spanctl apply")
}

// runs lets a connection run until it is stopped, which returns what was sent.
func (s *site) runs(a, b *ovstest.Guest) (stop func() []ovstest.Sent) {
	s.Helper()
	var sent []ovstest.Sent
	var err error
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for err == nil {
			select {
			case <-ending:
				return
			default:
			}
			var more []ovstest.Sent
			more, err = ovstest.Exchange(s.ctx, a, b, 10)
			sent = append(sent, more...)
		}
	}()
	return func() []ovstest.Sent {
		s.Helper()
		close(ending)
		<-ended
		s.check(err)
		return sent
	}
}

// Of several destinations some are there and some are not, from the start: those that are have their copies, and status
// and apply name the others.
func TestE2EHubDestinationsAreAwaited(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	file := s.policy(s.addressed("  audit: {sources: [{vm: '[abcd]'}], destinations: [{vm: late}, {erspan: {remote: ONE, session: 100}}, {vm: later}, {vm: second}]}\n"))
	told := func(about string, args ...string) {
		t.Helper()
		if code, stdout, stderr := s.spanctl(args...); code != exitDegraded || !strings.Contains(stderr, about) {
			t.Errorf("spanctl %q exits %d and says\n%s%s", args, code, stdout, stderr)
		}
	}
	copied := map[string]string{"second": "abcd", "one: erspan II session 100 index 0": "abcd"}
	told("vm late is not present; vm later is not present", "apply", "-f", file)
	s.wantCopiedAt(copied)
	s.wantHealth(exitDegraded, plan.StateDegraded, "vm late is not present")
	if out := s.want(exitDegraded, "apply"); !strings.HasPrefix(out, "No changes") {
		t.Errorf("apply has something to do:\n%s", out)
	}
	for _, name := range []string{"late", "later"} {
		s.add(ovstest.GuestConfig{Name: name, Bridge: "br1"})
		s.wantCopiedAt(copied)
		if name == "late" {
			told("vm later is not present", "apply")
		}
	}
	s.want(exitOK, "apply")
	s.settle()
	captures := map[string]*ovstest.Capture{"late": s.capture(s.guests["late"]), "later": s.capture(s.guests["later"])}
	s.wantCopiedAt(copied)
	sent := s.exchangeBoth(5)
	for name, c := range captures {
		s.check(c.Fence(s.ctx, s.guests["a"], s.guests["b"]))
		for _, one := range sent {
			if n := ovstest.CountPayload(c.Frames(), one.Payload); n != 1 {
				t.Errorf("%s has %d copies of a frame", name, n)
			}
		}
	}
}

// Where no destination is there nothing is copied and nothing wrong: the session waits.
func TestE2EHubWaitsWithoutAnyDestination(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	s.apply("  audit: {sources: [{role: all, bridge: 'br[01]'}], destinations: [{vm: late}, {vm: later}]}\n")
	s.wantHealth(exitDegraded, plan.StateWaiting, "vm late is not present")
	if taps := s.taps(); len(taps) != 0 {
		t.Errorf("tap bridges without a destination: %s", taps)
	}
	s.wantCopiedAt(nil)
	late := s.add(ovstest.GuestConfig{Name: "late"})
	s.want(exitDegraded, "apply") // one of two is there
	s.settle()
	atLate := s.capture(late)
	sent := s.exchangeBoth(5)
	s.check(atLate.Fence(s.ctx, s.guests["a"], s.guests["b"]))
	s.wantExactly(atLate, frames(sent, s.guests["a"], s.guests["b"], s.guests["c"], s.guests["d"])...)
	s.want(exitOK, "delete", "--all")
	s.check(late.Stop(s.ctx))
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
}
