package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"spanctl/ovs/ovstest"
)

var rewriteScripts = flag.Bool("update", false, "write what scripts compare anew")

// TestMain lets scripts run this binary as spanctl, and benchmarks as a peer of it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"spanctl": main, "bare-client": bareMain})
}

// TestScript plays testdata/script/*.txtar: the command line as people use it.
// Each script has a database of its own, without ovs-vswitchd, in $DB and as
// the default of spanctl, with bridge br0, guests web (vif1.0) and db (vif2.0), the
// audit guest (vif9.0) and nothing else. Beside testscript's own commands there are
//
//	spanctl ARG...           must exit with 0
//	exits CODE PROGRAM ARG...  must exit with that code
//	vsctl ARG...             another hand: ovs-vsctl --no-wait on $DB
//	database NAME            starts another database like it, in $NAME
//	terminal ARG...          spanctl with its output on a terminal
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *rewriteScripts,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a binary with the race detector sleeps a second when it ends
			db, err := startDatabase(env.Defer, t.Name())
			env.Setenv("DB", db)
			env.Setenv("SPANCTL_DB", db)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"vsctl":    vsctlCommand,
			"database": databaseCommand,
			"terminal": terminalCommand,
		},
	})
}

// startDatabase starts a script's database; it ends by what the script defers.
func startDatabase(deferred func(func()), name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The lab ends with its context, and must outlive this function.
	lab, err := ovstest.Start(context.WithoutCancel(ctx), ovstest.Config{Name: name, DatabaseOnly: true})
	if err != nil {
		return "", err
	}
	deferred(func() { _ = lab.Close() })
	_, err = lab.VSCtl(ctx, "--", "set", "Open_vSwitch", ".", "ovs_version=3.5.0",
		"--", "add-port", "br0", "vif1.0", "--", "set", "Interface", "vif1.0", "external_ids:vm-id=web",
		"--", "add-port", "br0", "vif2.0", "--", "set", "Interface", "vif2.0", "external_ids:vm-id=db",
		"--", "add-port", "br0", "vif9.0", "--", "set", "Interface", "vif9.0", "external_ids:vm-id=audit")
	return lab.DB, err
}

// exits runs a program that must end with the code that it is given first.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func vsctlCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! vsctl")
	}
	ts.Check(ts.Exec("ovs-vsctl", append([]string{"--no-wait", "--db=" + ts.Getenv("DB")}, args...)...))
}

func databaseCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: database NAME")
	}
	db, err := startDatabase(ts.Defer, ts.Name())
	ts.Check(err)
	ts.Setenv(args[0], db)
}

// terminalCommand runs spanctl with its standard output on a pseudo-terminal,
// whose text becomes the script's stdout.
func terminalCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! terminal")
	}
	master, slave, err := openTerminal()
	ts.Check(err)
	defer master.Close()
	path, err := exec.LookPath("spanctl")
	ts.Check(err)
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "SPANCTL_DB="+ts.Getenv("DB"), "NO_COLOR="+ts.Getenv("NO_COLOR"), "GORACE="+ts.Getenv("GORACE"))
	cmd.Dir = ts.MkAbs(".")
	cmd.Stdout, cmd.Stderr = slave, ts.Stderr()
	done := make(chan error, 1)
	go func() {
		done <- cmd.Run()
		_ = slave.Close()
	}()
	text, err := io.ReadAll(master) // ends with EIO: nobody has the terminal open
	if !errors.Is(err, syscall.EIO) {
		ts.Check(err)
	}
	_, err = ts.Stdout().Write(text)
	ts.Check(errors.Join(<-done, err))
}

// openTerminal opens a pseudo-terminal, pts(4).
func openTerminal() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	var number uint32
	raw, err := master.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) {
			var n int
			n, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
			number = uint32(n)
			failed = errors.Join(failed, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		})
		err = errors.Join(err, failed)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}
