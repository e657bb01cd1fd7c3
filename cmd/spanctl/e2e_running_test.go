package main

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// rounds is how often each change is made: it races with ovs-vswitchd's revalidators.
const rounds = 10

// A phase is a command that puts a state in force, and what is then copied of a connection of a and b that runs on.
type phase struct {
	args   []string
	policy string // sessions, for -f
	copied string // senders
}

const (
	fromC     = "{sources: [{vm: c}], destinations: [{vm: audit}]}"
	fromA     = "{sources: [{vm: a}], destinations: [{vm: audit}]}"
	untouched = "other: " + fromC
)

var changes = []struct {
	name     string
	one, two phase
}{
	{"new and deleted", phase{policy: everything, copied: "ab"}, phase{args: []string{"delete", "audit"}}},
	{
		"enabled and disabled",
		phase{policy: "  audit: " + fromA, copied: "ab"},
		phase{policy: "  audit: {enabled: false, sources: [{vm: a}], destinations: [{vm: audit}]}"},
	},
	{"wide and narrow", phase{policy: everything, copied: "ab"}, phase{policy: "  audit: " + fromC}},
	{
		"both directions and one",
		phase{policy: "  audit: " + fromA, copied: "ab"},
		phase{policy: "  audit: {sources: [{vm: a, direction: to}], destinations: [{vm: audit}]}", copied: "b"},
	},
	{
		"one direction and the other",
		phase{policy: "  audit: {sources: [{vm: b, direction: to}], destinations: [{vm: audit}]}", copied: "a"},
		phase{policy: "  audit: {sources: [{vm: b, direction: from}, {vm: c}], destinations: [{vm: audit}]}", copied: "b"},
	},
	{
		"its VLAN and another",
		phase{policy: "  audit: {sources: [{vm: a, vlans: [0, 10]}], destinations: [{vm: audit}]}", copied: "ab"},
		phase{policy: "  audit: {sources: [{vm: a, vlans: [10, 20]}], destinations: [{vm: audit}]}"},
	},
	{
		"with and without an exception",
		phase{policy: "  audit: {sources: [{vm: '[ac]'}], destinations: [{vm: audit}]}", copied: "ab"},
		phase{policy: "  audit: {sources: [{vm: '[ac]'}], except: [{vm: a}], destinations: [{vm: audit}]}"},
	},
	{
		"beside another and pruned",
		phase{policy: "  audit: " + fromA + "\n  " + untouched, copied: "ab"},
		phase{args: []string{"apply", "--prune"}, policy: "  " + untouched},
	},
	{
		"tagged and not",
		phase{args: []string{"tag"}, copied: "ab"},
		phase{args: []string{"untag"}},
	},
}

// A connection that runs on, whose flow is in the datapath, follows every change of what is copied.
func TestE2ERunningConnectionsFollow(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "c", "audit")
	s.greet(s.guests["a"], s.guests["b"], s.guests["c"], s.guests["audit"])
	late := &lateness{}
	for _, change := range changes {
		s.sub(change.name, func(s *site) {
			if change.name == "tagged and not" {
				s.apply("  audit: " + fromC)
			}
			for range rounds {
				s.follow(change.one, late)
				s.follow(change.two, late)
			}
			s.want(exitOK, "delete", "--all")
		})
	}
	t.Logf("ovs-vswitchd sets cur_cfg before its flows follow: %s", late)
}

// lateness is how often, how much and how long copies did not follow when apply had returned.
type lateness struct {
	changes, late, frames int
	longest               time.Duration
}

func (l *lateness) String() string {
	return fmt.Sprintf("%d of %d changes were followed late, by %d frames, up to %v after apply", l.late, l.changes, l.frames, l.longest)
}

// follow makes a change while the connection runs, waits until the connection follows, and wants all that comes after to
// follow.
func (s *site) follow(p phase, late *lateness) {
	s.Helper()
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.exchange(a, b, 3)
	s.enact(p)
	done := time.Now()
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	late.changes++
	for wrong := 0; ; {
		n := s.wrongCopies(p, 1)
		if n == 0 {
			break
		}
		if wrong == 0 {
			late.late++
		}
		wrong += n
		late.frames += n
		late.longest = max(late.longest, time.Since(done))
		if ctx.Err() != nil {
			s.Fatalf("running connection of %s and %s does not follow: %d frames copied wrongly to %s", a.Name(), b.Name(), wrong, audit.Name())
		}
	}
	if n := s.wrongCopies(p, 10); n != 0 {
		s.Errorf("%d of 20 frames are copied wrongly when the connection has followed", n)
	}
}

func (s *site) enact(p phase) {
	s.Helper()
	switch {
	case slices.Equal(p.args, []string{"tag"}):
		s.vsctl("set", "Interface", s.guests["a"].Port(), "external_ids:spanctl=audit")
		s.want(exitOK, "apply")
	case slices.Equal(p.args, []string{"untag"}):
		s.vsctl("remove", "Interface", s.guests["a"].Port(), "external_ids", "spanctl")
		s.want(exitOK, "apply")
	case p.args == nil:
		s.apply(p.policy + "\n")
	case p.policy == "":
		s.want(exitOK, p.args...)
	default:
		s.want(exitOK, append(p.args, "-f", s.policy(p.policy+"\n"))...)
	}
}

// wrongCopies exchanges 2n frames on the running connection and counts those that are copied and should not be, and
// those that are not and should.
func (s *site) wrongCopies(p phase, n int) int {
	s.Helper()
	atAudit := s.capture(s.guests["audit"])
	defer atAudit.Close()
	sent := s.exchange(s.guests["a"], s.guests["b"], n)
	s.fenceAudit(atAudit)
	wrong := 0
	for _, one := range sent {
		want := 0
		for _, sender := range p.copied {
			if one.From.Name() == string(sender) {
				want = 1
			}
		}
		if ovstest.CountPayload(atAudit.Frames(), one.Payload) != want {
			wrong++
		}
	}
	return wrong
}

// fenceAudit is a fence at the audit guest that holds whether its port is a mirror's output or not: a broadcast of c,
// in a VLAN that all sessions here select.
func (s *site) fenceAudit(atAudit *ovstest.Capture) {
	s.Helper()
	c := s.guests["c"]
	s.check(atAudit.FenceFrame(s.ctx, c, func(payload []byte) []byte {
		return ovstest.Tagged(ovstest.UDP(c, ovstest.Broadcast, 9, 9, payload), 10)
	}))
}

// Without spanctl's cure this OVS leaves a running connection as it was, for as long as it runs: what the test above
// tests can fail.
func TestE2EHandMadeMirrorLeavesRunningConnectionsAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "c", "audit")
	s.greet(s.guests["a"], s.guests["b"], s.guests["c"], s.guests["audit"])
	all, none := phase{copied: "ab"}, phase{}
	s.exchange(s.guests["a"], s.guests["b"], 5)

	s.vsctl("--", "--id=@out", "get", "Port", s.guests["audit"].Port(),
		"--", "--id=@m", "create", "Mirror", "name=byhand", "select_all=true", "output_port=@out",
		"--", "add", "Bridge", "br0", "mirrors", "@m")
	s.settle()
	if n := s.wrongCopies(none, 20); n != 0 {
		t.Errorf("%d of 40 frames follow a new mirror made by hand: this OVS needs no cure", n)
	}
	_, err := s.lab.AppCtl(s.ctx, "revalidator/purge")
	s.check(err)
	if n := s.wrongCopies(all, 20); n != 0 {
		t.Errorf("%d of 40 frames are not copied after a purge", n)
	}
	s.vsctl("clear", "Bridge", "br0", "mirrors")
	s.settle()
	if n := s.wrongCopies(all, 20); n != 0 {
		t.Errorf("%d of 40 frames follow the deletion of a mirror by hand: this OVS needs no cure", n)
	}
}
