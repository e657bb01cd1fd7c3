package ovstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// A machine is QEMU without KVM, and the line to vminit inside of it.
type machine struct {
	name string // for people
	base string // where its files are: BASE.console and BASE.qemu, what either has said

	mu      sync.Mutex
	process *process // nil before the first launch
	line    *vmLine
}

// launch starts QEMU in the namespace (nil: this process's own). The file, if there is one, is its descriptor 3.
func (m *machine) launch(inside *namespace, logf func(string, ...any), file *os.File, args ...string) error {
	in, toVM, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	fromVM, out, err := os.Pipe()
	if err != nil {
		return errors.Join(err, toVM.Close())
	}
	defer out.Close()
	said, err := os.Create(m.base + ".qemu")
	if err != nil {
		return errors.Join(err, toVM.Close(), fromVM.Close())
	}
	defer said.Close()
	cmd := exec.Command("qemu-system-x86_64", append([]string{
		"-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-serial", "file:" + m.base + ".console",
		"-chardev", "stdio,id=line,signal=off", "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=line,name=line",
	}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, said
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	logf("+ %s\n", strings.Join(cmd.Args, " "))
	p, err := launch(cmd, inside)
	if err != nil {
		return errors.Join(fmt.Errorf("starting QEMU: %w", err), toVM.Close(), fromVM.Close())
	}
	m.mu.Lock()
	m.process, m.line = p, newVMLine(m.name, toVM, fromVM)
	m.mu.Unlock()
	return nil
}

func (m *machine) current() (*process, *vmLine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process, m.line
}

// explain adds to an error what the machine's console and QEMU have said last.
func (m *machine) explain(err error) error {
	console, _ := os.ReadFile(m.base + ".console") // without them the error is merely shorter
	said, _ := os.ReadFile(m.base + ".qemu")
	console = console[max(0, len(console)-2000):]
	return fmt.Errorf("vm %s: %w; its console ends:\n%s%s", m.name, err, console, said)
}

func (m *machine) kill() {
	p, _ := m.current()
	p.kill()
}

// close kills the machine and ends its line.
func (m *machine) close() error {
	m.kill()
	_, line := m.current()
	if line == nil {
		return nil
	}
	return line.close()
}
