package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A step of what is asked of spanctl one after another, and the UDP ports that it then copies, of 1, 7790 and 9990.
type killStep struct {
	args  []string
	ports []uint16
}

func (f *flowSite) killSteps() []killStep {
	apply := func(session string) []string {
		return []string{"apply", "-f", f.policy("  audit: {sources: [{role: all, bridge: br0}], destinations: [{vm: audit}]" + session + "}\n")}
	}
	return []killStep{
		{apply(", exclude: [{protocol: udp, port: 7788-7799}]"), []uint16{1, 9990}},
		{apply(", exclude: [{protocol: udp, port: 9990}], max_rate: 1Gbps"), []uint16{1, 7790}},
		{apply(""), []uint16{1, 7790, 9990}}, // no rules
		{apply(", sample: 1/1, exclude: [{protocol: udp, port: 7790}], strip_vlan: true"), []uint16{1, 9990}},
		{[]string{"delete", "--all"}, nil},
	}
}

// copiedPorts sends frames to each of the ports, wants production to have them and nothing else, and returns the ports of
// those that are copied, each once.
func (f *flowSite) copiedPorts(when string) []uint16 {
	f.Helper()
	f.settle()
	atA, atB, atAudit := f.capture(f.a), f.capture(f.b), f.capture(f.audit)
	var sent [][]byte
	var copied []uint16
	ports := []uint16{1, 7790, 9990}
	for _, port := range ports {
		sent = append(sent, ovstest.UDP(f.a, f.b, 5, port, ovstest.Payload("killed")))
	}
	f.send(f.audit, ovstest.UDP(f.audit, ovstest.Broadcast, 1, 2, ovstest.Payload(alien)))
	f.send(f.a, sent...)
	f.check(atB.Fence(f.ctx, f.a, f.b))
	f.check(atA.Fence(f.ctx, f.b, f.a))
	f.wantExactly(atB, sent...)
	f.wantExactly(atA)
	count := make([]int, len(ports))
	for _, frame := range atAudit.Frames() {
		for i := range sent {
			count[i] += btoi(bytes.Equal(frame.Data, sent[i]))
		}
	}
	for i, n := range count {
		if n > 1 {
			f.Errorf("%s: %d copies of what goes to port %d", when, n, ports[i])
		}
		if n > 0 {
			copied = append(copied, ports[i])
		}
	}
	return copied
}

// state is what spanctl has made, with rules, less patch ends on br0 whose other end is gone: they are removed when no
// mirror selects them any more (package plan, postpone).
func (f *flowSite) state() string {
	f.Helper()
	made := f.made()
	var lines []string
	for line := range strings.Lines(made) {
		_, rest, _ := strings.Cut(line, ` name="`)
		name, _, _ := strings.Cut(rest, `"`)
		if peer := name + "h"; !strings.Contains(made, `"peer","`+peer+`"`) || strings.Contains(made, `name="`+peer+`"`) {
			lines = append(lines, line)
		}
	}
	state := strings.Join(lines, "")
	for tap := range strings.FieldsSeq(f.tap()) {
		state += "\n" + tap + f.rules(tap)
	}
	return state
}

// killedSite has gone through all steps, and knows what each makes of the state before.
type killedSite struct {
	*flowSite
	bare   database
	steps  []killStep
	states []string
	tools  *tools
	meter  *meter
	sent   []int // messages, by step
	calls  []int // of ovs-ofctl, likewise
}

func newKilledSite(t *testing.T) *killedSite {
	t.Helper()
	s := newSite(t, "a", "b")
	s.check(s.lab.AddBridge(s.ctx, "br9"))
	f := &flowSite{s, s.guests["a"], s.guests["b"], s.add(ovstest.GuestConfig{Name: "audit", Bridge: "br9"})}
	f.greet(f.a, f.b)
	k := &killedSite{flowSite: f, bare: f.unrevised(), steps: f.killSteps(), tools: f.tools(), meter: f.meter()}
	for range 2 { // the second time from the state that it is in later on, too
		k.states = nil
		for i, step := range k.steps {
			if len(k.sent) <= i {
				k.wantExit(k.meter.start(k.site, 0, "", step.args...), exitOK)
				k.sent = append(k.sent, k.meter.passed)
			} else {
				k.wantExit(k.tools.start(k.site, 0, "", step.args...), exitOK)
				k.calls = append(k.calls, k.tools.calls(k.site))
			}
			k.states = append(k.states, k.state())
			if copied := k.copiedPorts("at first"); !slices.Equal(copied, step.ports) {
				t.Fatalf("%s: copied are %v, want %v", step.args, copied, step.ports)
			}
		}
	}
	return k
}

// wantOldOrNew wants the state before the step i, in which its ports were copied, or that after it to be in force, and that
// what is left to do is done by apply, and the step again.
func (k *killedSite) wantOldOrNew(when string, i int) {
	k.Helper()
	before := (i + len(k.steps) - 1) % len(k.steps)
	stored := k.made()
	isNew := strings.Contains(stored, "spanctl/session") != strings.Contains(k.states[before], "spanctl/session") ||
		intentOf(stored) == intentOf(k.states[i])
	copied := k.copiedPorts(when)
	if !slices.Equal(copied, k.steps[before].ports) && !slices.Equal(copied, k.steps[i].ports) || isNew && !slices.Equal(copied, k.steps[i].ports) {
		k.Errorf("%s: copied are %v, and were %v or will be %v (new intent: %v)", when, copied, k.steps[before].ports, k.steps[i].ports, isNew)
	}
	code, _, said := k.spanctl("apply")
	if code != exitOK {
		k.Errorf("%s: apply exits %d and says %s", when, code, said)
	}
	k.want(exitOK, "plan", "--detailed-exitcode")
	if state := k.state(); state != k.states[before] && state != k.states[i] {
		k.Errorf("%s: applied, the state should be\n%s\nor\n%s\nand is\n%s", when, k.states[before], k.states[i], state)
	}
	k.want(exitOK, k.steps[i].args...)
	if state := k.state(); state != k.states[i] {
		k.Errorf("%s: done again, the state should be\n%s\nand is\n%s", when, k.states[i], state)
	}
	if copied := k.copiedPorts(when + ", done again"); !slices.Equal(copied, k.steps[i].ports) {
		k.Errorf("%s: done again, copied are %v, want %v", when, copied, k.steps[i].ports)
	}
}

// intentOf is the stored intent in a state.
func intentOf(state string) string {
	for line := range strings.Lines(state) {
		if strings.HasPrefix(line, "Open_vSwitch") {
			return line
		}
	}
	return ""
}

// Wherever spanctl is killed around ovs-ofctl, production has its frames, copies are those of before or of after, and the
// next run ends as it should have.
func TestE2EFlowKilledAroundRules(t *testing.T) {
	t.Parallel()
	k := newKilledSite(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for round := range soak(t, 2*len(k.steps)) {
		i := round % len(k.steps)
		at, how := 1+random.IntN(k.calls[i]), []string{"killed before", "killed after"}[random.IntN(2)]
		when := fmt.Sprintf("seed %d, %s %s call %d of %d", seed, k.steps[i].args, how, at, k.calls[i])
		if k.tools.start(k.site, at, how, k.steps[i].args...).exit() == -1 {
			killed++
		}
		k.wantOldOrNew(when, i)
	}
	k.want(exitOK, "delete", "--all")
	k.wantSame("in the end", k.bare, k.unrevised(), ofItself, configuration)
	if killed == 0 {
		t.Errorf("seed %d: nothing was killed", seed)
	}
}

// Wherever spanctl is killed among its messages, likewise.
func TestE2EFlowKilledAmongTransactions(t *testing.T) {
	t.Parallel()
	k := newKilledSite(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	killed := 0
	for round := range soak(t, 2*len(k.steps)) {
		i := round % len(k.steps)
		at, part := 1+random.IntN(k.sent[i]), []string{"nothing", "half", "all"}[random.IntN(3)]
		when := fmt.Sprintf("seed %d, %s killed at message %d, %s of which passed", seed, k.steps[i].args, at, part)
		p := k.meter.start(k.site, at, part, k.steps[i].args...)
		if p.exit() == -1 {
			killed++
		}
		k.wantOldOrNew(when, i)
	}
	if killed == 0 {
		t.Errorf("seed %d: nothing was killed", seed)
	}
	k.want(exitOK, "delete", "--all")
	k.wantSame("in the end", k.bare, k.unrevised(), ofItself, configuration)
}
