package ovstest

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
)

// AddLinuxBridge makes a bridge of the kernel's own, up, in the namespace that plays the host, which has that address on it;
// the zero Prefix is none. Guests join it by GuestConfig.Linux.
func (l *Lab) AddLinuxBridge(name string, ip netip.Prefix) error {
	if err := l.realHost(); err != nil {
		return err
	}
	err := l.host.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return err
		}
		if err := raiseLink(name); err != nil || !ip.IsValid() {
			return err
		}
		return address(name, ip)
	})
	if err != nil {
		return fmt.Errorf("bridge %s of the kernel: %w", name, err)
	}
	return nil
}

// joinLinuxBridge makes a device of the host a port of a Linux bridge.
func (l *Lab) joinLinuxBridge(bridge, port string) error {
	err := l.host.do(func() error {
		master, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName(port)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(link, master)
	})
	if err != nil {
		return fmt.Errorf("port %s of Linux bridge %s: %w", port, bridge, err)
	}
	return nil
}

// Inside is what to put before a command that shall run on the host of the lab.
func (l *Lab) Inside() []string {
	return []string{"nsenter", "--net", "--target", strconv.Itoa(l.PID())}
}

// Inside is what to put before a command that shall run in the guest.
func (g *Guest) Inside() []string {
	return []string{"nsenter", "--net", "--target", strconv.Itoa(g.PID())}
}
