package main

import (
	"encoding/json"
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

	p = s.migrate("--confirm", "2s")
	p.kill()
	back("kill -9", p, -1, "")

	if got := s.bridgeWant(exitInvalid, "confirm", "nobr"); !strings.Contains(got, "nothing of this bridge's migration is on disk") {
		t.Errorf("confirming nothing says\n%s", got)
	}
	if got := s.bridgeWant(exitError, "confirm", "br0"); !strings.Contains(got, "reverted") {
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

// TestE2EBridgeRefused has nothing changed where something cannot be carried, or Open vSwitch is not there; and everything said
// that will be otherwise.
func TestE2EBridgeRefused(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.host("ip", "link", "set", "dev", "vif-a", "type", "bridge_slave", "hairpin", "on")
	s.host("ip", "link", "add", "name", "mv0", "link", "br0", "type", "macvlan")
	before := s.linuxBridge()
	for _, command := range []string{"plan", "migrate"} {
		out := s.bridgeWant(exitRefused, command, "br0", "--datapath", datapath())
		for _, want := range []string{"port vif-a has hairpin 1", "mv0 (macvlan)"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not say %q:\n%s", command, want, out)
			}
		}
	}
	if got := s.bridgeWant(exitInvalid, "migrate", "vif-a"); !strings.Contains(got, "no Linux bridge of that name") {
		t.Errorf("it says\n%s", got)
	}
	s.wantLinuxBridge("after a refusal", before)
	if _, err := os.Stat(s.dir); err == nil {
		t.Error("a refusal leaves something on the disk")
	}
	s.host("ip", "link", "del", "mv0")
	s.host("ip", "link", "set", "dev", "vif-a", "type", "bridge_slave", "hairpin", "off")
	before = s.linuxBridge()

	listener, err := s.lab.CapturePort(s.ctx, "br0") // a packet socket
	s.check(err)
	if out := s.bridgeWant(exitOK, "plan", "br0", "--datapath", datapath()); !strings.Contains(out, "listens on it") {
		t.Errorf("plan does not see who listens:\n%s", out)
	}
	s.check(listener.Close())

	s.vsctl("add-br", "br7", "--", "set", "bridge", "br7", "datapath_type="+datapath())
	if out := s.bridgeWant(exitRefused, "plan", "br0", "--datapath", datapath(), "--name", "br7"); !strings.Contains(out, "has a bridge br7 already") {
		t.Errorf("plan says\n%s", out)
	}
	s.vsctl("del-br", "br7")
	s.lab.KillVSwitchd()
	s.bridgeWant(exitUnreachable, "migrate", "br0", "--datapath", datapath())
	s.lab.KillDB()
	s.bridgeWant(exitUnreachable, "migrate", "br0", "--datapath", datapath(), "--timeout", "500ms")
	s.bridgeWant(exitOK, "list")
	s.wantSameText("without Open vSwitch", before, s.linuxBridge())
}

// TestE2EBridgeAfterABoot has the journal of a migration be of another run of the kernel.
func TestE2EBridgeAfterABoot(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	s.migrate().kill()
	s.endWatchdogs()
	file := filepath.Join(s.dir, "br0", "journal.json")
	text, err := os.ReadFile(file)
	s.check(err)
	other := strings.Replace(string(text), s.journal().BootID, "of-another-run", 1)
	s.check(os.WriteFile(file, []byte(other), 0o600))
	for _, command := range []string{"confirm", "revert"} {
		if out := s.bridgeWant(exitInvalid, command, "br0"); !strings.Contains(out, "was started anew") || !strings.Contains(out, "ovs-vsctl del-br br0") {
			t.Errorf("%s says\n%s", command, out)
		}
	}
	s.check(os.WriteFile(file, text, 0o600))
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantLinuxBridge("after all", before)
}

// TestE2EBridgeJSON has each command print one document.
func TestE2EBridgeJSON(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	document := func(out string) map[string]any {
		s.Helper()
		var doc map[string]any
		if err := json.Unmarshal([]byte(out), &doc); err != nil || doc["format_version"] == nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		return doc
	}
	list := document(s.bridgeWant(exitOK, "list", "-o", "json"))["bridges"].([]any)[0].(map[string]any)
	if list["name"] != "br0" || list["can_be_migrated"] != true || len(list["ports"].([]any)) != 2 {
		t.Errorf("list says %v", list)
	}
	plan := document(s.bridgeWant(exitOK, "plan", "br0", "--datapath", datapath(), "-o", "json"))
	if len(plan["steps"].([]any)) != 6 {
		t.Errorf("plan says %v", plan)
	}
	said := s.bridgeWant(exitOK, "migrate", "br0", "--datapath", datapath(), "--check", "true", "-o", "json", "--log-level", "error")
	if done := document(said[strings.Index(said, "{"):]); done["phase"] != "confirmed" || done["gap_ms"] == nil {
		t.Errorf("migrate says %v", done)
	}
	if done := document(s.bridgeWant(exitOK, "revert", "br0", "-o", "json")); done["phase"] != "reverted" {
		t.Errorf("revert says %v", done)
	}
}
