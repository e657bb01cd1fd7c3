package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// A flowSite is a site where everything less some ports is copied to the audit guest, at no more than a rate that is never
// met.
type flowSite struct {
	*site
	a, b, audit *ovstest.Guest
}

const flowSession = "  audit: {sources: [{role: all}], exclude: [{protocol: udp, port: 7788-7799}], max_rate: 1Gbps, destinations: [{vm: audit}]}\n"

func newFlowSite(t *testing.T) *flowSite {
	t.Helper()
	s := newSite(t, "a", "b", "audit")
	f := &flowSite{s, s.guests["a"], s.guests["b"], s.guests["audit"]}
	f.greet(f.a, f.b)
	return f
}

// tap is the one tap bridge, empty if there is none.
func (s *site) tap() string {
	s.Helper()
	return strings.Trim(s.vsctl("--bare", "--columns=name", "find", "Bridge", "external_ids:spanctl-managed=true"), "\n")
}

// ofctl runs ovs-ofctl on a bridge.
func (s *site) ofctl(bridge, command string, args ...string) string {
	s.Helper()
	out, err := s.lab.OFCtl(s.ctx, append([]string{"-O", "OpenFlow14", command, "unix:" + s.lab.Dir + "/" + bridge + ".mgmt"}, args...)...)
	s.check(err)
	return out
}

var ofCounts = regexp.MustCompile(`(duration|n_packets|n_bytes|idle_age|hard_age|xid)=[^, )]*,?|\(xid[^)]*\)`)

// rules are the rules and meters of a bridge, less what counts.
func (s *site) rules(bridge string) string {
	s.Helper()
	lines := strings.Split(ofCounts.ReplaceAllString(s.ofctl(bridge, "dump-flows")+s.ofctl(bridge, "dump-meters"), ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// unrevised is the database less the revision, which each transaction of spanctl's raises.
func (s *site) unrevised() database {
	s.Helper()
	db := s.database()
	for _, row := range db["Open_vSwitch"] {
		row["external_ids"] = revision.ReplaceAll(row["external_ids"], nil)
	}
	return db
}

// wantProduction exchanges frames of old and new connections, with and without what is left out, and wants each guest to
// have its own, none to have the audit guest's, and the audit guest to have a copy of everything that is not left out, or of
// nothing, or whatever.
func (f *flowSite) wantProduction(when, copied string) {
	f.Helper()
	atA, atB, atAudit := f.capture(f.a), f.capture(f.b), f.capture(f.audit)
	for _, to := range []ovstest.Endpoint{ovstest.Broadcast, f.a} {
		f.send(f.audit, ovstest.UDP(f.audit, to, 1, 2, ovstest.Payload(alien)), ovstest.Tagged(ovstest.UDP(f.audit, to, 1, 2, ovstest.Payload(alien)), 4095))
	}
	left := []ovstest.Sent{{From: f.a, Frame: ovstest.UDP(f.a, f.b, 7790, 1, ovstest.Payload("left"))}, {From: f.b, Frame: ovstest.Tagged(ovstest.UDP(f.b, f.a, 1, 7788, ovstest.Payload("left")), 10)}}
	for _, one := range left {
		f.send(one.From, one.Frame)
	}
	sent := slices.Concat(f.exchange(f.a, f.b, 5), f.exchange(f.a, f.b, 5, 10))
	f.check(atB.Fence(f.ctx, f.a, f.b))
	f.check(atA.Fence(f.ctx, f.b, f.a))
	var want [][]byte
	if copied == "everything" {
		want = frames(sent, f.a, f.b)
		f.check(atAudit.Fence(f.ctx, f.a, f.b))
	}
	f.sub(when, func(s *site) {
		s.wantExactly(atA, frames(slices.Concat(sent, left), f.b)...)
		s.wantExactly(atB, frames(slices.Concat(sent, left), f.a)...)
		if copied != "whatever" {
			s.wantExactly(atAudit, want...)
		}
	})
}

// Rules go with ovs-vswitchd: production goes on, nothing is copied, and nothing leaks. Status says what to do, and apply
// does it.
func TestE2EFlowRulesComeBackAfterACrash(t *testing.T) {
	t.Parallel()
	f := newFlowSite(t)
	bare := f.database()
	f.apply(flowSession)
	f.settle()
	rows, rules := f.unrevised(), f.rules(f.tap())
	f.wantProduction("at first", "everything")
	for range 2 {
		f.lab.KillVSwitchd()
		f.check(f.lab.StartVSwitchd(f.ctx))
		f.greet(f.a, f.b)
		f.wantProduction("after the crash", "nothing")
		h := f.status(exitDegraded)["audit"]
		if problems := strings.Join(h.Problems, "\n"); h.State != plan.StateDegraded || !strings.Contains(problems, "ovs-vswitchd forgets rules when it ends): run spanctl apply") {
			t.Errorf("status: %s: %s", h.State, problems)
		}
		f.want(exitPending, "plan", "--detailed-exitcode")
		f.want(exitOK, "apply")
		f.settle()
		f.wantProduction("rules are back", "everything")
		f.status(exitOK)
		f.wantNoChanges()
		f.wantSame("rules are back", rows, f.unrevised(), ofItself, configuration)
		if now := f.rules(f.tap()); now != rules {
			t.Errorf("rules were\n%s\nand are\n%s", rules, now)
		}
	}
	f.want(exitOK, "delete", "--all")
	f.wantSame("after delete", bare, f.database(), ofItself, configuration)
}

// While ovs-vswitchd does not run nothing can be told of rules, and nothing done about them.
func TestE2EFlowWithoutOVSVSwitchd(t *testing.T) {
	t.Parallel()
	f := newFlowSite(t)
	bare := f.unrevised()
	f.lab.KillVSwitchd()
	before := f.database()
	for _, args := range [][]string{{}, {"--timeout", "1s"}} {
		code, _, said := f.spanctl(append([]string{"apply", "-f", f.policy(flowSession)}, args...)...)
		if code != exitUnreachable || !strings.Contains(said, "check that it runs (ovs-appctl version)") {
			t.Errorf("apply exits %d and says %s", code, said)
		}
	}
	f.wantSame("refused", before, f.database(), ofItself)
	f.check(f.lab.StartVSwitchd(f.ctx))
	f.apply(flowSession)
	rows, rules := f.unrevised(), f.rules(f.tap())
	f.lab.KillVSwitchd()
	if out := f.want(exitDegraded, "status"); !strings.Contains(out, "the rules of tap bridge "+f.tap()+" cannot be read: OpenFlow is unreachable: ovs-vswitchd of "+f.lab.DB) {
		t.Errorf("status says\n%s", out)
	}
	for code, args := range map[int][]string{exitDegraded: {"apply"}, exitUnreachable: {"apply", "-f", f.policy(strings.Replace(flowSession, "7799", "7800", 1))}} {
		got, _, said := f.spanctl(append(args, "--timeout", "2s")...)
		if got != code || !strings.Contains(said, "check that it runs (ovs-appctl version)") || strings.Contains(said, "inert") {
			t.Errorf("%s exits %d, want %d, and says %s", args, got, code, said)
		}
	}
	f.check(f.lab.StartVSwitchd(f.ctx))
	f.greet(f.a, f.b)
	f.want(exitOK, "apply")
	f.settle()
	f.wantProduction("in the end", "everything")
	f.wantSame("in the end", rows, f.unrevised(), ofItself, configuration)
	if now := f.rules(f.tap()); now != rules {
		t.Errorf("rules were\n%s\nand are\n%s", rules, now)
	}
	// What shall no longer be copied is not, from when ovs-vswitchd runs again.
	f.lab.KillVSwitchd()
	if code, _, said := f.spanctl("delete", "--all", "--timeout", "1s"); code != exitDegraded || !strings.Contains(said, "not yet seen in force") {
		t.Errorf("delete exits %d and says %s", code, said)
	}
	f.check(f.lab.StartVSwitchd(f.ctx))
	f.want(exitOK, "apply")
	f.wantSame("deleted", bare, f.unrevised(), ofItself, configuration)
}
