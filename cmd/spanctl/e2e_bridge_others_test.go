package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"spanctl/ovs/migrate"
)

// TestE2EBridgeConfirmedElsewhereStays stops the spanctl that waits for the confirmation, confirms elsewhere, and lets it go on
// after its time is over: what was confirmed stays.
func TestE2EBridgeConfirmedElsewhereStays(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	p := s.migrate("--confirm", "10s")
	deadline := s.journal().Deadline
	s.check(p.cmd.Process.Signal(syscall.SIGSTOP))
	s.bridgeWant(exitOK, "confirm", "br0")
	s.await("the end of the time", func() bool { return time.Now().After(deadline) })
	s.check(p.cmd.Process.Signal(syscall.SIGCONT))
	s.wantExit(p, exitOK)
	if phase := s.journal().Phase; phase != migrate.Confirmed || s.ofSwitch() != "br0" {
		t.Errorf("it is %s, and Open vSwitch has %q", phase, s.ofSwitch())
	}
	s.exchange(s.guests["a"], s.guests["b"], 2)
	s.bridgeWant(exitOK, "revert", "br0")
}

// TestE2EBridgeRevertLeavesOthersAlone puts a bridge back long after it was confirmed: a port that is on another bridge by now
// stays there, and one that no Linux bridge takes is told of and keeps nothing else away.
func TestE2EBridgeRevertLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b", "c")
	s.migrate().kill()
	s.bridgeWant(exitOK, "confirm", "br0")
	s.vsctl("del-port", "vif-c", "--", "add-br", "other", "--", "set", "Bridge", "other", "datapath_type="+datapath())
	s.vsctl("add-port", "other", "vif-c")
	s.host("ip", "link", "add", "nested", "type", "bridge")
	s.vsctl("add-port", "br0", "nested")
	before := s.onDevice("br0")
	if got := s.bridgeWant(exitError, "revert", "br0"); !strings.Contains(got, "port nested, which has joined since, is not") {
		t.Errorf("revert says\n%s", got)
	}
	if phase := s.journal().Phase; phase != migrate.Reverted {
		t.Errorf("it is %s", phase)
	}
	s.wantSameText("the host", before, s.onDevice("br0"))
	if got := s.vsctl("port-to-br", "vif-c"); got != "other" {
		t.Errorf("the other bridge's port is on %s", got)
	}
	s.exchange(s.guests["a"], s.guests["b"], 2)
}

// TestE2EBridgeRevertKnowsItsBridge refuses to put a bridge back whose row nobody knows any more, before it changes anything, and
// says how to make it known.
func TestE2EBridgeRevertKnowsItsBridge(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	const file = "etc/network/interfaces"
	s.configure(file, "auto br0\niface br0 inet static\n\taddress 10.9.0.250/24\n\tbridge_ports vif-a vif-b\n")
	s.configure("lib/systemd/system/openvswitch-switch.service", "[Unit]\n")
	linux, err := os.ReadFile(filepath.Join(s.root(), file))
	s.check(err)
	s.migrate().kill()
	s.bridgeWant(exitOK, "confirm", "br0")
	ours, err := os.ReadFile(filepath.Join(s.root(), file))
	s.check(err)
	s.vsctl("clear", "Bridge", "br0", "external_ids")
	const remedy = "ovs-vsctl set bridge br0 external_ids:spanctl-replaces=br0"
	if got := s.bridgeWant(exitInvalid, "revert", "br0"); !strings.Contains(got, remedy) {
		t.Errorf("revert says\n%s", got)
	}
	s.wantFile(file, string(ours))
	s.exchange(s.guests["a"], s.guests["b"], 2)
	s.vsctl("set", "Bridge", "br0", "external_ids:spanctl-replaces=br0")
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantFile(file, string(linux))
	s.wantLinuxBridge("after revert", before)
}
