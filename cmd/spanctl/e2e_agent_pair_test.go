package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// Two agents and the command line at once, while guests come and go: nobody fights or makes anything twice, and what is
// somebody else's stays as it is, to the byte. When the agent that works is killed the other does.
func TestE2EAgentsTwo(t *testing.T) {
	t.Parallel()
	s := newSite(t, "b", "audit", "ids")
	s.foreignMirror("theirs", "select_all=true")
	s.vsctl("--", "add-br", "br9", "--", "set", "Bridge", "br9", "datapath_type=netdev", "other_config:disable-in-band=true", "external_ids:whose=theirs",
		"--", "add-port", "br0", "patch9", "--", "set", "Interface", "patch9", "type=patch", "options:peer=patch0",
		"--", "add-port", "br9", "patch0", "--", "set", "Interface", "patch0", "type=patch", "options:peer=patch9")
	bare, _ := s.ours()
	before := s.database()
	a := s.add(ovstest.GuestConfig{Name: "a"})
	first := s.agent("--check", "200ms")
	lease := s.leaseText()
	second := s.start(s.lab.DB, "agent", "--listen", "", "--check", "200ms")

	const audit = "  audit: {sources: [{role: all, bridge: br0}], destinations: [{vm: audit}]}\n"
	policies := []string{s.policy(audit), s.policy(strings.Replace(audit, "destinations", "exclude: [{protocol: udp, port: 7788}], destinations", 1)), s.policy(strings.Replace(audit, "{role", "{direction: from, role", 1))}
	over, churned := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			select {
			case <-over:
				churned <- nil
				return
			default:
				err = errors.Join(a.Stop(s.ctx), a.Start(s.ctx))
			}
		}
		churned <- err
	}()
	end := sync.OnceValue(func() error { close(over); return <-churned })
	defer func() { s.check(end()) }()
	for round := range times(t, 12, 12) {
		for _, args := range [][]string{{"apply", "-f", policies[round%len(policies)]}, {"get"}, {"apply"}, {"plan"}, {"delete", "audit"}} {
			code, _, stderr := s.spanctl(args...)
			for again := 0; code == exitConflict && again < 3; again++ { // guests may come and go faster than this machine plans
				code, _, stderr = s.spanctl(args...)
			}
			if code != exitOK && code != exitDegraded { // what comes or goes at that very moment is not copied yet
				t.Errorf("spanctl %s exits %d and says %s", strings.Join(args, " "), code, stderr)
			}
		}
		s.wantForeign("in a round", before)
	}
	s.check(end())
	if now := s.leaseText(); !sameAgent(now, lease) {
		t.Errorf("the agent was %s and is %s", lease, now)
	}
	s.apply(audit)
	first.kill()
	s.restart(a)
	s.awaitActive("audit")
	s.wantCopied(a, s.guests["b"], s.guests["audit"], 3)
	if now := s.leaseText(); sameAgent(now, lease) {
		t.Errorf("the agent is still %s", now)
	}
	s.want(exitOK, "delete", "--all")
	s.terminate(second)
	s.check(a.Stop(s.ctx))
	s.wantSame("in the end", before, s.database(), ofItself, configuration)
	s.wantBare(bare)
}

func sameAgent(a, b string) bool {
	one, two := plan.ParseLease(unquote(a)), plan.ParseLease(unquote(b))
	return one != nil && two != nil && one.PID == two.PID
}

// Of agents that start in the same moment one works, and what there is to do is done once.
func TestE2EAgentsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	bare, _ := s.ours()
	rounds := soak(t, 4)
	for range rounds {
		s.vsctl("set", "Open_vSwitch", ".", `external_ids:"spanctl/session/audit"="{\"version\":1,\"sources\":[{\"vm\":\"[ab]\"}],\"destinations\":[{\"vm\":\"audit\"}]}"`)
		var agents []*process
		for range 3 {
			agents = append(agents, s.start(s.lab.DB, "agent", "--listen", "", "--check", "50ms"))
		}
		s.awaitActive("audit")
		s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
		lease := plan.ParseLease(unquote(s.leaseText()))
		for _, p := range agents {
			if lease != nil && p.cmd.Process.Pid != lease.PID { // it stands by, and leaves nothing when it ends
				s.terminate(p)
			}
		}
		if now := plan.ParseLease(unquote(s.leaseText())); now == nil || lease == nil || now.PID != lease.PID {
			t.Errorf("the agent was %s and is %s", lease, now)
		}
		s.want(exitOK, "delete", "--all")
		for _, p := range agents {
			if lease != nil && p.cmd.Process.Pid == lease.PID {
				s.terminate(p)
			}
		}
	}
	log, err := os.ReadFile(filepath.Join(s.lab.Dir, "conf.db"))
	s.check(err)
	if n := strings.Count(string(log), "audit: row-missing"); n != rounds {
		t.Errorf("rows were made %d times in %d rounds", n, rounds)
	}
	s.wantBare(bare)
}

// An agent in a container of the same name cannot see the process of the other, and stands by all the same.
func TestE2EAgentsInContainers(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	first := s.agent("--check", "200ms")
	lease := s.leaseText()
	cmd := exec.CommandContext(s.ctx, "sh", "-c", `mount -t proc proc /proc && exec spanctl "$@"`, "sh",
		"agent", "--listen", "127.0.0.1:0", "--log-level", "info", "--check", "200ms", "--db", s.lab.DB)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS}
	second := s.startCommand(cmd, nil, nil)
	w := s.watch(second)
	s.await("the second agent", func() bool { return w.value("spanctl_standby") == 1 })
	s.apply(auditA)
	s.restart(s.guests["a"])
	s.awaitActive("audit")
	if now := s.leaseText(); !sameAgent(now, lease) {
		t.Errorf("the agent was %s and is %s", lease, now)
	}
	s.terminate(first)
	s.await("the second agent", func() bool { return w.value("spanctl_standby") == 0 && w.value("spanctl_ready") == 1 })
	s.restart(s.guests["a"])
	s.awaitActive("audit")
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
	s.terminate(second)
}
