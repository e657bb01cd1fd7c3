package ovstest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// VMVariable is an environment variable that names the folder with the kernel of virtual machines, as .ci/vm makes it.
const VMVariable = "SPANCTL_VM"

// ErrNoVM indicates that what virtual machines need is missing on this machine.
var ErrNoVM = errors.New("no QEMU, or no kernel for it: run make test-vm, which gets both")

// vmlinuz is the kernel of virtual machines.
func vmlinuz() (string, error) {
	kernel := filepath.Join(os.Getenv(VMVariable), "vmlinuz")
	_, err := exec.LookPath("qemu-system-x86_64")
	if err == nil {
		_, err = os.Stat(kernel)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoVM, err)
	}
	return kernel, nil
}

// initrd is the whole system of a virtual machine: vminit, built from this source, the kernel's modules and programs. It is made
// once a process.
var initrd = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s-%d-vminit-", prefix, os.Getpid())) // as makeDirectory names them
	if err != nil {
		return nil, fmt.Errorf("making a directory for vminit: %w", err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "vminit")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "spanctl/ovs/ovstest/vminit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building vminit: %w: %s", err, out)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("reading vminit: %w", err)
	}
	var a archive
	for _, name := range []string{"dev", "proc", "sys", "modules"} {
		a.add(name, unix.S_IFDIR|0o755, 0, 0, nil)
	}
	// Before it has mounted anything Go's runtime looks at its standard files, and opens /dev/null for what is not open.
	a.add("dev/console", unix.S_IFCHR|0o600, 5, 1, nil)
	a.add("dev/null", unix.S_IFCHR|0o666, 1, 3, nil)
	modules, err := filepath.Glob(filepath.Join(os.Getenv(VMVariable), "modules", "*"))
	if err != nil {
		return nil, fmt.Errorf("finding modules: %w", err)
	}
	slices.Sort(modules)
	for _, file := range modules {
		module, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a module: %w", err)
		}
		a.add("modules/"+filepath.Base(file), unix.S_IFREG|0o644, 0, 0, module)
	}
	if err := a.addTree(filepath.Join(os.Getenv(VMVariable), "root")); err != nil {
		return nil, fmt.Errorf("adding programs: %w", err)
	}
	a.add("init", unix.S_IFREG|0o755, 0, 0, text)
	a.add("TRAILER!!!", 0, 0, 0, nil)
	return a.Bytes(), nil
})

// archive is a cpio archive in the format newc, as the kernel unpacks it (buffer-format.rst of its documentation).
type archive struct {
	bytes.Buffer
	files int
}

func (a *archive) add(name string, mode, major, minor uint32, data []byte) {
	a.files++
	a.WriteString("070701")
	for _, field := range []uint32{
		uint32(a.files), mode, 0, 0, 1, 0, uint32(len(data)), 0, 0, major, minor, uint32(len(name) + 1), 0,
	} {
		fmt.Fprintf(a, "%08X", field)
	}
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(data)
	a.pad()
}

// addTree adds all that is in a directory, which is the root there, but for symbolic links.
func (a *archive) addTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path) // it is in dir
		switch {
		case err != nil || name == ".":
			return err
		case entry.IsDir():
			a.add(name, unix.S_IFDIR|0o755, 0, 0, nil)
			return nil
		}
		data, err := os.ReadFile(path)
		a.add(name, unix.S_IFREG|0o755, 0, 0, data)
		return err
	})
}

// pad fills up to a multiple of 4 bytes.
func (a *archive) pad() { a.Write(make([]byte, -a.Len()&3)) }
