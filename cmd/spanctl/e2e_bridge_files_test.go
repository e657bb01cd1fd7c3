package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/migrate"
)

// configure makes a file of the host's configuration.
func (s *bridgeSite) configure(name, text string) {
	s.Helper()
	path := filepath.Join(s.root(), name)
	s.check(os.MkdirAll(filepath.Dir(path), 0o755))
	s.check(os.WriteFile(path, []byte(text), 0o644))
}

// wantFile wants a file of the host's configuration to be that; empty: not to be there.
func (s *bridgeSite) wantFile(name, want string) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.root(), name))
	if want == "" && !errors.Is(err, fs.ErrNotExist) || string(text) != want {
		s.Errorf("%s is %q (%v), want %q", name, text, err, want)
	}
}

// TestE2EBridgeChangesTheConfiguration has the configuration shown by plan, changed by the confirmation and by nothing before,
// whoever brings that to its end, and put back by revert.
func TestE2EBridgeChangesTheConfiguration(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	const file = "etc/network/interfaces"
	const linux = "auto br0\niface br0 inet static\n\taddress 10.9.0.250/24\n\tbridge_ports vif-a vif-b\n"
	const ours = "auto br0\niface br0 inet static\n\taddress 10.9.0.250/24\n" +
		"\t# Open vSwitch makes br0 and its ports, from its database.\n" +
		"\tpre-up ip link set dev vif-a addrgenmode none || true\n\tpre-up ip link set dev vif-a up || true\n" +
		"\tpre-up ip link set dev vif-b addrgenmode none || true\n\tpre-up ip link set dev vif-b up || true\n"
	s.configure(file, linux)
	got := s.bridgeWant(exitRefused, "plan", "br0", "--datapath", datapath())
	if !strings.Contains(got, "nothing starts Open vSwitch at boot") {
		t.Errorf("without a service plan says\n%s", got)
	}
	s.configure("lib/systemd/system/openvswitch-switch.service", "[Unit]\n")
	s.configure("lib/systemd/system/ovs-vswitchd.service", "[Unit]\n")
	isGuarded := func() bool {
		_, err := os.Stat(filepath.Join(s.root(), "etc/systemd/system/ovs-vswitchd.service.d/spanctl-br0.conf"))
		return err == nil
	}
	guarded := func(want bool) {
		s.Helper()
		if got := isGuarded(); got != want {
			s.Errorf("the next boot is guarded: %v, want %v", got, want)
		}
	}
	const dropin = "etc/systemd/system/networking.service.d/spanctl-br0.conf"
	got = s.bridgeWant(exitOK, "plan", "br0", "--datapath", datapath())
	for _, part := range []string{
		"-\tbridge_ports vif-a vif-b\n", "+\tpre-up ip link set dev vif-b up || true\n", "+++ /" + dropin, "At the next boot:\n",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("%q is not in\n%s", part, got)
		}
	}
	var doc struct {
		Configuration jsonFiles `json:"configuration"`
	}
	s.check(json.Unmarshal([]byte(s.bridgeWant(exitOK, "plan", "br0", "--datapath", datapath(), "-o", "json")), &doc))
	if f := doc.Configuration.Files; len(f) != 2 || *f[0].Before != linux || *f[0].After != ours || f[1].Before != nil {
		t.Errorf("JSON: %+v", doc.Configuration)
	}
	s.wantFile(file, linux)

	p := s.migrate()
	s.wantFile(file, linux)
	s.wantFile(dropin, "")
	guarded(true)
	s.bridgeWant(exitOK, "confirm", "br0")
	s.wantExit(p, exitOK)
	s.wantFile(file, ours)
	guarded(false)
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantFile(file, linux)
	s.wantFile(dropin, "")

	p = s.migrate("--confirm", "300ms")
	s.wantExit(p, exitError)
	s.wantFile(file, linux)
	s.await("the watchdog's last deed", func() bool { return !isGuarded() })

	p = s.migrate("--check", "true", "--runtime-only")
	s.wantExit(p, exitOK)
	s.wantFile(file, linux)
	guarded(true) // the files have a Linux bridge at the next boot
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantFile(file, linux)
	guarded(false)

	// Somebody's own change after the migration is not undone.
	p = s.migrate("--check", "true")
	s.wantExit(p, exitOK)
	s.configure(file, ours+"# mine\n")
	if got := s.bridgeWant(exitError, "revert", "br0"); !strings.Contains(got, "changed by somebody else") {
		t.Errorf("revert says\n%s", got)
	}
	s.wantFile(file, ours+"# mine\n")
	if got := s.ofSwitch(); got != "br0" {
		t.Errorf("Open vSwitch has %q", got)
	}
	s.configure(file, ours)
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantFile(file, linux)
}

// TestE2EBridgeRefusesForeignConfiguration has netplan make the bridge: that is refused with what to write, and nothing is
// changed, unless the running host alone is to be.
func TestE2EBridgeRefusesForeignConfiguration(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.configure("etc/netplan/01.yaml", "network:\n  bridges:\n    br0: {interfaces: [vif-a]}\n")
	before := s.linuxBridge()
	for _, verb := range []string{"plan", "migrate"} {
		got := s.bridgeWant(exitRefused, verb, "br0", "--datapath", datapath())
		for _, part := range []string{"netplan (/etc/netplan/01.yaml:3)", "openvswitch: {}", "--runtime-only"} {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q is not in\n%s", verb, part, got)
			}
		}
	}
	s.wantLinuxBridge("after a refusal", before)
	s.wantExit(s.migrate("--check", "true", "--runtime-only"), exitOK)
	if s.journal().Phase != migrate.Confirmed {
		t.Error("it is not confirmed")
	}
	s.bridgeWant(exitOK, "revert", "br0")
}
