package ovstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// VM is a virtual machine of QEMU, without KVM, whose eth0 is virtio and whose outer end is a tap device and port of a
// bridge, as with libvirt. A kernel of its own sends and receives there; its only process is vminit, which does what the
// test asks for. It is as silent as a Guest. It needs what .ci/vm makes (VMVariable).
type VM struct {
	NIC
	cfg GuestConfig
	machine
}

// AddVM makes a virtual machine and starts it. The port is called "tap-NAME" by default; KeepIPv6 is not heeded.
func (l *Lab) AddVM(ctx context.Context, cfg GuestConfig) (*VM, error) {
	if err := l.realHost(); err != nil {
		return nil, err
	}
	if cfg.Port == "" {
		cfg.Port = "tap-" + cfg.Name
	}
	cfg, err := l.complete(cfg)
	if err != nil {
		return nil, err
	}
	v := &VM{
		cfg: cfg, NIC: NIC{lab: l, machine: cfg.Name, mac: cfg.MAC, ip: cfg.IP},
		machine: machine{name: cfg.Name, base: l.path("vm-" + cfg.Name)},
	}
	v.NIC.line = func() *vmLine { _, line := v.current(); return line }
	if err := v.Start(ctx); err != nil {
		return nil, err
	}
	return v, nil
}

// Port is the name of its OVS port, and of the tap device under it.
func (v *VM) Port() string { return v.cfg.Port }

// Start boots the machine, in some seconds, with a tap device and a port of its own, and returns when its eth0 is up and
// ovs-vswitchd has taken the port in. What rows of before are still there go first, in a transaction of their own: replaced
// in one, the port stays with the device that is no more, and passes nothing (OVS 3.1, userspace datapath).
func (v *VM) Start(ctx context.Context) error {
	err := v.boot(ctx)
	if err == nil {
		err = v.up(ctx)
	}
	if err == nil {
		_, err = v.lab.OFPort(ctx, v.cfg.Port)
	}
	if err != nil {
		return errors.Join(v.explain(err), v.Close())
	}
	return nil
}

func (v *VM) boot(ctx context.Context) error {
	kernel, err := vmlinuz()
	if err != nil {
		return err
	}
	image, err := guestImage()
	if err != nil {
		return err
	}
	file := v.lab.path("vm-initrd")
	if err := writeOnce(file, image); err != nil {
		return err
	}
	if _, err := v.lab.VSCtl(ctx, "--if-exists", "del-port", v.cfg.Port); err != nil {
		return fmt.Errorf("deleting its port of before: %w", err)
	}
	// QEMU alone keeps the device: it is gone with it, however that ends.
	tap, err := v.lab.openTap(v.cfg)
	if err != nil {
		return err
	}
	defer tap.Close()
	if _, err := v.lab.VSCtl(ctx, v.cfg.portRow()...); err != nil {
		return fmt.Errorf("adding its port: %w", err)
	}
	// Its virtio device does no offloads: every frame is as it is on a wire.
	err = v.launch(v.lab.host, v.lab.logf, tap, "-name", prefix+":"+v.lab.name+":"+v.cfg.Name, "-m", "192",
		"-kernel", kernel, "-initrd", file, "-append", "console=ttyS0 quiet panic=-1 ipv6.disable=1",
		"-netdev", "tap,id=net,fd=3,vhost=off", "-device", "virtio-net-pci,netdev=net,romfile=,mac="+v.cfg.MAC.String()+
			",csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ufo=off,host_tso4=off,host_tso6=off,host_ufo=off")
	if err != nil {
		return err
	}
	return v.lab.keep(v)
}

// writeOnce writes a file, unless it is there; whole, whoever else does.
func writeOnce(name string, data []byte) error {
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	part, err := os.CreateTemp(filepath.Dir(name), "part-")
	if err != nil {
		return fmt.Errorf("making %s: %w", name, err)
	}
	defer os.Remove(part.Name())
	_, err = part.Write(data)
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("making %s: %w", name, err)
	}
	return nil
}

// openTap makes a tap device in the namespace that plays the host. It lives as long as its file is open.
func (l *Lab) openTap(c GuestConfig) (*os.File, error) {
	var file *os.File
	err := l.host.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("open /dev/net/tun", err)
		}
		file = os.NewFile(uintptr(fd), "tap:"+c.Port)
		request, err := unix.NewIfreq(c.Port)
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return os.NewSyscallError("ioctl TUNSETIFF", err)
		}
		link, err := netlink.LinkByName(c.Port)
		if err != nil {
			return err
		}
		// An emulated machine is slow to take frames, and what waits for it must not be lost.
		if err := errors.Join(netlink.LinkSetTxQLen(link, 10000), netlink.LinkSetMTU(link, c.MTU)); err != nil {
			return err
		}
		return raiseLink(c.Port)
	})
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, fmt.Errorf("making its tap device: %w", err)
	}
	return file, nil
}

// Kill ends the machine by SIGKILL of QEMU, and its tap device with it. The rows of its port stay, as when a host's
// hypervisor crashes.
func (v *VM) Kill() { v.kill() }

// Stop does what a hypervisor does when a machine ends: that, and the port's rows go.
func (v *VM) Stop(ctx context.Context) error {
	v.Kill()
	if _, err := v.lab.VSCtl(ctx, "--if-exists", "del-port", v.cfg.Port); err != nil {
		return fmt.Errorf("vm %s: deleting its port: %w", v.cfg.Name, err)
	}
	return nil
}

// Close is Kill, and the machine's line ends with it. Closing again does nothing.
func (v *VM) Close() error {
	v.lab.forget(v)
	return v.close()
}
