package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"spanctl/ovs/ovstest"
)

// Sessions of the flow tier: one and two share a tap bridge, three is by itself, direct has no rules.
const (
	flowOne    = "  one: {sources: [{vm: a}], exclude: [{protocol: udp, port: 7790}], destinations: [{vm: audit}]}\n"
	flowTwo    = "  two: {sources: [{vm: b, direction: from}], max_rate: 1Gbps, destinations: [{vm: audit}]}\n"
	flowThree  = "  three: {sources: [{vm: b}], exclude: [{protocol: tcp}], max_rate: 2Gbps, destinations: [{vm: audit2}]}\n"
	flowDirect = "  direct: {sources: [{vm: a}], destinations: [{vm: audit2}]}\n"
)

// flowRivals are two commands that run at once, of which one at least is about rules, after another has prepared the place,
// and the sessions that may be stored in the end: either list.
var flowRivals = []struct {
	name, before   string
	one, two       []string // with a policy's sessions in place of its file
	either, orElse string
}{
	{"one tap bridge", "", []string{"apply", "-f", flowOne}, []string{"apply", "-f", flowTwo}, "one two", "one two"},
	{"two tap bridges", "", []string{"apply", "-f", flowOne}, []string{"apply", "-f", flowThree}, "one three", "one three"},
	{"the same session", "", []string{"apply", "-f", flowOne}, []string{"apply", "-f", flowOne}, "one", "one"},
	{"a tap bridge that stands", flowOne, []string{"apply", "-f", flowTwo}, []string{"apply", "-f", strings.Replace(flowOne, "7790", "7791", 1)}, "one two", "one two"},
	{"and one without rules", "", []string{"apply", "-f", flowOne}, []string{"apply", "-f", flowDirect}, "direct one", "direct one"},
	{"apply and delete of another", flowTwo, []string{"apply", "-f", flowOne}, []string{"delete", "two"}, "one", "one"},
	{"apply and delete of the same", flowOne, []string{"apply", "-f", strings.Replace(flowOne, "7790", "7791", 1)}, []string{"delete", "one"}, "one", ""},
	{"apply and delete of all", flowOne + flowThree, []string{"apply", "-f", flowTwo}, []string{"delete", "--all"}, "two", ""},
	{"apply of what is stored, and apply", flowOne, []string{"apply"}, []string{"apply", "-f", flowTwo}, "one two", "one two"},
}

func newRivalSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "a", "b")
	s.check(s.lab.AddBridge(s.ctx, "br9"))
	s.add(ovstest.GuestConfig{Name: "audit", Bridge: "br9"})
	s.add(ovstest.GuestConfig{Name: "audit2", Bridge: "br9", Tag: 10})
	s.greet(s.guests["a"], s.guests["b"])
	return s
}

// Two spanctl at once, both of which make their plan before the other has begun: nothing is lost or double, of rows and of
// rules, and what comes of it is what comes of either order.
func TestE2EFlowTwoSpanctlAtOnce(t *testing.T) {
	t.Parallel()
	s := newRivalSite(t)
	bare := s.unrevised()
	for _, c := range flowRivals {
		s.sub(c.name, func(s *site) {
			if c.before != "" {
				s.apply(c.before)
			}
			for _, p := range s.race(s.filed(c.one), s.filed(c.two)) {
				// One may see what the other is about to do.
				if code := p.exit(); code != exitOK && code != exitDegraded {
					s.Errorf("spanctl %s exits %d and says\n%s", p.args, code, p.said.String())
				}
			}
			s.want(exitOK, "apply") // takes away what is left
			s.wantNoChanges()
			if stored := strings.Join(s.stored(), " "); stored != c.either && stored != c.orElse {
				s.Errorf("sessions %s are stored", stored)
			}
			s.wantRulesAsFromNothing()
			s.wantSame("deleted", bare, s.unrevised(), ofItself, configuration)
		})
	}
}

// portNumbers are where rules and meters name ports and cookies that hold their numbers.
var portNumbers = regexp.MustCompile(`cookie=[^,]*,|in_port=\d+|output:\d+|meter[:=]\d+`)

// wantRulesAsFromNothing wants as many rules as the stored sessions make where there are none, and the same but for numbers,
// and deletes all.
func (s *site) wantRulesAsFromNothing() {
	s.Helper()
	kinds := func() string {
		var lines []string
		for tap := range strings.FieldsSeq(s.vsctl("--bare", "--columns=name", "find", "Bridge", "external_ids:spanctl-managed=true")) {
			for line := range strings.Lines(s.rules(tap)) {
				lines = append(lines, tap+" "+portNumbers.ReplaceAllString(line, ""))
			}
			lines = append(lines, tap+" has "+strings.Join(strings.Fields(s.vsctl("list-ports", tap)), " "))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	now, policy := kinds(), s.want(exitOK, "get")
	stored := len(s.stored())
	s.want(exitOK, "delete", "--all")
	if stored > 0 {
		_, sessions, _ := strings.Cut(policy, "sessions:\n")
		s.apply(sessions)
		if fresh := kinds(); fresh != now {
			s.Errorf("from nothing there are\n%s\nand there were\n%s", fresh, now)
		}
		s.want(exitOK, "delete", "--all")
	} else if now != "" {
		s.Errorf("without sessions there are\n%s", now)
	}
}

// Another spanctl works in between the steps of one, and takes away what is inert, or changes what is not: both are done.
func TestE2EFlowAnotherBetweenSteps(t *testing.T) {
	t.Parallel()
	s := newRivalSite(t)
	bare := s.unrevised()
	for _, between := range [][]string{
		{"apply"},
		{"apply", "-f", flowOne},
		{"apply", "-f", flowTwo},
		{"apply", "-f", flowDirect},
		{"delete", "--all"},
	} {
		for step := 1; step <= 2; step++ { // before the first transaction, or before the second
			s.sub(fmt.Sprintf("%s before %d", strings.Join(between[:1], " "), step), func(s *site) {
				args := s.filed(between)
				var mu sync.Mutex
				transactions := 0
				remote := s.relay("between", func(message []byte, to io.Writer) bool {
					mu.Lock()
					defer mu.Unlock()
					if bytes.Contains(message, []byte(`"op":"comment"`)) {
						if transactions++; transactions == step {
							if code, _, said := s.spanctl(args...); code != exitOK {
								s.Errorf("%s exits %d and says %s", args, code, said)
							}
						}
					}
					_, err := to.Write(message)
					return err == nil
				})
				s.wantExit(s.start(remote, "apply", "-f", s.policy(flowOne)), exitOK)
				want := "one"
				switch {
				case strings.Contains(between[len(between)-1], "two:"):
					want = "one two"
				case strings.Contains(between[len(between)-1], "direct:"):
					want = "direct one"
				}
				if stored := strings.Join(s.stored(), " "); stored != want {
					s.Errorf("sessions %s are stored, want %s", stored, want)
				}
				s.want(exitOK, "apply")
				s.wantNoChanges()
				s.wantRulesAsFromNothing()
				s.wantSame("deleted", bare, s.unrevised(), ofItself, configuration)
			})
		}
	}
}
