package ovstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
)

// HostPort is the host's own port of a bridge, up and addressed (HostIP).
type HostPort struct {
	Station
	lab    *Lab
	device string
}

// Send sends one frame into the bridge from the host. The socket is opened anew each time: the device is another one
// after a restart of ovs-vswitchd.
func (h *HostPort) Send(frame []byte) error { return h.lab.SendPort(h.device, frame) }

// hostAddress is an address of one of the host's own devices, a bridge's internal port.
type hostAddress struct {
	device string
	ip     netip.Prefix
}

// HostIP brings a bridge's own internal port up in the namespace that plays the host and gives it an address: the
// host's own traffic. The bridge's MAC is pinned (other-config:hwaddr), or it would follow the ports.
func (l *Lab) HostIP(ctx context.Context, bridge string, ip netip.Prefix) (*HostPort, error) {
	if err := l.realHost(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.serial++
	mac := net.HardwareAddr{2, 9, 0xff, 0, byte(l.serial >> 8), byte(l.serial)}
	l.mu.Unlock()
	_, err := l.VSCtl(ctx, "set", "Bridge", bridge, `other-config:hwaddr="`+mac.String()+`"`)
	if err != nil {
		return nil, fmt.Errorf("pinning the address of %s: %w", bridge, err)
	}
	a := hostAddress{device: bridge, ip: ip}
	if err := l.raiseHost(ctx, a); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.addressed = append(l.addressed, a)
	l.mu.Unlock()
	return &HostPort{Station: Station{MAC: mac, IP: ip.Addr()}, lab: l, device: bridge}, nil
}

// raise gives every address and neighbour back after a restart of ovs-vswitchd.
func (l *Lab) raise(ctx context.Context) error {
	l.mu.Lock()
	addressed, neighbors := l.addressed, l.neighbors
	l.mu.Unlock()
	for _, a := range addressed {
		if err := l.raiseHost(ctx, a); err != nil {
			return err
		}
	}
	for _, n := range neighbors {
		if err := l.introduce(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) raiseHost(ctx context.Context, a hostAddress) error {
	err := until(ctx, "device "+a.device, func() (bool, error) {
		there := false
		err := l.host.do(func() error {
			if _, err := netlink.LinkByName(a.device); err != nil {
				if errors.As(err, &netlink.LinkNotFoundError{}) {
					return nil
				}
				return err
			}
			there = true
			if err := raiseLink(a.device); err != nil {
				return err
			}
			return address(a.device, a.ip)
		})
		return there && err == nil, err
	})
	if err != nil {
		return err
	}
	// The userspace datapath drops what goes to a tap device that is down as far as ovs-vswitchd has heard, which the
	// kernel tells it a little later (OVS 3.1); its OpenFlow port shows what it has heard.
	return until(ctx, "ovs-vswitchd to hear that "+a.device+" is up", func() (bool, error) {
		ports, err := l.OFCtl(ctx, "dump-ports-desc", a.device)
		_, local, found := strings.Cut(ports, "LOCAL("+a.device+")")
		config, _, _ := strings.Cut(local, "state:")
		return found && !strings.Contains(config, "PORT_DOWN"), err
	})
}
