package ovstest

import (
	"context"
	"errors"
	"os/exec"

	"golang.org/x/sys/unix"
)

// run runs a program and returns its exit code. What it says is handed on as frames are.
func (v *insideVM) run(r vmRequest) (int, error) {
	if err := raiseLink("lo"); err != nil {
		return 0, err
	}
	if err := oldEnough(); err != nil {
		return 0, err
	}
	cmd := exec.Command(r.Args[0], r.Args[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp"}, r.Env...)
	cmd.Dir = "/root"
	said := saying{v, r.ID}
	cmd.Stdout, cmd.Stderr = said, said // one pipe: in the order in which it was said
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// oldEnough returns when the kernel has run for 10 s: ovs-vswitchd of OVS 3.1 that starts sooner makes no handlers for
// the kernel's datapath, and every packet that the kernel asks about is lost.
func oldEnough() error {
	return until(context.Background(), "10 s of uptime", func() (bool, error) {
		var now unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
		return now.Sec > 10, err
	})
}

// saying writes to the line as if it were a captured frame.
type saying struct {
	v  *insideVM
	id int
}

func (s saying) Write(p []byte) (int, error) {
	s.v.write(vmMessage{ID: s.id, Frame: p})
	return len(p), nil
}
