package ovstest

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/digitalocean/go-libvirt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Domain is a virtual machine of a Hypervisor, with the NICs that it was defined with. libvirt makes its tap devices and
// their ports, and names them. One domain's Start, Destroy, Rename, Plug and Unplug are for one at a time.
type Domain struct {
	hypervisor *Hypervisor
	file       string // what its files are named for, whatever its name

	mu   sync.Mutex
	name string
	nics []*NIC
	wire *vmLine
}

// Define defines a domain, with so many NICs of the lab's first bridge and a UUID that libvirt chooses.
func (h *Hypervisor) Define(ctx context.Context, name string, nics int) (*Domain, error) {
	d := &Domain{hypervisor: h, file: h.lab.path("dom-" + name), name: name}
	if err := d.define(ctx, nics); err != nil {
		return nil, fmt.Errorf("domain %s: %w", name, err)
	}
	h.mu.Lock()
	h.domains = append(h.domains, d)
	h.mu.Unlock()
	return d, nil
}

func (d *Domain) define(ctx context.Context, nics int) error {
	kernel, err := vmlinuz()
	if err != nil {
		return err
	}
	image, err := guestImage()
	if err != nil {
		return err
	}
	file := d.hypervisor.lab.path("vm-initrd")
	if err := writeOnce(file, image); err != nil {
		return err
	}
	var devices strings.Builder
	for range nics {
		n, err := d.nic()
		if err != nil {
			return err
		}
		d.nics = append(d.nics, n)
		devices.WriteString(n.xml())
	}
	text := fmt.Sprintf(domainXML, escaped(d.name), escaped(kernel), escaped(file), escaped(d.file+".console"), escaped(d.file+".line"), devices.String())
	return d.hypervisor.do(ctx, "define "+d.name, func(l *libvirt.Libvirt) error {
		_, err := l.DomainDefineXML(text)
		return err
	})
}

// nic makes a NIC for the machine.
func (d *Domain) nic() (*NIC, error) {
	lab := d.hypervisor.lab
	cfg, err := lab.complete(GuestConfig{Name: d.name, Port: "vnet"})
	if err != nil {
		return nil, err
	}
	return &NIC{lab: lab, machine: d.name, mac: cfg.MAC, ip: cfg.IP, line: d.current}, nil
}

// xml is the NIC as libvirt takes it.
func (n *NIC) xml() string { return fmt.Sprintf(nicXML, n.mac, escaped(n.lab.cfg.Bridges[0])) }

func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // into memory
	return b.String()
}

// domainXML is a domain as libvirt takes it, of its name, kernel, image, console, line and NICs. What it does not name, as
// display, disk or memory balloon, a machine of one process need not have.
const domainXML = `<domain type='qemu'>
  <name>%s</name>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>%s</kernel>
    <initrd>%s</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 ipv6.disable=1</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='file'><source path='%s'/><target port='0'/></serial>
    <channel type='unix'><source mode='bind' path='%s'/><target type='virtio' name='line'/></channel>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    %s
  </devices>
</domain>`

// nicXML is a NIC, of its address and bridge. It does no offloads: every frame is as it is on a wire.
const nicXML = `<interface type='bridge'>
  <mac address='%s'/>
  <source bridge='%s'/>
  <virtualport type='openvswitch'/>
  <model type='virtio'/>
  <driver name='qemu'>
    <host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off'/>
    <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/>
  </driver>
  <rom enabled='no'/>
</interface>`

// persistently changes the machine that runs and what it is started with next.
const persistently = uint32(libvirt.DomainDeviceModifyLive | libvirt.DomainDeviceModifyConfig)

// do does something with the domain by libvirt's remote protocol.
func (d *Domain) do(ctx context.Context, what string, f func(*libvirt.Libvirt, libvirt.Domain) error) error {
	name := d.Name()
	return d.hypervisor.do(ctx, what+" "+name, func(l *libvirt.Libvirt) error {
		dom, err := l.DomainLookupByName(name)
		if err == nil {
			err = f(l, dom)
		}
		return err
	})
}

// Name is the name that libvirt has for the domain.
func (d *Domain) Name() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.name
}

// NIC is one of the domain's NICs, in the order in which they came; they count from 0.
func (d *Domain) NIC(n int) *NIC {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.nics[n]
}

func (d *Domain) all() []*NIC {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.nics
}

func (d *Domain) current() *vmLine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wire
}

// Start has libvirt start the domain, and returns when libvirt has: the machine only begins to boot. What is asked of it
// it does as soon as it can.
func (d *Domain) Start(ctx context.Context) error {
	err := d.do(ctx, "start", func(l *libvirt.Libvirt, dom libvirt.Domain) error { return l.DomainCreate(dom) })
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", d.file+".line")
	if err != nil {
		return fmt.Errorf("domain %s: %w", d.Name(), err)
	}
	d.mu.Lock()
	before := d.wire
	d.wire = newVMLine(d.name, conn, conn)
	d.mu.Unlock()
	if before == nil {
		return nil
	}
	return before.close()
}

// Up returns when all of the started machine's NICs are up, and ovs-vswitchd has taken in their ports.
func (d *Domain) Up(ctx context.Context) error {
	for _, n := range d.all() {
		if err := d.raise(ctx, n); err != nil {
			console, _ := os.ReadFile(d.file + ".console") // without it the error is merely shorter
			return fmt.Errorf("%w; its console ends:\n%s", err, console[max(0, len(console)-2000):])
		}
	}
	return nil
}

func (d *Domain) raise(ctx context.Context, n *NIC) error {
	port, err := n.Port(ctx)
	if err != nil {
		return err
	}
	if _, err := n.lab.OFPort(ctx, port); err != nil {
		return err
	}
	// An emulated machine is slow to take frames, and what waits for it must not be lost.
	err = n.lab.host.do(func() error {
		link, err := netlink.LinkByName(port)
		if err != nil {
			return fmt.Errorf("finding %s: %w", port, err)
		}
		return netlink.LinkSetTxQLen(link, 10000)
	})
	if err != nil {
		return err
	}
	return n.up(ctx)
}

// Port is the name of the NIC's OVS port, and of the tap device under it, where a Hypervisor has made it. It waits until
// there is one.
func (n *NIC) Port(ctx context.Context) (port string, err error) {
	err = until(ctx, "the port of "+n.machine, func() (bool, error) {
		out, err := n.lab.VSCtl(ctx, "--bare", "--columns=name", "find", "Interface", "external_ids:attached-mac="+quoted(n.mac.String()))
		port = strings.TrimSpace(out)
		return port != "", err
	})
	return port, err
}

// Destroy has libvirt end the machine at once; the port's rows and its tap device go.
func (d *Domain) Destroy(ctx context.Context) error {
	return d.do(ctx, "destroy", func(l *libvirt.Libvirt, dom libvirt.Domain) error { return l.DomainDestroy(dom) })
}

// Hold makes the domain's next start last until Release, its port being there. libvirt tells nothing of the domain meanwhile.
func (d *Domain) Hold() error {
	if err := unix.Mkfifo(d.gate(), 0o600); err != nil {
		return fmt.Errorf("domain %s: making a gate for its start: %w", d.Name(), err)
	}
	return nil
}

// Release ends Hold.
func (d *Domain) Release() error {
	gate, err := os.OpenFile(d.gate(), os.O_WRONLY|unix.O_NONBLOCK, 0) // fails if nobody waits there
	if err != nil {
		return fmt.Errorf("domain %s: opening the gate for its start: %w", d.Name(), err)
	}
	return errors.Join(os.Remove(d.gate()), gate.Close())
}

func (d *Domain) gate() string { return d.hypervisor.path("gate-" + d.Name()) }

// Rename gives the domain another name; libvirt refuses that of one that runs.
func (d *Domain) Rename(ctx context.Context, name string) error {
	err := d.do(ctx, "rename to "+name, func(l *libvirt.Libvirt, dom libvirt.Domain) error {
		_, err := l.DomainRename(dom, libvirt.OptString{name}, 0)
		return err
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.name = name
	return nil
}

// Plug has libvirt plug one NIC more into the running machine, of the lab's first bridge, and returns when it is up. The
// domain keeps it. Before that the NIC is prepared, as by Stream.
func (d *Domain) Plug(ctx context.Context, prepare func(*NIC) error) (*NIC, error) {
	n, err := d.nic()
	if err != nil {
		return nil, err
	}
	if err := prepare(n); err != nil {
		return nil, err
	}
	err = d.do(ctx, "plug "+n.mac.String()+" into", func(l *libvirt.Libvirt, dom libvirt.Domain) error {
		return l.DomainAttachDeviceFlags(dom, n.xml(), persistently)
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.nics = append(d.nics, n)
	d.mu.Unlock()
	return n, d.raise(ctx, n)
}

// Unplug has libvirt take the last NIC out of the running machine, for good, and returns when its port is gone.
func (d *Domain) Unplug(ctx context.Context) error {
	d.mu.Lock()
	n := d.nics[len(d.nics)-1]
	d.nics = d.nics[:len(d.nics)-1]
	d.mu.Unlock()
	err := d.do(ctx, "unplug "+n.mac.String()+" from", func(l *libvirt.Libvirt, dom libvirt.Domain) error {
		return l.DomainDetachDeviceFlags(dom, n.xml(), persistently)
	})
	if err != nil {
		return err
	}
	return until(ctx, "the end of the port of "+n.mac.String(), func() (bool, error) {
		out, err := n.lab.VSCtl(ctx, "--bare", "--columns=name", "find", "Interface", "external_ids:attached-mac="+quoted(n.mac.String()))
		return strings.TrimSpace(out) == "", err
	})
}
