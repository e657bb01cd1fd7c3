package ovstest

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Wire joins the hosts of two labs by a wire: a device of that name in each, up, for a bridge to take as its uplink. It
// goes with either lab.
func Wire(one, other *Lab, device string, mtu int) error {
	if err := errors.Join(one.realHost(), other.realHost()); err != nil {
		return err
	}
	err := one.host.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = device, mtu
		pair := netlink.NewVeth(attrs)
		pair.PeerName, pair.PeerMTU = device, uint32(mtu)
		err := other.host.use(func(fd int) error {
			pair.PeerNamespace = netlink.NsFd(fd)
			return netlink.LinkAdd(pair)
		})
		if err != nil {
			return err
		}
		return uplink(device)
	})
	if err == nil {
		err = other.host.do(func() error { return uplink(device) })
	}
	if err != nil {
		return fmt.Errorf("wire %s of labs %s and %s: %w", device, one.name, other.name, err)
	}
	return nil
}

// uplink makes a device of the current namespace one whose frames are for the bridge alone: the kernel sees them too, and
// would answer for the bridge's address with the device's own.
func uplink(device string) error {
	if err := sysctl("net/ipv4/conf/"+device+"/arp_ignore", "1"); err != nil {
		return err
	}
	return raiseLink(device)
}
