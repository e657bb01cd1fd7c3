package ovstest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
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

// An image is the whole system of a virtual machine, as the kernel unpacks it: vminit, built from this source, modules of
// the kernel, and what else is put there.
type image struct {
	archive
	dirs map[string]bool
}

// guestImage is that of a guest. It is made once a process.
var guestImage = sync.OnceValues(func() ([]byte, error) {
	i, err := newImage("guest")
	if err != nil {
		return nil, err
	}
	if err := i.program("tcpdump"); err != nil {
		return nil, err
	}
	i.dir("etc")
	i.add("etc/passwd", unix.S_IFREG|0o644, 0, 0, []byte("root:x:0:0::/:\n")) // whom it runs as
	return i.whole(), nil
})

// newImage is one with a role's modules: guest or host.
func newImage(role string) (*image, error) {
	i := &image{dirs: map[string]bool{".": true}}
	for _, name := range []string{"dev", "proc", "sys", "run", "tmp", "root", "modules"} {
		i.dir(name)
	}
	// Before it has mounted anything Go's runtime looks at its standard files, and opens /dev/null for what is not open.
	i.add("dev/console", unix.S_IFCHR|0o600, 5, 1, nil)
	i.add("dev/null", unix.S_IFCHR|0o666, 1, 3, nil)
	modules, err := filepath.Glob(filepath.Join(os.Getenv(VMVariable), role, "*"))
	if err != nil {
		return nil, fmt.Errorf("finding modules: %w", err)
	}
	for _, file := range modules {
		if err := i.file("modules/"+filepath.Base(file), file); err != nil {
			return nil, err
		}
	}
	program, err := vminit()
	if err != nil {
		return nil, err
	}
	i.add("init", unix.S_IFREG|0o755, 0, 0, program)
	return i, nil
}

// vminit is the program, built from this source. It is built once a process.
var vminit = sync.OnceValues(func() ([]byte, error) {
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
	return os.ReadFile(program)
})

// dir adds a directory and those above it, unless they are there.
func (i *image) dir(name string) {
	if i.dirs[name] {
		return
	}
	i.dir(path.Dir(name))
	i.dirs[name] = true
	i.add(name, unix.S_IFDIR|0o755, 0, 0, nil)
}

// file adds a copy of a file, all of whose permissions it has.
func (i *image) file(name, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("putting %s into the image: %w", name, err)
	}
	i.dir(path.Dir(name))
	i.add(name, unix.S_IFREG|0o755, 0, 0, data)
	return nil
}

// program adds a program of this machine, or of the other system that labs run, with the shared libraries that ldd(1) says
// it has.
func (i *image) program(name string) error {
	// Each file, and where it really is: Debian's ovs-vswitchd is a link to an absolute path, which must not lead out of the
	// other system.
	cmd := exec.Command("sh", "-c", `file=$(command -v "$0") && libraries=$(ldd "$file") || exit
		for part in "$file" $libraries; do case $part in /*) echo "$part $(readlink -f "$part")" ;; esac; done`, name)
	rooted(cmd)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %w", name, ErrNotInstalled, err)
	}
	root := os.Getenv(RootVariable)
	for line := range strings.Lines(string(out)) {
		name, is, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name = strings.TrimPrefix(name, "/"); i.files[name] {
			continue
		}
		if err := i.file(name, root+is); err != nil {
			return err
		}
	}
	return nil
}

func (i *image) whole() []byte {
	i.add("TRAILER!!!", 0, 0, 0, nil)
	return i.Bytes()
}

// archive is a cpio archive in the format newc, as the kernel unpacks it (buffer-format.rst of its documentation).
type archive struct {
	bytes.Buffer
	files map[string]bool // by name
}

func (a *archive) add(name string, mode, major, minor uint32, data []byte) {
	if a.files == nil {
		a.files = map[string]bool{}
	}
	a.files[name] = true
	a.WriteString("070701")
	for _, field := range []uint32{
		uint32(len(a.files)), mode, 0, 0, 1, 0, uint32(len(data)), 0, 0, major, minor, uint32(len(name) + 1), 0,
	} {
		fmt.Fprintf(a, "%08X", field)
	}
	a.WriteString(name + "\x00")
	a.pad()
	a.Write(data)
	a.pad()
}

// pad fills up to a multiple of 4 bytes.
func (a *archive) pad() { a.Write(make([]byte, -a.Len()&3)) }
