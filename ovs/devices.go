package ovs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"spanctl/policy/plan"
)

// farEnd says which attributes of a kind of device have the far end's address, IPv4 or IPv6, and its UDP port, 0 for none
// (Linux's if_tunnel.h and if_link.h).
var farEnd = map[string]struct {
	addresses []uint16
	port      uint16
}{
	"erspan":    {[]uint16{nl.IFLA_GRE_REMOTE}, 0},
	"ip6erspan": {[]uint16{nl.IFLA_GRE_REMOTE}, 0},
	"gretap":    {[]uint16{nl.IFLA_GRE_REMOTE}, 0},
	"ip6gretap": {[]uint16{nl.IFLA_GRE_REMOTE}, 0},
	"vxlan":     {[]uint16{nl.IFLA_VXLAN_GROUP, nl.IFLA_VXLAN_GROUP6}, nl.IFLA_VXLAN_PORT},
	"geneve":    {[]uint16{nl.IFLA_GENEVE_REMOTE, nl.IFLA_GENEVE_REMOTE6}, nl.IFLA_GENEVE_PORT},
}

// lookAtDevices adds to the snapshot which Interfaces are tunnels of the kernel's own, and returns their far ends. netlink's
// Link has those of some kinds only.
func (c *Conn) lookAtDevices(ctx context.Context, s *plan.Snapshot) (remotes []netip.Addr) {
	names := s.MayWrap()
	if len(names) == 0 {
		return nil
	}
	err := c.inSocket(func(socket *nl.NetlinkSocket) error {
		s.Devices = map[string]plan.Device{}
		var failed error // of one that has no name for a device
		for _, name := range names {
			device, wraps, err := lookAtDevice(socket, name)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("device %s: %w", name, err))
			}
			if !wraps {
				continue
			}
			s.Devices[name] = device
			if device.Remote.IsValid() {
				remotes = append(remotes, device.Remote)
			}
		}
		return failed
	})
	if err != nil {
		c.log.DebugContext(ctx, "not all tunnels of the kernel's are known", "error", err)
	}
	return remotes
}

// inSocket calls f with a netlink socket of ovs-vswitchd's network namespace.
func (c *Conn) inSocket(f func(*nl.NetlinkSocket) error) error {
	ns, err := c.namespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	socket, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer socket.Close()
	return f(socket)
}

// lookAtDevice asks for one device. One that is not there is no tunnel.
func lookAtDevice(socket *nl.NetlinkSocket, name string) (device plan.Device, wraps bool, err error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if errors.Is(err, unix.ENODEV) {
		return device, false, nil
	}
	if err != nil || len(messages) == 0 || len(messages[0]) < unix.SizeofIfInfomsg {
		return device, false, err
	}
	info, err := nested(messages[0][unix.SizeofIfInfomsg:], unix.IFLA_LINKINFO)
	if err != nil || info == nil {
		return device, false, err
	}
	kind, err := nested(info, nl.IFLA_INFO_KIND)
	if err != nil {
		return device, false, err
	}
	device.Kind = unix.ByteSliceToString(kind)
	end, wraps := farEnd[device.Kind]
	if !wraps {
		return device, false, nil
	}
	data, err := nested(info, nl.IFLA_INFO_DATA)
	for _, attribute := range end.addresses {
		address, failed := nested(data, attribute)
		err = errors.Join(err, failed)
		if far, ok := netip.AddrFromSlice(address); ok && !far.IsUnspecified() {
			device.Remote = far
		}
	}
	if end.port != 0 {
		port, failed := nested(data, end.port)
		err = errors.Join(err, failed)
		if len(port) == 2 {
			device.Port = int(binary.BigEndian.Uint16(port))
		}
	}
	return device, true, err
}

// nested is the value of an attribute among others, nil if it is not there.
func nested(attributes []byte, kind uint16) ([]byte, error) {
	list, err := nl.ParseRouteAttr(attributes)
	for _, a := range list {
		if a.Attr.Type&^unix.NLA_F_NESTED == kind {
			return a.Value, err
		}
	}
	return nil, err
}
