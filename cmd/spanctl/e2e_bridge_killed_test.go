package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"spanctl/ovs/migrate"
)

// A trap is where a process writes lines to: with the nth, which says that a step begins, it snaps.
type trap struct {
	n    int
	snap func()
}

func (k *trap) Write(p []byte) (int, error) {
	before := k.n
	k.n -= bytes.Count(p, []byte("\n"))
	if before > 0 && k.n <= 0 {
		k.snap()
	}
	return len(p), nil
}

// trapped starts a migration of br0 and has the trap snap as its nth step begins.
func (s *bridgeSite) trapped(n int, snap func(*exec.Cmd), args ...string) *exec.Cmd {
	s.Helper()
	inside := append(s.lab.Inside(), "spanctl", "bridge", "migrate", "br0", "--datapath", datapath(), "--state-dir", s.dir, "--root", s.root(), "--db", s.lab.DB)
	inside = append(inside, args...)
	cmd := exec.CommandContext(s.ctx, inside[0], inside[1:]...)
	cmd.Stdout = &trap{n, func() { snap(cmd) }}
	s.check(cmd.Start())
	return cmd
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
			cmd := s.trapped(n+1, func(cmd *exec.Cmd) { _ = cmd.Process.Kill() }, "--confirm", "100ms")
			_ = cmd.Wait() // it is killed, or nobody confirms
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
// confirm. The watchdog goes on, also with a guest that has joined since.
func TestE2EBridgeKilledOnTheWayBack(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.furnish()
	before, l3 := s.linuxBridge(), s.onDevice("br0")
	s.host("sh", "-e", "-c", "ip link add name late type veth peer name etal; ip link set late up")
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
		s.vsctl("add-port", "br0", "late")
		s.killAt(s.bridge("revert", "br0"), migrate.Reverting, time.Duration(i)*3*time.Millisecond)
		s.awaitPhase(migrate.Reverted)
		if link := s.host("ip", "link", "show", "dev", "late"); !strings.Contains(link, "master br0") {
			t.Errorf("who has joined since is elsewhere:\n%s", link)
		}
		s.host("ip", "link", "set", "late", "nomaster")
		s.wantLinuxBridge("after revert was killed", before)
	}
}

// TestE2EBridgeStuck has spanctl stop in the middle, with the lock: the watchdog ends it, and puts everything back. Then
// ovsdb-server does not answer in the middle, for longer than spanctl waits: everything is put back when it does again.
func TestE2EBridgeStuck(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	const host = 5 // the step in which ports have no bridge
	cmd := s.trapped(host, func(cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGSTOP) }, "--timeout", "5s")
	_ = cmd.Wait() // it is killed
	s.awaitPhase(migrate.Reverted)
	s.wantLinuxBridge("after spanctl was stopped", before)

	for phase := migrate.Migrated; phase == migrate.Migrated; { // until it is frozen in time
		cmd = s.trapped(host-1, func(*exec.Cmd) { _ = s.lab.FreezeDB() }, "--timeout", "5s", "--confirm", "1s")
		s.await("what becomes of it", func() bool {
			phase = s.journal().Phase
			return phase == migrate.Migrated || phase == migrate.Reverting
		})
		s.check(s.lab.ThawDB())
		if err := cmd.Wait(); err == nil {
			t.Error("spanctl has migrated without ovsdb-server")
		}
		s.awaitPhase(migrate.Reverted)
	}
	s.wantLinuxBridge("after ovsdb-server was frozen", before)
}

// TestE2EBridgeWithoutItsWatchdog has the watchdog die while a confirmation is awaited: who migrates keeps the deadline too.
func TestE2EBridgeWithoutItsWatchdog(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	p := s.migrate("--confirm", "1s")
	s.endWatchdogs()
	s.wantExit(p, exitError)
	s.wantLinuxBridge("without a watchdog", before)
}

// TestE2EBridgeWatchdogDiesOnTheWayBack kills the watchdog while it puts everything back and waits for ovs-vswitchd, which still has
// the device: who migrates, who was stopped meanwhile, goes on with that, and waits too.
func TestE2EBridgeWatchdogDiesOnTheWayBack(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	p := s.migrate("--confirm", "1s")
	s.check(p.cmd.Process.Signal(syscall.SIGSTOP))
	s.check(s.lab.FreezeVSwitchd())
	s.awaitPhase(migrate.Reverting)
	s.await("the end of the bridge", func() bool { return s.ofSwitch() == "" })
	s.endWatchdogs()
	s.check(p.cmd.Process.Signal(syscall.SIGCONT))
	s.await("the ports", func() bool {
		return strings.Contains(s.host("ip", "link", "show", "master", migrate.ParkedName("br0")), "vif-b")
	})
	s.check(s.lab.ThawVSwitchd())
	s.wantExit(p, exitError)
	if said := p.said.String(); !strings.Contains(said, "not confirmed in time; everything was put back") {
		t.Errorf("it says\n%s", said)
	}
	s.wantLinuxBridge("after its watchdog was killed", before)
}

// TestE2EBridgeGuestInBetween has a guest join the Linux bridge in the middle of a migration: it is not left alone there.
func TestE2EBridgeGuestInBetween(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	joins := []string{"sh", "-e", "-c", "ip link add name late type veth peer name etal && ip link set late up master " + migrate.ParkedName("br0")}
	const create = 2
	cmd := s.trapped(create, func(cmd *exec.Cmd) {
		_ = cmd.Process.Signal(syscall.SIGSTOP)
		s.host(joins...)
		_ = cmd.Process.Signal(syscall.SIGCONT)
	})
	if err := cmd.Wait(); err == nil {
		t.Error("the migration is done")
	}
	if why := s.journal().Reason; !strings.Contains(why, "port late has joined the Linux bridge meanwhile") {
		t.Errorf("it was put back because of %s", why)
	}
	if link := s.host("ip", "link", "show", "dev", "late"); !strings.Contains(link, "master br0") {
		t.Errorf("the guest is elsewhere:\n%s", link)
	}
	s.host("ip", "link", "del", "late")
	s.wantLinuxBridge("without the guest", before)
}
