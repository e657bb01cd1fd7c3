package ovstest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// RootVariable is an environment variable that names a directory with another system (as debootstrap makes it), whose
// Open vSwitch every lab runs then, by chroot(2): another release of it, on this kernel. Unset, labs run this system's.
const RootVariable = "SPANCTL_LAB_ROOT"

// rooted makes the program of a command the other system's, if there is one.
func rooted(cmd *exec.Cmd) {
	root := os.Getenv(RootVariable)
	if root == "" {
		return
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Chroot, cmd.Dir = root, "/"
}

// rootedTemp is where labs have their directories: within the other system, if there is one, and by the same path inside
// and outside of it, so that a socket's name holds for the daemon and for the test.
func rootedTemp() (string, error) {
	root := os.Getenv(RootVariable)
	if root == "" {
		return os.TempDir(), nil
	}
	if !filepath.IsAbs(root) {
		return "", fmt.Errorf("%s=%s: write an absolute path", RootVariable, root)
	}
	self := filepath.Join(root, root)
	err := os.MkdirAll(filepath.Dir(self), 0o755)
	if err == nil {
		err = os.Symlink("/", self)
	}
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = os.MkdirAll(filepath.Join(root, "dev/net"), 0o755)
	}
	if err == nil { // ovs-vswitchd's internal ports are tap devices: character device 10, 200 (kernel's devices.txt)
		err = unix.Mknod(filepath.Join(root, "dev/net/tun"), unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200)))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%s=%s: %w", RootVariable, root, err)
	}
	return filepath.Join(root, "tmp"), nil
}
