package ovstest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
)

// AddUplink adds a physical neighbour: what AddGuest does, with an outside of the bridge behind eth0.
// The port is called "eth-NAME" by default, and the hypervisor's external_ids are not there.
func (l *Lab) AddUplink(ctx context.Context, cfg GuestConfig) (*Guest, error) {
	if cfg.Port == "" {
		cfg.Port = "eth-" + cfg.Name
	}
	return l.AddGuest(ctx, cfg)
}

// CollectorConfig says what collector to add. Only the name is needed.
type CollectorConfig struct {
	Name   string
	Bridge string       // the underlay, made if it is not there (default br-ext)
	Host   netip.Prefix // the tunnels' local end, on the underlay's internal port (default 192.0.2.1/24)
	IP     netip.Prefix // the tunnels' remote end (default: a free one of 192.0.2.0/24)
	MTU    int          // of the path to it (0: 1500)
}

// neighbor is a MAC address that tunnels on a bridge know without asking.
type neighbor struct {
	bridge, mac string
	ip          netip.Addr
}

// AddCollector adds a receiver of tunnels behind an underlay bridge, whose internal port is up and addressed, and waits
// until ovs-vswitchd knows the way: not even the first copy is lost. What arrives is not unpacked by
// anybody; Capture and Describe read it.
func (l *Lab) AddCollector(ctx context.Context, cfg CollectorConfig) (*Guest, error) {
	if err := l.realHost(); err != nil {
		return nil, err
	}
	if cfg.Bridge == "" {
		cfg.Bridge = "br-ext"
	}
	if !cfg.Host.IsValid() {
		cfg.Host = netip.MustParsePrefix("192.0.2.1/24")
	}
	if !cfg.IP.IsValid() {
		l.mu.Lock()
		last := byte(l.serial + 2)
		l.mu.Unlock()
		cfg.IP = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, last}), 24)
	}
	if err := l.underlay(ctx, cfg); err != nil {
		return nil, fmt.Errorf("collector %s: %w", cfg.Name, err)
	}
	g, err := l.AddGuest(ctx, GuestConfig{
		Name: cfg.Name, Bridge: cfg.Bridge, Port: "ext-" + cfg.Name, IP: cfg.IP, MTU: cfg.MTU,
	})
	if err != nil {
		return nil, err
	}
	n := neighbor{bridge: cfg.Bridge, ip: g.Addr(), mac: g.HardwareAddr().String()}
	if err := l.introduce(ctx, n); err != nil {
		return nil, fmt.Errorf("collector %s: %w", cfg.Name, err)
	}
	l.mu.Lock()
	l.neighbors = append(l.neighbors, n)
	l.mu.Unlock()
	return g, nil
}

// underlay makes the bridge and addresses the host on it, unless that was done.
func (l *Lab) underlay(ctx context.Context, cfg CollectorConfig) error {
	l.mu.Lock()
	done := false
	for _, a := range l.addressed {
		done = done || a == hostAddress{cfg.Bridge, cfg.Host}
	}
	l.mu.Unlock()
	if done {
		return nil
	}
	if _, err := l.VSCtl(ctx, "--may-exist", "add-br", cfg.Bridge,
		"--", "set", "Bridge", cfg.Bridge, "datapath_type="+l.cfg.Datapath); err != nil {
		return err
	}
	_, err := l.HostIP(ctx, cfg.Bridge, cfg.Host)
	return err
}

// introduce waits until ovs-vswitchd has learnt the route from the kernel, and tells it the neighbour's address. Tunnels of
// the kernel's datapath have both from the host's kernel.
func (l *Lab) introduce(ctx context.Context, n neighbor) error {
	if l.cfg.Datapath != "netdev" {
		return l.host.do(func() error { return acquaint(n) })
	}
	err := until(ctx, "route to "+n.ip.String(), func() (bool, error) {
		out, err := l.AppCtl(ctx, "ovs/route/lookup", n.ip.String())
		if err != nil && !strings.Contains(err.Error(), "Not found") {
			return false, err
		}
		return err == nil && strings.Contains(out, n.bridge), nil
	})
	if err != nil {
		return err
	}
	_, err = l.AppCtl(ctx, "tnl/neigh/set", n.bridge, n.ip.String(), n.mac)
	return err
}

// acquaint tells the kernel of the current namespace a neighbour's address, for good.
func acquaint(n neighbor) error {
	link, err := netlink.LinkByName(n.bridge)
	if err != nil {
		return fmt.Errorf("finding %s: %w", n.bridge, err)
	}
	mac, err := net.ParseMAC(n.mac)
	if err == nil {
		err = netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: n.ip.AsSlice(), HardwareAddr: mac,
		})
	}
	if err != nil {
		return fmt.Errorf("telling %s of neighbour %s: %w", n.bridge, n.ip, err)
	}
	return nil
}
