package ovstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// device is what a guest's only network device is called inside.
const device = "eth0"

// GuestConfig says what guest to add. Only the name is needed.
type GuestConfig struct {
	Name   string // unique in the lab
	Bridge string // default: the lab's first
	Linux  bool   // Bridge is a Linux bridge (AddLinuxBridge): the guest has no OVS port
	Port   string // of the OVS port and of the device under it, 15 characters at most (default "vif-NAME")

	MAC net.HardwareAddr // default 02:09:00:00:00:N, N counting the lab's guests from 1
	IP  netip.Prefix     // default 10.9.0.N/24
	MTU int              // of both ends (0: 1500)

	Tag    int   // the port's access VLAN (0: none)
	Trunks []int // the VLANs it carries (nil: all)

	PortColumns []string          // more of the Port row, as ovs-vsctl takes it: "vlan_mode=access"
	ExternalIDs map[string]string // of the Interface row, as the hypervisor sets them

	KeepIPv6 bool // leave IPv6 on, with the noise it makes
}

// Guest is a namespace with one device, eth0, whose outer end is a port of a bridge.
type Guest struct {
	cfg    GuestConfig
	lab    *Lab
	inside *namespace

	mu     sync.Mutex
	sender *socket // eth0's, opened by the first Send
}

// AddGuest makes a guest and starts it. It returns when ovs-vswitchd has taken the port in (ofport > 0).
func (l *Lab) AddGuest(ctx context.Context, cfg GuestConfig) (*Guest, error) {
	if err := l.realHost(); err != nil {
		return nil, err
	}
	cfg, err := l.complete(cfg)
	if err != nil {
		return nil, err
	}
	inside, err := newNamespace(prefix + ":" + l.name + ":" + cfg.Name)
	if err != nil {
		return nil, err
	}
	g := &Guest{cfg: cfg, lab: l, inside: inside}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		inside.close()
		return nil, fmt.Errorf("lab %s: %w", l.name, ErrClosed)
	}
	l.guests = append(l.guests, g)
	l.mu.Unlock()
	if err := g.Start(ctx); err != nil {
		return nil, errors.Join(err, g.Remove(ctx))
	}
	return g, nil
}

// complete fills the defaults in and numbers the guest.
func (l *Lab) complete(cfg GuestConfig) (GuestConfig, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cfg.Name == "" {
		return cfg, errors.New("a guest needs a name")
	}
	if slices.ContainsFunc(l.guests, func(g *Guest) bool { return g.cfg.Name == cfg.Name }) {
		return cfg, fmt.Errorf("guest %s is there already", cfg.Name)
	}
	l.serial++
	if cfg.Bridge == "" {
		if len(l.cfg.Bridges) == 0 {
			return cfg, fmt.Errorf("guest %s: the lab has no bridge: name one", cfg.Name)
		}
		cfg.Bridge = l.cfg.Bridges[0]
	}
	if cfg.Port == "" {
		cfg.Port = "vif-" + cfg.Name
	}
	if len(cfg.Port) > 15 {
		return cfg, fmt.Errorf("guest %s: port name %q has more than 15 characters: set Port", cfg.Name, cfg.Port)
	}
	if cfg.MAC == nil {
		cfg.MAC = net.HardwareAddr{2, 9, 0, 0, byte(l.serial >> 8), byte(l.serial)}
	}
	if !cfg.IP.IsValid() {
		cfg.IP = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(l.serial >> 8), byte(l.serial)}), 24)
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	return cfg, nil
}

// Name is the guest's name in the lab.
func (g *Guest) Name() string { return g.cfg.Name }

// Port is the name of its OVS port, and of the device under it.
func (g *Guest) Port() string { return g.cfg.Port }

// Bridge is the name of the bridge its port is added to.
func (g *Guest) Bridge() string { return g.cfg.Bridge }

// HardwareAddr is the address of the guest's eth0; it stays over Stop and Start.
func (g *Guest) HardwareAddr() net.HardwareAddr { return g.cfg.MAC }

// Addr is the guest's address.
func (g *Guest) Addr() netip.Addr { return g.cfg.IP.Addr() }

// PID is a process in the guest's namespace: "nsenter -t PID -n" looks inside.
func (g *Guest) PID() int { return g.inside.holder.pid() }

// portRow is the guest's port as arguments of ovs-vsctl: one transaction, as a hypervisor adds it.
func (c GuestConfig) portRow() []string {
	args := []string{"--", "add-port", c.Bridge, c.Port}
	if c.Tag != 0 {
		args = append(args, "tag="+strconv.Itoa(c.Tag))
	}
	if c.Trunks != nil {
		vids := make([]string, len(c.Trunks))
		for i, v := range c.Trunks {
			vids[i] = strconv.Itoa(v)
		}
		args = append(args, "trunks="+strings.Join(vids, ","))
	}
	args = append(args, c.PortColumns...)
	if len(c.ExternalIDs) == 0 {
		return args
	}
	args = append(args, "--", "set", "Interface", c.Port)
	var ids []string
	for key, value := range c.ExternalIDs {
		ids = append(ids, "external_ids:"+quoted(key)+"="+quoted(value))
	}
	slices.Sort(ids)
	return append(args, ids...)
}
