package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
)

// A process is spanctl in a process of its own, which can be killed.
type process struct {
	args []string
	cmd  *exec.Cmd
	said bytes.Buffer
	done chan struct{} // closed when it has ended
}

// start starts spanctl on a remote. It ends with the test.
func (s *site) start(remote string, args ...string) *process {
	s.Helper()
	p := &process{args: args, done: make(chan struct{})}
	p.cmd = exec.CommandContext(s.ctx, "spanctl", append(args, "--db", remote)...) // in PATH, by TestMain
	p.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")                   // or it ends a second late, with -race
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	s.check(p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // its exit code is asked for
		close(p.done)
	}()
	s.Cleanup(p.kill)
	return p
}

// kill ends the process by SIGKILL and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// exit waits for the end of the process and returns its exit code, -1 if it was killed.
func (p *process) exit() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// wantExit wants the process to end with the code.
func (s *site) wantExit(p *process, code int) {
	s.Helper()
	if got := p.exit(); got != code {
		s.Errorf("spanctl %s exits %d, want %d\n%s", strings.Join(p.args, " "), got, code, p.said.String())
	}
}
