package main

import (
	"strings"
	"testing"

	"spanctl/policy/plan"
)

// The device of a guest is replaced by another of the same name, and its port in one transaction: ovs-vswitchd goes on with
// the one that is gone (OVS 3.1.0, userspace datapath), and OVSDB shows nothing of it. Status says that nothing of the guest's
// is copied, with an agent and without, until the port is added anew. As a destination the new device is as good as the old.
func TestE2EDeviceReplacedUnderItsName(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "c", "audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.greet(a, b)
	s.apply("  audit: {sources: [{vm: '[ab]'}], destinations: [{vm: audit}]}\n")
	s.wantHealth(exitOK, plan.StateActive, "")
	s.check(audit.Replace(s.ctx))
	s.want(exitOK, "apply")
	s.wantCopied(a, b, audit, 3)
	s.wantHealth(exitOK, plan.StateActive, "")

	s.check(a.Replace(s.ctx))
	const lost = "ovs-vswitchd does not listen to vif-a, which is not promiscuous: it was replaced under its name"
	s.wantHealth(exitDegraded, plan.StateDegraded, lost)
	atB, atAudit := s.capture(b), s.capture(audit)
	s.send(a, udp(a, b))
	answer := udp(b, a)
	s.send(b, answer)
	s.check(atAudit.Fence(s.ctx, b, a))
	s.check(atB.Fence(s.ctx, s.guests["c"], b))
	s.wantExactly(atAudit, answer)
	s.wantExactly(atB)

	p := s.agent()
	s.await("the agent to see it", func() bool {
		r := s.report("audit")
		return r != nil && r.State == plan.StateDegraded && !r.Blind["vif-a"].IsZero()
	})
	s.restart(a)
	s.awaitActive("audit")
	s.await("the agent to see the end of it", func() bool {
		r := s.report("audit")
		return r != nil && r.State == plan.StateActive && len(r.Blind) == 0
	})
	s.wantCopied(a, b, audit, 3)
	s.check(a.Replace(s.ctx)) // while it runs
	s.await("the agent to see it again", func() bool { r := s.report("audit"); return r != nil && !r.Blind["vif-a"].IsZero() })
	if code, out, _ := s.spanctl("status"); code != exitDegraded || !strings.Contains(out, lost) {
		t.Errorf("status exits %d and says\n%s", code, out)
	}
	s.terminate(p)
}
