package main

import (
	"encoding/json"
	"slices"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// agent starts an agent, and returns when it has put the stored sessions in force.
func (s *site) agent(args ...string) *process {
	s.Helper()
	before := s.leaseText()
	p := s.start(s.lab.DB, append([]string{"agent", "--listen", "", "--log-level", "debug"}, args...)...)
	s.await("the agent", func() bool { now := s.leaseText(); return now != "" && now != before })
	return p
}

// leaseText is what the agent says of itself, empty if there is none.
func (s *site) leaseText() string {
	s.Helper()
	return s.vsctl("--no-wait", "--if-exists", "get", "Open_vSwitch", ".", `external_ids:"`+plan.KeyAgent+`"`)
}

// awaitActive returns when nothing is left to do, and the session copies.
func (s *site) awaitActive(session string) {
	s.Helper()
	s.await("session "+session, func() bool {
		_, out, _ := s.spanctl("plan", "-o", "json")
		var p jsonPlan
		s.check(json.Unmarshal([]byte(out), &p))
		return p.Empty && slices.ContainsFunc(p.Sessions, func(o jsonSession) bool { return o.Name == session && o.State == plan.StateActive })
	})
}

// restart restarts a guest: its Port is a new row.
func (s *site) restart(g *ovstest.Guest) {
	s.Helper()
	s.check(g.Stop(s.ctx))
	s.check(g.Start(s.ctx))
}

func TestE2EAgentFollowsGuests(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	p := s.agent()
	s.vsctl("set", "Open_vSwitch", ".", `external_ids:"spanctl/session/audit"="{\"version\":1,\"sources\":[{\"vm\":\"[ab]\"}],\"destinations\":[{\"vm\":\"audit\"}]}"`)
	s.awaitActive("audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.wantCopied(a, b, audit, 5)
	// A source restarts.
	for range 3 {
		s.restart(a)
		s.awaitActive("audit")
		s.wantCopied(a, b, audit, 5)
	}
	// The audit guest does.
	s.restart(audit)
	s.awaitActive("audit")
	s.wantCopied(a, b, audit, 5)
	// Somebody deletes what is ours.
	s.vsctl("clear", "Bridge", "br0", "mirrors")
	s.awaitActive("audit")
	s.wantCopied(a, b, audit, 5)
	s.terminate(p)
	if left := s.leaseText(); left != "" {
		s.Errorf("the agent has left %s", left)
	}
	s.wantCopied(a, b, audit, 5)
}
