package main

import (
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"spanctl/ovs/ovstest"
)

// What is killed in the middle of its work leaves nothing half done: ovs-vswitchd, and spanctl itself.

func TestE2EMirrorsOutliveOVSVSwitchd(t *testing.T) {
	t.Parallel()
	baseline := outlive(t, false)
	for _, line := range outlive(t, true) {
		if !slices.Contains(baseline, line) {
			t.Errorf("ovs-vswitchd says, and does not without mirrors: %s", line)
		}
	}
}

// outlive kills ovs-vswitchd several times under mirrors or without, looks whether every frame is copied, and returns
// what ovs-vswitchd has complained of.
func outlive(t *testing.T, mirrors bool) []string {
	t.Helper()
	s := newSite(t, "a", "b", "audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.exchange(a, b, 2)
	if mirrors {
		s.apply(everything)
	}
	for range 2 {
		state, turns := s.ours()
		s.lab.KillVSwitchd()
		s.check(s.lab.StartVSwitchd(s.ctx))
		if newState, newTurns := s.ours(); newState != state || newTurns != turns {
			t.Errorf("the rows were\n%s\n%s\nand are\n%s\n%s", state, turns, newState, newTurns)
		}
		atAudit, atB := s.capture(audit), s.capture(b)
		sent := s.exchange(a, b, 20)
		if mirrors {
			s.check(atAudit.Fence(s.ctx, a, b))
			s.wantExactly(atAudit, frames(sent, a, b)...)
		}
		s.check(atB.Fence(s.ctx, a, b))
		s.wantExactly(atB, frames(sent, a)...)
	}
	if mirrors {
		s.wantNoChanges()
	}
	said := s.complaints()
	if mirrors {
		// What the audit guest sends is dropped, and warned of.
		s.lab.KillVSwitchd()
		s.check(s.lab.StartVSwitchd(s.ctx))
		atA, atB := s.capture(a), s.capture(b)
		s.send(audit, udp(audit, b), udp(audit, a), udp(audit, ovstest.Broadcast), ovstest.Tagged(udp(audit, ovstest.Broadcast), 10))
		s.check(atA.Fence(s.ctx, b, a))
		s.check(atB.Fence(s.ctx, a, b))
		s.wantExactly(atA)
		s.wantExactly(atB)
		if len(s.complaints()) == 0 {
			t.Error("ovs-vswitchd drops a frame and says nothing: the log is not read right")
		}
		s.status(exitOK)
	}
	return said
}

var digits = regexp.MustCompile(`[0-9]+`)

// complaints are the distinct warnings and errors in ovs-vswitchd's log, without times, numbers and the lab's name.
func (s *site) complaints() []string {
	s.Helper()
	log, err := s.lab.VSwitchdLog()
	s.check(err)
	var list []string
	for line := range strings.Lines(strings.ReplaceAll(log, s.lab.Dir, "DIR")) {
		fields := strings.SplitN(strings.TrimSpace(line), "|", 5) // time, number, module, level, text
		if len(fields) == 5 && slices.Contains([]string{"WARN", "ERR", "EMER"}, fields[3]) {
			list = append(list, digits.ReplaceAllString(strings.Join(fields[2:], "|"), "N"))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func TestE2EKilledSpanctlLeavesTheOldStateOrTheNew(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b")
	s.add(ovstest.GuestConfig{Name: "audit", Tag: 10})
	one, two := s.policy(everything), s.policy("  audit: {sources: [{vm: a, vlans: [0, 10-12]}, {vm: b, direction: from}], destinations: [{vm: audit}], strip_vlan: true}\n"+
		"  more: {sources: [{role: host}], destinations: [{vlan: 999}]}\n")
	commands := [][]string{{"apply", "-f", one}, {"apply", "-f", two, "--prune"}, {"delete", "--all"}}

	// What each command makes of the state before, and in how many messages.
	meter := s.meter()
	states, messages := make([]string, len(commands)), make([]int, len(commands))
	for range 2 {
		for i, command := range commands {
			s.wantExit(meter.start(s, 0, "", command...), exitOK)
			states[i], _ = s.ours()
			messages[i] = meter.passed
		}
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	fates := map[string]int{}
	for round := range 30 {
		i := round % len(commands)
		state, turns := s.ours()
		at, part := 1+random.IntN(messages[i]), []string{"nothing", "half", "all"}[random.IntN(3)]
		code := meter.start(s, at, part, commands[i]...).exit()
		newState, newTurns := s.ours()
		switch {
		case newState == state && newTurns == turns:
			fates["old"]++
		case newState == states[i] && newTurns != turns:
			fates["new"]++
		case newState == states[i] && newTurns == "" && turns == "":
			fates["new"]++
		default:
			t.Errorf("seed %d, round %d: %q killed at message %d of %d, %s of which passed: the state was\n%s\n%s\nand is\n%s\n%s",
				seed, round, commands[i], at, messages[i], part, state, turns, newState, newTurns)
		}
		if code == -1 {
			fates["killed"]++
		}
		s.want(exitOK, "apply")
		s.want(exitOK, "plan", "--detailed-exitcode")
		s.want(exitOK, commands[i]...)
		s.want(exitOK, "plan", "--detailed-exitcode")
		if newState, newTurns = s.ours(); newState != states[i] || (newTurns == "") != (commands[i][0] == "delete") {
			t.Fatalf("seed %d, round %d: %q after it was killed: the state should be\n%s\nand is\n%s\n%s", seed, round, commands[i], states[i], newState, newTurns)
		}
	}
	t.Log(seed, messages, fates)
	if fates["killed"] < 20 || fates["old"] == 0 || fates["new"] == 0 {
		t.Errorf("seed %d: of 30 commands of %d messages: %v", seed, messages, fates)
	}
}

// A meter stands between spanctl and the server, counts their messages, and kills spanctl at one of them.
type meter struct {
	remote string

	mu     sync.Mutex
	passed int
	at     int    // the message to kill at, 0 for none
	part   string // of that message passes first
	victim *process
}

// meter starts a meter that ends with the test.
func (s *site) meter() *meter {
	s.Helper()
	m := &meter{}
	m.remote = s.relay("meter", m.hand)
	return m
}

// start starts spanctl, to be killed when the part of message number at has passed.
func (m *meter) start(s *site, at int, part string, args ...string) *process {
	s.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed, m.at, m.part = 0, at, part
	m.victim = s.start(m.remote, args...)
	return m.victim
}

// hand hands one message on, and reports whether spanctl lives.
func (m *meter) hand(message []byte, to io.Writer) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passed++
	kill := m.passed == m.at
	if kill {
		message = message[:map[string]int{"nothing": 0, "half": len(message) / 2, "all": len(message)}[m.part]]
	}
	_, err := to.Write(message)
	if kill {
		m.victim.kill()
	}
	return err == nil && !kill
}

func TestE2EInterruptedWait(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.lab.KillVSwitchd()
	file := s.policy(everything)
	before := s.vsctl("--no-wait", "get", "Open_vSwitch", ".", "next_cfg")
	p := s.start(s.lab.DB, "apply", "-f", file, "--timeout", "2m")
	s.await("the transaction", func() bool { return s.vsctl("--no-wait", "get", "Open_vSwitch", ".", "next_cfg") != before })
	s.check(p.cmd.Process.Signal(syscall.SIGINT))
	s.wantExit(p, exitInterrupted)

	// It is committed, and others that wait for ovs-vswitchd do not find it in force.
	s.vsctl("--no-wait", "set", "Open_vSwitch", ".", "external_ids:theirs=1")
	code, _, stderr := s.spanctl("apply", "-f", s.policy(strings.Replace(everything, "role: all", "vm: a", 1)), "--timeout", "1s")
	if code != exitDegraded || !strings.Contains(stderr, "ovs-vswitchd") {
		t.Errorf("apply without ovs-vswitchd exits %d and says %s", code, stderr)
	}
	s.check(s.lab.StartVSwitchd(s.ctx))
	if h := s.status(exitOK)["audit"]; h.State != "active" || h.Copied != 1 {
		t.Errorf("status with ovs-vswitchd back is %+v", h)
	}
	s.wantNoChanges()
}
