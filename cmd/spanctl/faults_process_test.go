package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// TestFaultNoRights runs commands as a user who may not use the socket.
func TestFaultNoRights(t *testing.T) {
	t.Parallel()
	d := newDesk(t, ovstest.Config{})
	d.must(os.Chmod(d.lab.Dir, 0o755))
	d.must(os.Chmod(filepath.Join(d.lab.Dir, "db.sock"), 0o600))
	d.must(os.Chmod(filepath.Dir(d.policy), 0o755))
	d.must(os.Chmod(filepath.Dir(filepath.Dir(d.policy)), 0o755))
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, args := range append(d.online(), []string{"history"}) {
		code, stderr := d.process(nobody, append(args, "--db", d.db))
		d.wants(code, exitUnreachable, args, stderr, "no permission to use OVSDB", "run as root, or as a user who may write that socket")
	}
	d.must(os.Chmod(filepath.Join(d.lab.Dir, "db.sock"), 0o666))
	d.must(os.Chmod(filepath.Join(d.lab.Dir, "conf.db"), 0o600))
	for _, args := range [][]string{{"history", "--db", d.db}, {"history", "--file", filepath.Join(d.lab.Dir, "conf.db")}} {
		code, stderr := d.process(nobody, args)
		d.wants(code, exitUnreachable, args, stderr, "no permission to use OVSDB", "run as root, or as the user of ovsdb-server")
	}
	d.must(os.Chmod(d.lab.Dir, 0o700))
	code, stderr := d.process(nobody, []string{"get", "--db", d.db})
	d.wants(code, exitUnreachable, nil, stderr, "run as root")
	d.must(os.Chmod(d.policy, 0o600))
	code, stderr = d.process(nobody, []string{"plan", "-f", d.policy})
	d.wants(code, exitInvalid, nil, stderr, "permission denied")
}

// TestFaultInterrupted interrupts a command that waits for an answer.
func TestFaultInterrupted(t *testing.T) {
	t.Parallel()
	d := newDesk(t, ovstest.Config{})
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		listener, err := net.Listen("unix", filepath.Join(d.lab.Dir, "silent.sock"))
		d.must(err)
		cmd, stderr := d.command([]string{"status", "--timeout", "1m", "--db", "unix:" + listener.Addr().String()})
		d.must(cmd.Start())
		conn, err := listener.Accept()
		d.must(err)
		_, err = conn.Read(make([]byte, 1)) // it waits for us now
		d.must(err)
		d.must(cmd.Process.Signal(signal))
		_ = cmd.Wait() // the code tells
		d.wants(cmd.ProcessState.ExitCode(), exitInterrupted, nil, stderr.String(), "interrupted")
		d.must(conn.Close())
		d.must(listener.Close())
	}
}

// TestFaultDiskIsFull runs the server on a file system with no room left.
func TestFaultDiskIsFull(t *testing.T) {
	t.Parallel()
	d := newDesk(t, ovstest.Config{})
	d.lab.KillDB()
	dir := d.lab.Dir
	d.must(os.Remove(filepath.Join(dir, "db.sock")))
	d.must(os.Mkdir(filepath.Join(dir, "small"), 0o700))
	// The file system is the server's own, and goes with it.
	server := exec.Command("unshare", "--mount", "sh", "-ec", `mount -t tmpfs -o size=128k tmpfs small
		cp conf.db small
		exec ovsdb-server small/conf.db --remote=punix:$PWD/db.sock --unixctl=none -vconsole:off`)
	server.Dir = dir
	d.must(d.lab.Launch(server))
	defer func() {
		d.must(server.Process.Kill())
		_ = server.Wait() // it was killed
	}()
	d.awaitServer()
	d.exits(exitOK, []string{"apply", "--no-wait", "-f", d.policy})
	before := d.vsctl("get", "Open_vSwitch", ".", "external_ids", "next_cfg")
	huge := strings.Replace(deskPolicy, "{sources", "{description: "+strings.Repeat("x", 200_000)+", sources", 1)
	d.must(os.WriteFile(d.policy, []byte(huge), 0o644))
	d.exits(exitError, []string{"apply", "--no-wait", "-f", d.policy}, "OVSDB refused the transaction", "I/O error")
	if after := d.vsctl("get", "Open_vSwitch", ".", "external_ids", "next_cfg"); after != before {
		t.Errorf("the database is changed: %s", after)
	}
	d.exits(exitOK, []string{"delete", "--no-wait", "audit"})
}

// process runs the program as a process of that user.
func (d *desk) process(user *syscall.Credential, args []string) (code int, stderr string) {
	d.Helper()
	cmd, text := d.command(args)
	cmd.SysProcAttr.Credential = user
	err := cmd.Run()
	if cmd.ProcessState == nil {
		d.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), text.String()
}

// command is this test binary as the program (see TestMain). It is named by a
// link that everybody can follow, and ends with the test.
func (d *desk) command(args []string) (*exec.Cmd, *bytes.Buffer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	d.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = "spanctl"
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}
