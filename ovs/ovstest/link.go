package ovstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// plug makes the guest's veth pair: the outer end, named like the port, in the host's namespace; the inner, eth0, up and
// addressed. Both ends carry frames as a wire does (see plain).
func (g *Guest) plug() error {
	c := g.cfg
	err := g.lab.host.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = c.Port, c.MTU
		pair := netlink.NewVeth(attrs)
		pair.PeerName, pair.PeerHardwareAddr, pair.PeerMTU = device, c.MAC, uint32(c.MTU)
		err := g.inside.use(func(fd int) error {
			pair.PeerNamespace = netlink.NsFd(fd)
			return netlink.LinkAdd(pair)
		})
		if err != nil {
			return fmt.Errorf("making its device: %w", err)
		}
		return raiseLink(c.Port)
	})
	if err == nil {
		err = g.inside.do(func() error {
			if c.KeepIPv6 {
				if err := sysctl("net/ipv6/conf/"+device+"/disable_ipv6", "0"); err != nil {
					return err
				}
			}
			if err := raiseLink(device); err != nil {
				return err
			}
			return address(device, c.IP)
		})
	}
	if err != nil {
		return fmt.Errorf("guest %s: %w", c.Name, err)
	}
	return nil
}

// unplug deletes the veth pair, both ends. Deleting the absent does nothing.
func (g *Guest) unplug() error {
	return g.lab.host.do(func() error {
		link, err := netlink.LinkByName(g.cfg.Port)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			return fmt.Errorf("guest %s: deleting its device: %w", g.cfg.Name, err)
		}
		return nil
	})
}

// raiseLink sets a device of the current namespace up, without offloads.
func raiseLink(name string) error {
	if err := plain(name); err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("raising %s: %w", name, err)
	}
	return nil
}

// address gives a device of the current namespace an address, unless it has it. An IPv6 address turns IPv6 on for that
// device, without duplicate address detection.
func address(name string, ip netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{
		IP: ip.Addr().AsSlice(), Mask: net.CIDRMask(ip.Bits(), ip.Addr().BitLen()),
	}}
	if ip.Addr().Is6() {
		if err := sysctl("net/ipv6/conf/"+name+"/disable_ipv6", "0"); err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("addressing %s: %w", name, err)
	}
	return nil
}
