package main

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// planned is what apply would do for the stored sessions.
func (s *site) planned() (p jsonPlan) {
	s.Helper()
	_, out, _ := s.spanctl("plan", "-o", "json")
	s.check(json.Unmarshal([]byte(out), &p))
	return p
}

// awaitActive returns when nothing is left to do, and the session copies.
func (s *site) awaitActive(session string) {
	s.Helper()
	s.await("session "+session, func() bool {
		p := s.planned()
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

// A bridge that comes, with guests, an uplink that comes and a role that somebody gives are followed, and so is the bridge
// that goes.
func TestE2EAgentFollowsBridges(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	p := s.agent()
	s.apply("  audit: {sources: [{role: all}], destinations: [{vm: audit}]}\n")
	sources := func() int {
		p := s.planned()
		return p.Sessions[slices.IndexFunc(p.Sessions, func(o jsonSession) bool { return o.Name == "audit" })].Sources
	}
	before := sources()
	s.check(s.lab.AddBridge(s.ctx, "br7"))
	c, d := s.add(ovstest.GuestConfig{Name: "c", Bridge: "br7"}), s.add(ovstest.GuestConfig{Name: "d", Bridge: "br7"})
	up := s.uplink("up")
	s.awaitActive("audit")
	if n := sources(); n != before+4 { // br7 has a port of the host's, too
		t.Errorf("there were %d sources, and are %d", before, n)
	}
	for _, pair := range [][2]*ovstest.Guest{{s.guests["a"], s.guests["b"]}, {c, d}, {s.guests["a"], up}} {
		s.greet(pair[0], pair[1])
		s.settle()
		s.wantCopied(pair[0], pair[1], s.guests["audit"], 3)
	}
	s.vsctl("set", "Interface", "vif-b", "external_ids:spanctl-role=none")
	s.await("the role", func() bool { return sources() == before+3 })
	s.awaitActive("audit")
	s.check(errors.Join(c.Stop(s.ctx), d.Stop(s.ctx)))
	s.vsctl("del-br", "br7")
	s.awaitActive("audit")
	s.settle()
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
	s.terminate(p)
}

// A session that needs rules is made by the agent when it is applied from afar; without an agent it is refused.
func TestE2EAgentMakesRulesForWhoIsFarAway(t *testing.T) {
	t.Parallel()
	f := newFlowSite(t)
	bare, _ := f.ours()
	local, remote := f.lab.DB, f.overTCP()
	f.lab.DB = remote
	file := f.policy(flowSession)
	f.want(exitRefused, "apply", "-f", file)
	f.lab.DB = local
	p := f.agent()
	f.lab.DB = remote
	if out := f.want(exitOK, "plan", "-f", file); !strings.Contains(out, "does the rest") {
		t.Errorf("plan says %s", out)
	}
	f.want(exitOK, "apply", "-f", file)
	f.settle()
	f.wantProduction("made by the agent", "everything")
	if h := f.status(exitOK)["audit"]; h.State != plan.StateActive || h.Report == nil {
		t.Errorf("status is %+v", h)
	}
	// Changed it is too.
	f.want(exitOK, "apply", "-f", f.policy(strings.Replace(flowSession, "1Gbps", "2Gbps", 1)))
	f.settle()
	f.wantProduction("changed by the agent", "everything")
	// One that has died within its lease is waited for in vain.
	p.kill()
	f.want(exitDegraded, "apply", "-f", f.policy(strings.Replace(flowSession, "1Gbps", "3Gbps", 1)), "--timeout", "1s")
	f.lab.DB = local
	p = f.agent()
	f.awaitActive("audit")
	f.settle()
	f.wantProduction("made by the next agent", "everything")
	tap := f.tap()
	f.lab.DB = remote
	f.want(exitOK, "delete", "--all")
	// What the agent refuses, for what can be seen on the host alone, is told to who is far away.
	f.vsctl("add-br", tap, "--", "set", "Bridge", tap, "datapath_type=netdev")
	if code, _, stderr := f.spanctl("apply", "-f", file); code != exitDegraded || !strings.Contains(stderr, "needs a row named "+tap) {
		t.Errorf("apply exits %d and says %s", code, stderr)
	}
	if h := f.status(exitDegraded)["audit"]; h.State != plan.StateRefused || h.Report == nil {
		t.Errorf("status is %+v", h)
	}
	f.want(exitOK, "delete", "--all")
	f.vsctl("del-br", tap)
	f.lab.DB = local
	f.terminate(p)
	f.wantBare(bare)
}

// What cannot be copied is said to be blind since it was first so, whatever agent says it.
func TestE2EAgentSaysSinceWhenAGuestIsBlind(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	p := s.agent()
	s.apply("  audit: {sources: [{vm: '[ab]'}], destinations: [{vm: audit}]}\n")
	s.await("the report", func() bool { h := s.status(exitOK)["audit"]; return h.Report != nil && len(h.Report.Blind) == 0 })
	s.check(s.guests["audit"].Stop(s.ctx))
	var before *plan.Report
	s.await("blind guests", func() bool {
		before = s.status(exitDegraded)["audit"].Report
		return before != nil && len(before.Blind) == 2
	})
	p.kill()
	if h := s.status(exitDegraded)["audit"]; h.State != plan.StateWaiting {
		t.Errorf("status is %s", h.State)
	}
	p = s.agent()
	if after := s.status(exitDegraded)["audit"].Report; after == nil || !maps.EqualFunc(after.Blind, before.Blind, time.Time.Equal) {
		t.Errorf("the report was %+v and is %+v", before, after)
	}
	if out := s.want(exitDegraded, "status"); !strings.Contains(out, "agent: on ") || !strings.Contains(out, "vif-a is not copied since ") {
		t.Errorf("status says %s", out)
	}
	s.check(s.guests["audit"].Start(s.ctx))
	s.awaitActive("audit")
	s.await("the report", func() bool { h := s.status(exitOK)["audit"]; return h.Report != nil && len(h.Report.Blind) == 0 })
	s.terminate(p)
	if out := s.want(exitOK, "status"); !strings.Contains(out, "agent: none") {
		t.Errorf("status says %s", out)
	}
}

// Watched, the status is shown again when it has changed.
func TestE2EStatusIsWatched(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "audit")
	out := filepath.Join(s.TempDir(), "out")
	file, err := os.Create(out)
	s.check(err)
	defer file.Close()
	cmd := exec.CommandContext(s.ctx, "spanctl", "status", "--watch", "--db", s.lab.DB)
	cmd.Stdout = file
	s.check(cmd.Start())
	shows := func(text string) func() bool {
		return func() bool {
			shown, err := os.ReadFile(out)
			s.check(err)
			return strings.Contains(string(shown), text)
		}
	}
	s.await("the first", shows("No sessions are stored."))
	s.apply("  audit: {sources: [{vm: a}], destinations: [{vm: audit}]}\n")
	s.await("the next", shows("session audit: active"))
	s.check(cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("it exits %d", code)
	}
}

// Once: the stored sessions are put in force, and what came of it is the exit code.
func TestE2EAgentOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.want(exitOK, "agent", "--once")
	s.apply("  audit: {sources: [{vm: '[ab]'}], destinations: [{vm: audit}]}\n")
	s.vsctl("clear", "Bridge", "br0", "mirrors")
	if out := s.want(exitOK, "agent", "--once"); !strings.Contains(out, "session audit: active") {
		t.Errorf("it says %s", out)
	}
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 5)
	s.check(s.guests["audit"].Stop(s.ctx))
	s.want(exitDegraded, "agent", "--once")
}
