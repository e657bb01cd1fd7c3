package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

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
			inside := append(s.lab.Inside(), "spanctl", "bridge", "migrate", "br0", "--datapath", datapath(), "--confirm", "100ms", "--state-dir", s.dir, "--db", s.lab.DB)
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

// killAt kills the process so long after the journal has told the phase.
func (s *bridgeSite) killAt(p *process, phase migrate.Phase, later time.Duration) {
	s.Helper()
	watcher, err := fsnotify.NewWatcher()
	s.check(err)
	defer watcher.Close()
	s.check(watcher.Add(filepath.Join(s.dir, "br0")))
	for s.journal().Phase != phase {
		select {
		case <-watcher.Events:
		case <-p.done: // it was faster
			return
		}
	}
	timer := time.NewTimer(later)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.done:
	}
	p.kill()
}

// TestE2EBridgeKilledOnTheWayBack kills revert sooner and later, of what is to be confirmed and of what was confirmed; and
// confirm. The watchdog goes on.
func TestE2EBridgeKilledOnTheWayBack(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.furnish()
	before, l3 := s.linuxBridge(), s.onDevice("br0")
	for i := range 12 {
		migrating := s.migrate()
		if i%2 == 1 {
			s.killAt(s.bridge("confirm", "br0"), migrate.Confirming, 0)
			s.awaitPhase(migrate.Confirmed)
			s.wantExit(migrating, exitOK)
			s.wantSameText("after confirm was killed", l3, s.onDevice("br0"))
			if links := s.host("ip", "link"); strings.Contains(links, ": linux-") {
				s.Errorf("the Linux bridge is left:\n%s", links)
			}
		} else {
			migrating.kill()
		}
		s.killAt(s.bridge("revert", "br0"), migrate.Reverting, time.Duration(i)*3*time.Millisecond)
		s.awaitPhase(migrate.Reverted)
		s.wantLinuxBridge("after revert was killed", before)
	}
}
