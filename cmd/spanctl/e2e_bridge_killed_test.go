package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"spanctl/ovs/migrate"
)

// A killer is where a process writes lines to: with the nth the process is killed.
type killer struct {
	transcript
	n       int
	process *exec.Cmd
}

func (k *killer) Write(p []byte) (int, error) {
	k.n -= bytes.Count(p, []byte("\n"))
	if k.n <= 0 {
		_ = k.process.Process.Kill() // it may have ended
	}
	return k.transcript.Write(p)
}

// wantLinuxBridge wants br0 to be the Linux bridge of before, and nothing else to be left.
func (s *bridgeSite) wantLinuxBridge(what, before string) {
	s.Helper()
	s.wantSameText(what, before, s.linuxBridge())
	if got := s.ofSwitch(); got != "" {
		s.Errorf("%s: Open vSwitch has bridges %q", what, got)
	}
	if links := s.host("ip", "link"); strings.Contains(links, ": linux-") {
		s.Errorf("%s: a bridge is left aside:\n%s", what, links)
	}
	s.exchange(s.guests["a"], s.guests["b"], 2)
}

// TestE2EBridgeKilledAtEveryStep kills spanctl as it begins each step of a migration, until it has died in each of them: the
// watchdog puts everything back.
func TestE2EBridgeKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.furnish()
	before := s.linuxBridge()
	steps := migrate.Steps(&migrate.Layout{Bridge: "br0", New: "br0", Parked: "aside", Row: rowOfOnePort()})
	died := map[string]int{}
	for n, step := range steps {
		for died[step.Name] == 0 {
			inside := append(s.lab.Inside(), "spanctl", "bridge", "migrate", "br0", "--datapath", "netdev", "--confirm", "100ms", "--state-dir", s.dir, "--db", s.lab.DB)
			cmd := exec.CommandContext(s.ctx, inside[0], inside[1:]...)
			k := &killer{n: n + 1, process: cmd}
			cmd.Stdout = k
			s.check(cmd.Start())
			_ = cmd.Wait() // it is killed
			s.awaitPhase(migrate.Reverted)
			s.wantLinuxBridge("killed with step "+step.Name, before)
			if why, ok := strings.CutPrefix(s.journal().Reason, "spanctl ended in step "); ok {
				died[why]++
			}
		}
	}
	t.Logf("it died in these steps: %v", died)
}
