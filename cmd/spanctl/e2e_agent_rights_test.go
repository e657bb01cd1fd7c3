package main

import (
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"spanctl/ovs/ovstest"
)

var capabilities = map[string]uintptr{
	"CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_SYS_PTRACE": unix.CAP_SYS_PTRACE,
}

// An agent with no rights but the capabilities that the unit in examples/systemd gives keeps rules and tunnels in force.
func TestE2EAgentServiceRights(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.addCollector(ovstest.CollectorConfig{Name: "ids", IP: netip.MustParsePrefix("192.0.2.10/24"), MTU: 1600})
	unit, err := os.ReadFile("../../examples/systemd/spanctl-agent.service")
	s.check(err)
	line := regexp.MustCompile(`(?m)^AmbientCapabilities=(.+)$`).FindSubmatch(unit)
	if line == nil {
		t.Fatal("the unit has no capabilities")
	}
	user := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	for name := range strings.FieldsSeq(string(line[1])) {
		number, known := capabilities[name]
		if !known {
			t.Fatalf("the unit has %s", name)
		}
		user.AmbientCaps = append(user.AmbientCaps, number)
	}
	args := []string{"agent", "--listen", "", "--db", s.lab.DB}
	cmd := exec.CommandContext(s.ctx, "/proc/self/exe", args...) // that user cannot look into the folders above it
	cmd.Args[0], cmd.Dir, cmd.SysProcAttr = "spanctl", "/", user
	p := s.startCommand(cmd, nil, args)
	s.await("the agent", func() bool { return s.leaseText() != "" })
	s.apply("  rules: {sources: [{vm: a}], exclude: [{protocol: udp, port: 7788}], destinations: [{vm: audit}]}\n"+
		"  tunnel: {sources: [{vm: b}], destinations: [{gre: {remote: 192.0.2.10}}]}\n", "--no-wait")
	s.awaitActive("rules")
	s.awaitActive("tunnel")
	s.restart(s.guests["audit"]) // whose rules none but the agent makes anew
	s.restart(s.guests["a"])
	s.awaitActive("rules")
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 5)
	s.terminate(p)
	if said := p.said.String(); strings.Contains(strings.ToLower(said), "permi") {
		t.Errorf("the agent lacks rights:\n%s", said)
	}
}
