package ovstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// ErrNoLibvirt indicates that libvirtd is missing on this machine.
var ErrNoLibvirt = errors.New("libvirtd is not installed: install libvirt-daemon (make deps)")

// Libvirt is a real libvirtd with domains that are only names and UUIDs: those of its test driver. It has a /run of its
// own, with its sockets where they always are.
type Libvirt struct {
	dir     string // in the lab's
	lab     *Lab
	process *process
	closing sync.Once
}

// StartLibvirt starts libvirtd with domains, names by UUID, and returns when it listens. It loads no hypervisor, and
// touches nothing of the host. It runs until Close or the end of the lab, and dies with this process.
func (l *Lab) StartLibvirt(ctx context.Context, domains map[string]string) (*Libvirt, error) {
	v := &Libvirt{lab: l}
	if err := v.start(ctx, domains); err != nil {
		return nil, fmt.Errorf("libvirt of lab %s: %w", l.name, err)
	}
	return v, nil
}

func (v *Libvirt) start(ctx context.Context, domains map[string]string) error {
	if _, err := exec.LookPath("libvirtd"); err != nil {
		return ErrNoLibvirt
	}
	var err error
	if v.dir, err = os.MkdirTemp(v.lab.Dir, "libvirt-"); err != nil {
		return fmt.Errorf("making its directory: %w", err)
	}
	if err := errors.Join(
		os.Mkdir(v.path("drivers"), 0o700), // and none in it
		os.WriteFile(v.path("libvirtd.conf"), []byte("auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n"), 0o600),
		v.SetDomains(domains),
	); err != nil {
		return fmt.Errorf("configuring it: %w", err)
	}
	if err := v.launch(); err != nil {
		return err
	}
	if err := v.lab.keep(v); err != nil {
		return err
	}
	err = until(ctx, "libvirtd to listen", func() (bool, error) {
		_, err := os.Stat(v.path("libvirtd.pid")) // it has its own /run
		if err == nil {
			_, err = os.Stat(v.Socket())
		}
		return err == nil, v.lab.running(filepath.Join(filepath.Base(v.dir), "libvirtd"), v.process)
	})
	if err != nil {
		return errors.Join(err, v.Close())
	}
	return nil
}

func (v *Libvirt) launch() error {
	log, err := os.Create(v.path("libvirtd.log"))
	if err != nil {
		return fmt.Errorf("making its log: %w", err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", `mount -t tmpfs spanctl /run; exec libvirtd --config libvirtd.conf --pid-file libvirtd.pid`)
	cmd.Dir = v.dir
	// What its clients mean who name no driver, libvirtd takes from its environment.
	cmd.Env = append(os.Environ(), "LIBVIRT_DRIVER_DIR="+v.path("drivers"), "LIBVIRT_DEFAULT_URI=test://"+v.path("node.xml"))
	cmd.Stdout, cmd.Stderr = log, log
	v.lab.logf("+ %s\n", strings.Join(cmd.Args, " "))
	if v.process, err = launch(cmd, nil); err != nil {
		return fmt.Errorf("starting it: %w", err)
	}
	return nil
}

func (v *Libvirt) path(file string) string { return filepath.Join(v.dir, file) }

// SetDomains puts others in the place of the domains, names by UUID; who connects from then on sees them.
func (v *Libvirt) SetDomains(names map[string]string) error {
	var b strings.Builder
	b.WriteString("<node>\n")
	for _, uuid := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&b, "<domain type='test'><name>%s</name><uuid>%s</uuid><memory>8192</memory><os><type>hvm</type></os></domain>\n", names[uuid], uuid)
	}
	b.WriteString("</node>\n")
	return os.WriteFile(v.path("node.xml"), []byte(b.String()), 0o600)
}

// Socket is the one for those who may only read, as seen from here.
func (v *Libvirt) Socket() string {
	return fmt.Sprintf("/proc/%d/root/run/libvirt/libvirt-sock-ro", v.process.pid())
}

// URI names the domains at that socket, as virsh --connect takes it.
func (v *Libvirt) URI() string { return "test+unix://" + v.path("node.xml") + "?socket=" + v.Socket() }

// Inside is what to put before a command that shall find the sockets where libvirt has them.
func (v *Libvirt) Inside() []string {
	return []string{"nsenter", "--mount", "--target", fmt.Sprint(v.process.pid())}
}

// Freeze makes libvirtd answer no more: who connects waits.
func (v *Libvirt) Freeze() error { return v.process.cmd.Process.Signal(syscall.SIGSTOP) }

// Thaw ends that.
func (v *Libvirt) Thaw() error { return v.process.cmd.Process.Signal(syscall.SIGCONT) }

// Close ends libvirtd by SIGKILL and returns when it is gone. Closing again does nothing.
func (v *Libvirt) Close() error {
	v.closing.Do(func() {
		v.process.kill()
		v.lab.forget(v)
	})
	return nil
}
