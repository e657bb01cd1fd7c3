package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is spanctl in a process of its own, which can be killed.
type process struct {
	args []string
	cmd  *exec.Cmd
	said transcript
	done chan struct{} // closed when it has ended
}

// A transcript is what a process has said so far; it may be read while the process goes on.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// start starts spanctl on a remote. It ends with the test.
func (s *site) start(remote string, args ...string) *process {
	s.Helper()
	return s.startWith(nil, remote, args...)
}

// startWith starts spanctl with more in its environment.
func (s *site) startWith(environ []string, remote string, args ...string) *process {
	s.Helper()
	return s.startCommand(exec.CommandContext(s.ctx, "spanctl", append(args, "--db", remote)...), environ, args) // in PATH, by TestMain
}

// startIn starts spanctl in a mount namespace of its own, which the shell's commands prepare.
func (s *site) startIn(prepare string, environ []string, remote string, args ...string) *process {
	s.Helper()
	shell := append([]string{"-c", prepare + ` && exec spanctl "$@"`, "sh"}, append(args, "--db", remote)...)
	cmd := exec.CommandContext(s.ctx, "sh", shell...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return s.startCommand(cmd, environ, args)
}

func (s *site) startCommand(cmd *exec.Cmd, environ, args []string) *process {
	s.Helper()
	p := &process{args: args, cmd: cmd, done: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), environ...) // or it ends a second late, with -race
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

// await returns when the condition holds.
func (s *site) await(what string, holds func() bool) {
	s.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-s.ctx.Done():
			s.Fatalf("waiting for %s: %v", what, s.ctx.Err())
		case <-tick.C:
		}
	}
}

// relay stands between spanctl and the server, as the returned remote, and calls hand for each message of either, to hand
// it on; when it says false the connection ends. It ends with the test.
func (s *site) relay(name string, hand func(message []byte, to io.Writer) bool) (remote string) {
	s.Helper()
	path := filepath.Join(s.lab.Dir, name+".sock")
	_ = os.Remove(path) // of an earlier one
	listener, err := net.Listen("unix", path)
	s.check(err)
	pass := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		for decoder := json.NewDecoder(from); ; {
			var message json.RawMessage
			if decoder.Decode(&message) != nil || !hand(message, to) {
				return
			}
		}
	}
	s.forward(listener, pass)
	return "unix:" + path
}

// forward connects who comes to the listener with the database, and lets pass carry each direction to its end. The
// listener ends with the test.
func (s *site) forward(listener net.Listener, pass func(from, to net.Conn)) {
	s.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", filepath.Join(s.lab.Dir, "db.sock"))
			if err != nil {
				_ = client.Close()
				continue
			}
			go pass(client, server)
			go pass(server, client)
		}
	}()
}

// carry passes all of one direction on as it is.
func carry(from, to net.Conn) {
	_, _ = io.Copy(to, from) // until one of them ends it
	_, _ = from.Close(), to.Close()
}
