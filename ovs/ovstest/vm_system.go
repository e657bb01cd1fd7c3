package ovstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// SystemVariable is an environment variable that names the folder with a whole Debian, as .ci/system makes it.
const SystemVariable = "SPANCTL_SYSTEM"

// ErrNoSystem indicates that what whole systems need is missing on this machine.
var ErrNoSystem = errors.New("no QEMU, no mke2fs, or no Debian to boot: run make test-reboot, which gets them")

// SystemNIC is what a system's network device is called.
const SystemNIC = "enp0s16"

// systemTime is how long a system may take to boot, to reboot, or for a program, if ctx has no deadline: a slow machine emulates it.
const systemTime = 10 * time.Minute

// SystemConfig says what system to add. Only the name is needed.
type SystemConfig struct {
	Name   string             // unique in the lab
	Bridge string             // that its network device is a port of (default: the lab's first)
	Files  func(string) error // puts files below the system's root directory before its first boot
}

// System is a whole Debian in a virtual machine of QEMU, without KVM: systemd, Open vSwitch with the kernel's datapath, a
// disk of its own that outlives Reboot. Its network device (SystemNIC) is virtio, and its outer end a tap device and port
// of a bridge. It needs what .ci/system makes (SystemVariable).
type System struct {
	lab *Lab
	nic GuestConfig
	machine
}

// AddSystem makes a system and boots it. It returns when the system's services are started, so far as they wait for one
// another. It is gone with the lab.
func (l *Lab) AddSystem(ctx context.Context, cfg SystemConfig) (*System, error) {
	if err := l.realHost(); err != nil {
		return nil, err
	}
	nic, err := l.complete(GuestConfig{Name: cfg.Name, Bridge: cfg.Bridge, Port: "tap-" + cfg.Name})
	if err != nil {
		return nil, err
	}
	s := &System{lab: l, nic: nic, machine: machine{name: cfg.Name, base: l.path("system-" + cfg.Name)}}
	if err = s.makeDisk(ctx, cfg.Files); err == nil {
		err = s.boot(ctx)
	}
	if err == nil {
		err = l.keep(s)
	}
	if err != nil {
		return nil, errors.Join(s.explain(err), s.Close())
	}
	return s, nil
}

// agent starts vminit in a system. It waits for nothing, and nothing waits for it.
const agent = `[Unit]
Description=Test's hand
[Service]
ExecStart=/usr/local/sbin/vminit
[Install]
WantedBy=multi-user.target
`

// patience is what systemd must have on a slow machine: 90 s are not always enough there.
const patience = `[Manager]
DefaultTimeoutStartSec=10min
DefaultTimeoutStopSec=10min
DefaultDeviceTimeoutSec=10min
`

// makeDisk makes the system's disk from the folder, the agent and the test's own files.
func (s *System) makeDisk(ctx context.Context, files func(string) error) error {
	from := os.Getenv(SystemVariable)
	for _, program := range []string{"qemu-system-x86_64", "mke2fs"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: %w", ErrNoSystem, err)
		}
	}
	if _, err := os.Stat(filepath.Join(from, "initrd")); err != nil {
		return fmt.Errorf("%w: %w", ErrNoSystem, err)
	}
	root := s.base + ".root"
	defer os.RemoveAll(root)
	if _, err := s.lab.run(ctx, "cp", "-a", filepath.Join(from, "root"), root); err != nil {
		return err
	}
	program, err := vminit()
	if err != nil {
		return err
	}
	const unit = "etc/systemd/system/spanctl-test.service"
	err = errors.Join(
		os.WriteFile(filepath.Join(root, "usr/local/sbin/vminit"), program, 0o755),
		os.WriteFile(filepath.Join(root, unit), []byte(agent), 0o644),
		os.Symlink("/"+unit, filepath.Join(root, "etc/systemd/system/multi-user.target.wants", filepath.Base(unit))),
		os.WriteFile(filepath.Join(root, "etc/hostname"), []byte(s.name+"\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/systemd/system.conf"), []byte(patience), 0o644),
	)
	if err == nil && files != nil {
		err = files(root)
	}
	if err != nil {
		return fmt.Errorf("putting files onto the disk of %s: %w", s.name, err)
	}
	_, err = s.lab.run(ctx, "mke2fs", "-q", "-t", "ext4", "-d", root, s.disk(), "1G")
	return err
}

func (s *System) disk() string { return s.base + ".disk" }

// boot starts the machine, and returns when the system has started what it starts at boot.
func (s *System) boot(ctx context.Context) error {
	ctx, cancel := systemDeadline(ctx)
	defer cancel()
	if err := s.start(ctx); err != nil {
		return err
	}
	_, line := s.current()
	select {
	case <-line.boot:
	case <-line.ended:
		return fmt.Errorf("booting: %w", ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("booting: %w", context.Cause(ctx))
	}
	// It ends with an error, if any unit has failed: that is for who asks for it.
	_, err := s.run(ctx, "systemctl", "is-system-running", "--wait")
	return err
}

func (s *System) start(ctx context.Context) error {
	if _, err := s.lab.VSCtl(ctx, "--if-exists", "del-port", s.nic.Port); err != nil {
		return fmt.Errorf("deleting its port of before: %w", err)
	}
	// QEMU alone keeps the device: it is gone with it, however that ends.
	tap, err := s.lab.openTap(s.nic)
	if err != nil {
		return err
	}
	defer tap.Close()
	if _, err := s.lab.VSCtl(ctx, s.nic.portRow()...); err != nil {
		return fmt.Errorf("adding its port: %w", err)
	}
	from := os.Getenv(SystemVariable)
	return s.launch(s.lab.host, s.lab.logf, tap, "-name", prefix+":"+s.lab.name+":"+s.name, "-m", "512",
		"-kernel", filepath.Join(from, "vmlinuz"), "-initrd", filepath.Join(from, "initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1 mitigations=off",
		// Whoever loses the disk with the host does not need it.
		"-drive", "file="+s.disk()+",format=raw,if=virtio,cache=unsafe",
		"-netdev", "tap,id=net,fd=3,vhost=off", "-device", "virtio-net-pci,netdev=net,romfile=,addr=0x10,mac="+s.nic.MAC.String()+
			",csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ufo=off,host_tso4=off,host_tso6=off,host_ufo=off")
}

func systemDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, systemTime)
}

// Reboot has the system reboot itself, as an operator does, and returns when it is there again as after AddSystem. QEMU
// ends when the system would start anew, and is started again with its disk.
func (s *System) Reboot(ctx context.Context) error {
	ctx, cancel := systemDeadline(ctx)
	defer cancel()
	p, line := s.current()
	_, _ = s.run(ctx, "systemctl", "reboot") // the line may end before the reply; that the machine ends is what counts
	select {
	case <-p.done:
	case <-ctx.Done():
		return s.explain(fmt.Errorf("shutting down: %w", context.Cause(ctx)))
	}
	err := line.close()
	if err == nil {
		err = s.boot(ctx)
	}
	if err != nil {
		return s.explain(err)
	}
	return nil
}

// Crash is Kill of a machine, a power failure, and boots it again: what was not on its disk is lost.
func (s *System) Crash(ctx context.Context) error {
	s.kill()
	_, line := s.current()
	err := line.close()
	if err == nil {
		err = s.boot(ctx)
	}
	if err != nil {
		return s.explain(err)
	}
	return nil
}

// Run runs a program in the system, and returns what it says. It is an error if the program ends with one.
func (s *System) Run(ctx context.Context, args ...string) (string, error) {
	out, err := s.run(ctx, args...)
	if err == nil && out.code != 0 {
		err = fmt.Errorf("system %s: %q ends with %d: %s", s.name, args, out.code, out.said)
	}
	return out.said, err
}

// output is what a program has said, on either way, and how it has ended.
type output struct {
	said string
	code int
}

func (s *System) run(ctx context.Context, args ...string) (output, error) {
	ctx, cancel := systemDeadline(ctx)
	defer cancel()
	_, line := s.current()
	said := &vmCapture{news: make(chan struct{}, 1)}
	var text bytes.Buffer
	copied := make(chan error, 1)
	go func() { copied <- said.copy(&text) }()
	code, err := line.open(ctx, vmRequest{Do: "run", Args: args}, said)
	line.mu.Lock()
	delete(line.captures, said.id)
	line.mu.Unlock()
	said.end()
	err = errors.Join(err, <-copied)
	return output{text.String(), code}, err
}

// Close is what pulling the plug is to a machine. Closing again does nothing.
func (s *System) Close() error {
	s.lab.forget(s)
	return s.close()
}
