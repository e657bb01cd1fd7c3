package ovstest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace that exists as long as this process has it open. A small process inside, named
// for the lab, lets people find and enter it.
type namespace struct {
	name   string
	holder *process
	stdin  io.Closer // the holder also ends when this closes

	mu   sync.RWMutex
	file *os.File // nil when closed
}

// newNamespace makes a silent namespace (see hush) with its loopback up.
func newNamespace(name string) (*namespace, error) {
	// A shell that reads, not sleep(1): it takes a name on its command line also where it is busybox.
	cmd := exec.Command("/bin/sh", "-c", "read stop", name)
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	holder, err := launch(cmd, nil)
	if err != nil {
		_ = stdin.Close()
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("namespace %s: %w", name, ErrNotPermitted)
		}
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	n := &namespace{name: name, holder: holder, stdin: stdin}
	n.file, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", holder.pid()))
	if err == nil {
		err = n.do(hush)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	return n, nil
}

// use calls f with the namespace's descriptor, which stays open for as long.
func (n *namespace) use(f func(fd int) error) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.file == nil {
		return fmt.Errorf("namespace %s: %w", n.name, ErrClosed)
	}
	return f(int(n.file.Fd()))
}

// enter puts the current thread into the namespace.
func (n *namespace) enter() error {
	return n.use(func(fd int) error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering namespace %s: %w", n.name, err)
		}
		return nil
	})
}

// do runs f inside the namespace, on a thread that is in it for just as long. What f opens (sockets) stays inside;
// goroutines that f starts are not. A thread that cannot return ends: nothing runs in the wrong place.
func (n *namespace) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- fmt.Errorf("opening own network namespace: %w", err)
			return
		}
		defer home.Close()
		if err := n.enter(); err != nil {
			done <- err
			return
		}
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// close lets go of the namespace; it is gone when the last socket and process inside are. Nil and closed are no matter.
func (n *namespace) close() {
	if n == nil {
		return
	}
	n.mu.Lock()
	if n.file != nil {
		_ = n.file.Close()
		n.file = nil
	}
	n.mu.Unlock()
	_ = n.stdin.Close()
	n.holder.kill()
}
