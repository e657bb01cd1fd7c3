package ovstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// ErrNoHypervisor indicates that libvirtd or its driver of QEMU is missing on this machine.
var ErrNoHypervisor = errors.New("no libvirtd with its QEMU driver: run make test-vm, which gets both")

// Hypervisor is a real libvirtd with its QEMU driver, whose domains are virtual machines. It is in the namespace that
// plays the host, so that the tap devices that it makes are there and its ovs-vsctl finds the lab's database where it
// looks always. It has mount and process namespaces of its own: its files are nobody's, and all that it has
// started ends with the namespace's first process. It needs what .ci/vm makes (VMVariable).
type Hypervisor struct {
	dir    string // in the lab's
	lab    *Lab
	holder *process  // the first process
	stdin  io.Closer // the holder also ends when this closes

	mu       sync.Mutex
	daemon   *process // nil before the first Start
	domains  []*Domain
	closing  sync.Once
	closeErr error
}

// hold is what the first process does. libvirt's package of the daemon alone makes neither its directories nor its users,
// and neither is to be made outside. In the end it reads until its input closes (the name is for people). The kernel reaps the
// orphans of who ignores SIGCHLD: libvirt waits until a machine that it ends is no more.
const hold = `mount -t proc spanctl /proc
mount -t tmpfs spanctl /run
mkdir /run/openvswitch /run/etc
mount --bind "$1" /run/openvswitch
mount --bind /etc /run/etc
mount -t tmpfs spanctl /etc
ln -s /run/etc/* /etc
rm -f /etc/libvirt /etc/passwd /etc/group
mkdir -p /etc/libvirt/hooks
cp qemu.conf /etc/libvirt
cp hook /etc/libvirt/hooks/qemu
chmod +x /etc/libvirt/hooks/qemu
{ cat /run/etc/passwd; echo libvirt-qemu:x:0:0::/:/bin/false; } >/etc/passwd
{ cat /run/etc/group; echo kvm:x:0:; echo libvirt-qemu:x:0:; } >/etc/group
for dir in lib log cache; do mount -t tmpfs spanctl /var/$dir; done
echo >held
exec env --ignore-signal=CHLD cat - "$PWD"
`

// Machines are root's, as the tests are, and without what a host may not have: cgroups, virtlogd, AppArmor.
const qemuConf = `user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
`

// A hook of libvirt's is called when a machine is about to start, its ports are there, and its domain is locked (libvirt's
// page on hooks). This one waits at the domain's gate, if there is one.
const hook = `#!/bin/sh
gate=%s/gate-$1
[ "$2" != start ] || [ ! -p "$gate" ] || read -r go <"$gate" || true
`

// StartHypervisor starts libvirtd without any domain, and returns when it answers. It runs until Close or the end of the
// lab, and it and its domains die with this process.
func (l *Lab) StartHypervisor(ctx context.Context) (*Hypervisor, error) {
	if err := l.realHost(); err != nil {
		return nil, err
	}
	h := &Hypervisor{lab: l}
	if err := h.start(ctx); err != nil {
		return nil, fmt.Errorf("hypervisor of lab %s: %w", l.name, err)
	}
	return h, nil
}

func (h *Hypervisor) start(ctx context.Context) error {
	driver, err := qemuDriver()
	if err != nil {
		return err
	}
	if h.dir, err = os.MkdirTemp(h.lab.Dir, "hypervisor-"); err != nil {
		return fmt.Errorf("making its directory: %w", err)
	}
	if err := errors.Join(
		os.Mkdir(h.path("drivers"), 0o700),
		os.Symlink(driver, filepath.Join(h.path("drivers"), filepath.Base(driver))), // and no other
		os.WriteFile(h.path("libvirtd.conf"), []byte("auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n"), 0o600),
		os.WriteFile(h.path("hook"), fmt.Appendf(nil, hook, h.dir), 0o600),
		os.WriteFile(h.path("hold"), []byte(hold), 0o600),
		os.WriteFile(h.path("qemu.conf"), []byte(qemuConf), 0o600),
	); err != nil {
		return fmt.Errorf("configuring it: %w", err)
	}
	if err := h.hold(ctx); err != nil {
		return err
	}
	if err := h.lab.keep(h); err != nil {
		return err
	}
	if err := h.Start(ctx); err != nil {
		return errors.Join(err, h.Close())
	}
	return nil
}

// qemuDriver is the file of libvirt's driver of QEMU.
func qemuDriver() (string, error) {
	if _, err := exec.LookPath("libvirtd"); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoHypervisor, err)
	}
	for _, dir := range []string{"/usr/lib/*/libvirt", "/usr/lib64/libvirt", "/usr/lib/libvirt"} {
		found, err := filepath.Glob(dir + "/connection-driver/libvirt_driver_qemu.so")
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return "", ErrNoHypervisor
}

func (h *Hypervisor) path(file string) string { return filepath.Join(h.dir, file) }

// hold makes the namespaces, and returns when they are furnished.
func (h *Hypervisor) hold(ctx context.Context) error {
	cmd := exec.Command("/bin/sh", "-e", h.path("hold"), h.lab.Dir)
	cmd.Dir = h.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS} // the latter private
	var err error
	if h.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if h.holder, err = h.launch(cmd, "holder.log"); err != nil {
		return errors.Join(err, h.stdin.Close())
	}
	err = until(ctx, "the hypervisor's namespaces", func() (bool, error) {
		_, err := os.Stat(h.path("held"))
		return err == nil, h.lab.running(filepath.Join(filepath.Base(h.dir), "holder"), h.holder)
	})
	if err != nil {
		h.end()
	}
	return err
}

func (h *Hypervisor) launch(cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(h.path(log), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = out, out
	p, err := launch(cmd, h.lab.host)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Args[0], err)
	}
	return p, nil
}

// Start starts libvirtd, which finds the domains that run, and returns when it answers.
func (h *Hypervisor) Start(ctx context.Context) error {
	// nsenter waits for the process that it puts into the namespace, which shall not outlive it.
	cmd := exec.Command("nsenter", "--target", fmt.Sprint(h.holder.pid()), "--mount", "--pid",
		"setpriv", "--pdeathsig", "KILL", "libvirtd", "--config", h.path("libvirtd.conf"), "--pid-file", h.path("libvirtd.pid"))
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "LIBVIRT_DRIVER_DIR="+h.path("drivers"), "LC_ALL=C")
	p, err := h.launch(cmd, "libvirtd.log")
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.daemon = p
	h.mu.Unlock()
	return until(ctx, "libvirtd to answer", func() (bool, error) {
		err := h.do(ctx, "open", func(*libvirt.Libvirt) error { return nil })
		return err == nil, h.lab.running(filepath.Join(filepath.Base(h.dir), "libvirtd"), p)
	})
}

// Kill ends libvirtd by SIGKILL and returns when nobody listens any more. Its domains run on.
func (h *Hypervisor) Kill(ctx context.Context) error {
	h.mu.Lock()
	p := h.daemon
	h.mu.Unlock()
	p.kill()
	return until(ctx, "the end of libvirtd", func() (bool, error) {
		conn, err := net.Dial("unix", h.socket("libvirt-sock"))
		if err != nil {
			return true, nil
		}
		return false, conn.Close()
	})
}

// socket is one of libvirt's, as seen from here.
func (h *Hypervisor) socket(name string) string {
	return fmt.Sprintf("/proc/%d/root/run/libvirt/%s", h.holder.pid(), name)
}

// URI names the domains, as virsh --connect takes it.
func (h *Hypervisor) URI() string { return "qemu+unix:///system?socket=" + h.socket("libvirt-sock-ro") }

// do does something by libvirt's remote protocol. What names it in errors and in the log.
func (h *Hypervisor) do(ctx context.Context, what string, f func(*libvirt.Libvirt) error) error {
	ctx, cancel := deadline(ctx)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", h.socket("libvirt-sock"))
	if err != nil {
		return fmt.Errorf("libvirt: %s: %w", what, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	l := libvirt.NewWithDialer(dialers.NewAlreadyConnected(conn))
	if err = l.ConnectToURI(libvirt.QEMUSystem); err == nil {
		h.lab.logf("+ libvirt: %s\n", what)
		err = f(l)
		_ = l.ConnectClose() // or it complains in its log
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // the library says what came of it
	}
	if err != nil {
		return fmt.Errorf("libvirt: %s: %w", what, err)
	}
	return nil
}

// Versions are libvirt's and QEMU's, as in 9.0.0.
func (h *Hypervisor) Versions(ctx context.Context) (ofLibvirt, ofQEMU string, err error) {
	var lib, qemu uint64
	err = h.do(ctx, "version", func(l *libvirt.Libvirt) (err error) {
		if lib, err = l.ConnectGetLibVersion(); err == nil {
			qemu, err = l.ConnectGetVersion()
		}
		return err
	})
	text := func(n uint64) string { return fmt.Sprintf("%d.%d.%d", n/1e6, n/1e3%1e3, n%1e3) }
	return text(lib), text(qemu), err
}

// Close ends libvirtd and its domains by SIGKILL and returns when all are gone. Closing again does nothing.
func (h *Hypervisor) Close() error {
	h.closing.Do(func() {
		h.mu.Lock()
		p, domains := h.daemon, h.domains
		h.mu.Unlock()
		p.kill()
		h.end()
		for _, d := range domains {
			if line := d.current(); line != nil {
				h.closeErr = errors.Join(h.closeErr, line.close())
			}
		}
		h.lab.forget(h)
	})
	return h.closeErr
}

// end ends the first process, and the kernel all others of its namespace before that (pid_namespaces(7)).
func (h *Hypervisor) end() {
	_ = h.stdin.Close()
	h.holder.kill()
}
