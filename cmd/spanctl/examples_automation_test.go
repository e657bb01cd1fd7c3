package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// automation is the examples that write OVSDB and nothing else, each with what runs it and looks at what is copied then.
var automation = map[string]func(t *testing.T, dir string){
	"ansible":            runAnsible,
	"libvirt-hook":       runLibvirtHook,
	"proxmox-hookscript": runProxmoxHookscript,
	"xen-vif-script":     runXenVIFScript,
}

func TestExamplesOfAutomation(t *testing.T) {
	t.Parallel()
	for name, run := range automation {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := filepath.Abs(filepath.Join("../../examples", name))
			if err != nil {
				t.Fatal(err)
			}
			run(t, dir)
		})
	}
}

// A command is a program of the host: it finds the lab's database as OVS's own tools do.
type command struct {
	stdin   string
	environ []string
	// path is a directory before all others in PATH.
	path string
}

// run runs a program to its end.
func (s *site) run(c command, program string, args ...string) (code int, stdout, stderr string) {
	s.Helper()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(s.ctx, program, args...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+s.lab.Dir, "PATH="+c.path+":"+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, c.environ...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.stdin), &out, &said
	err := cmd.Run()
	if cmd.ProcessState == nil {
		s.check(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}

// hook runs a hypervisor's script, which must not fail nor write to stdout, and returns what it says.
func (s *site) hook(c command, script string, args ...string) string {
	s.Helper()
	code, stdout, stderr := s.run(c, script, args...)
	if code != 0 || stdout != "" {
		s.Errorf("%s %q exits %d, and says on stdout %q, on stderr\n%s", filepath.Base(script), args, code, stdout, stderr)
	}
	return stderr
}

// wantSilent wants a hook to have nothing to say.
func (s *site) wantSilent(said string) {
	s.Helper()
	if said != "" {
		s.Errorf("it says %q", said)
	}
}

// program writes a script into a directory of the test.
func (s *site) program(dir, name, text string) {
	s.Helper()
	s.check(os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o700))
}

// writeFile writes a file, and the folders that it is in.
func (s *site) writeFile(file, text string) {
	s.Helper()
	s.check(os.MkdirAll(filepath.Dir(file), 0o700))
	s.check(os.WriteFile(file, []byte(text), 0o600))
}

// id is a key of a port's external_ids as ovs-vsctl writes it, empty if it is not there.
func (s *site) id(port, key string) string {
	s.Helper()
	return s.vsctl("--if-exists", "get", "Interface", port, "external_ids:"+key)
}

// wantID wants an external id of a port.
func (s *site) wantID(port, key, want string) {
	s.Helper()
	if got := s.id(port, key); got != want {
		s.Errorf("%s has external_ids:%s=%s, want %s", port, key, got, want)
	}
}

// applyPending has apply put in force what somebody else wrote.
func (s *site) applyPending() {
	s.Helper()
	s.want(exitPending, "plan", "--detailed-exitcode")
	s.want(exitOK, "apply")
	s.wantNoChanges()
}

// wantCopies has two guests talk, of whose packets each must come to the audit guest so often. The fence is of guests
// that are copied.
func (s *site) wantCopies(want int, a, b string, fence ...string) {
	s.Helper()
	s.wantCopiesAt("audit", want, a, b, fence...)
}

// wantCopiesAt is wantCopies for another receiver.
func (s *site) wantCopiesAt(receiver string, want int, a, b string, fence ...string) {
	s.Helper()
	for _, pair := range [][2]string{{a, b}, {fence[0], fence[1]}} {
		s.greet(s.guests[pair[0]], s.guests[pair[1]])
	}
	s.settle()
	at := s.capture(s.guests[receiver])
	sent := s.exchange(s.guests[a], s.guests[b], 5)
	s.check(at.Fence(s.ctx, s.guests[fence[0]], s.guests[fence[1]]))
	for _, one := range sent {
		if n := ovstest.CountPayload(at.Frames(), one.Payload); n != want {
			s.Errorf("of a packet between %s and %s %s has %d copies, want %d", a, b, receiver, n, want)
		}
	}
}
