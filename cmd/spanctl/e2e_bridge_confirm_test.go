package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/migrate"
)

func rowOfOnePort() ovs.BridgeRow { return ovs.BridgeRow{Ports: make([]ovs.PortRow, 1)} }

// TestE2EBridgeIsPutBackUnlessConfirmed has nobody confirm, a check fail, the operator interrupt, and the terminal go: in the
// end the Linux bridge is as it was.
func TestE2EBridgeIsPutBackUnlessConfirmed(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	back := func(what string, p *process, code int, said string) {
		s.Helper()
		s.awaitPhase(migrate.Reverted)
		s.wantExit(p, code)
		if !strings.Contains(p.said.String(), said) {
			t.Errorf("%s: %q is not in\n%s", what, said, p.said.String())
		}
		s.wantLinuxBridge(what, before)
	}
	back("nobody confirms", s.migrate("--confirm", "300ms"), exitError, "not confirmed in time; everything was put back")

	back("a check fails", s.migrate("--confirm", "1500ms", "--check", "echo no way >&2; false"), exitError, "no way")

	back("no gateway answers", s.migrate("--confirm", "1500ms", "--check-gateway"), exitError, "no default route has its gateway there")

	p := s.migrate()
	s.check(p.cmd.Process.Signal(syscall.SIGINT))
	back("Ctrl-C", p, exitInterrupted, "interrupted")

	p = s.migrate("--confirm", "1s")
	s.check(p.cmd.Process.Signal(syscall.SIGHUP))
	back("the terminal goes", p, exitError, "everything was put back")

	p = s.migrate("--confirm", "500ms")
	p.kill()
	back("kill -9", p, -1, "")

	if got := s.bridgeWant(exitInvalid, "confirm", "nobr"); !strings.Contains(got, "nothing of this bridge's migration is on disk") {
		t.Errorf("confirming nothing says\n%s", got)
	}
	if got := s.bridgeWant(exitInvalid, "confirm", "br0"); !strings.Contains(got, "reverted") {
		t.Errorf("confirming what was put back says\n%s", got)
	}
	s.bridgeWant(exitInvalid, "revert", "br0")
}

// TestE2EBridgeChecksConfirm has checks confirm a migration, of which one succeeds only after a while.
func TestE2EBridgeChecksConfirm(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.host("ip", "route", "add", "default", "via", s.guests["a"].Addr().String())
	l3 := s.onDevice("br0")
	flag := filepath.Join(s.lab.Dir, "flag")
	p := s.migrate("--check", "true", "--check", "test -e "+flag, "--check-gateway")
	s.bridgeWant(exitConflict, "migrate", migrate.ParkedName("br0"), "--name", "other", "--datapath", datapath())
	s.check(os.WriteFile(flag, nil, 0o600))
	s.wantExit(p, exitOK)
	s.wantSameText("the host", l3, s.onDevice("br0"))
	if got := s.ofSwitch(); got != "br0" || s.journal().Phase != migrate.Confirmed {
		t.Errorf("Open vSwitch has bridges %q, the journal says %s\n%s", got, s.journal().Phase, p.said.String())
	}
	if links := s.host("ip", "link"); strings.Contains(links, ": linux-") {
		t.Errorf("the Linux bridge is left:\n%s", links)
	}
	s.exchange(s.guests["a"], s.guests["b"], 2)
}
