package ovstest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The parent death signal fires when the thread that forked ends, not the process (prctl(2)). So every child is
// started by one goroutine that keeps its thread for as long as the process lives.
var nursery = sync.OnceValue(func() chan<- func() {
	births := make(chan func())
	go func() {
		runtime.LockOSThread()
		for birth := range births {
			birth()
		}
	}()
	return births
})

// spawn starts cmd inside the namespace (nil: this process's own), bound to die with this process.
// It is in a process group of its own, so that Ctrl-C reaches only us and clean-up stays in order.
func spawn(cmd *exec.Cmd, inside *namespace) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true
	done := make(chan error, 1)
	nursery() <- func() { done <- startInside(cmd, inside) }
	return <-done
}

// startInside runs on the nursery's thread and leaves it in the namespace where it was.
func startInside(cmd *exec.Cmd, inside *namespace) error {
	if inside == nil {
		return cmd.Start()
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("opening own network namespace: %w", err)
	}
	defer home.Close()
	if err := inside.enter(); err != nil {
		return err
	}
	startErr := cmd.Start()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		// This thread must not end, or all children would; and it must not stay, or they would be born
		// in the wrong place.
		panic(fmt.Sprintf("ovstest: returning to own network namespace: %v", err))
	}
	return startErr
}

// process is a running child.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child was reaped
}

func launch(cmd *exec.Cmd, inside *namespace) (*process, error) {
	if err := spawn(cmd, inside); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how a child ended is in its log; that it ended is what done says
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// alive says whether the child has not been reaped yet. Nil is not alive.
func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the child by SIGKILL and returns when it is gone. Killing the dead, or nil, does nothing.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // the only error is that it has ended already
	<-p.done
}
