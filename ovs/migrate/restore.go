package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

// Reverse says in the journal that everything is put back from now on, and why: whoever dies after it is followed by the
// watchdog. What cannot be written is no reason not to go back, unless it may be long ago that it was confirmed.
func (m *Migration) Reverse(ctx context.Context, reason string) error {
	late := m.Phase == Confirmed
	if late {
		if err := m.refresh(ctx); err != nil {
			return err
		}
	}
	m.Phase, m.Step, m.Reason, m.Gap = Reverting, "", reason, 0
	m.BootID = bootID() // it may have lasted over boots
	if err := m.folder.Write(m.Journal); err != nil && late {
		return err
	}
	return nil
}

// refresh takes what the host has now for what it had, and leaves ports out that are others' by now: names come again.
func (m *Migration) refresh(ctx context.Context) error {
	snap, err := m.conn.Observe(ctx)
	if err != nil {
		return err
	}
	if m.Layout.in(snap) == nil {
		return fmt.Errorf("%w: no bridge %[2]s of Open vSwitch is known as that in the place of %[3]s; if it is, "+
			"ovs-vsctl set bridge %[2]s external_ids:%[4]s=%[3]s", ErrNoMigration, m.Layout.New, m.Layout.Bridge, KeyReplaces)
	}
	others := func(name string) bool {
		return !slices.ContainsFunc(snap.Bridges, func(b plan.Bridge) bool {
			return (b.Name == m.Layout.New || b.Managed()) && b.Port(name) != nil
		})
	}
	link, err := linkNamed(m.Layout.New)
	if err != nil {
		return err
	}
	host, err := captureHost(device{m.Layout.New, link.Attrs().Index})
	if err != nil {
		return err
	}
	m.State.Host = host
	m.State.Ports = slices.DeleteFunc(m.State.Ports, func(p Port) bool { return others(p.Name) })
	m.Layout.Ports = slices.DeleteFunc(m.Layout.Ports, func(p ovs.PortRow) bool { return others(p.Name) })
	return nil
}

// Restore puts everything back, from wherever it begins, after Reverse. It can be done again after an error, but for ErrDiffers:
// everything was put back then, and something is otherwise all the same.
func (m *Migration) Restore(ctx context.Context) error {
	err := m.restore(ctx)
	if err != nil && !errors.Is(err, ErrDiffers) {
		return fmt.Errorf("putting %s back: %w", m.Layout.Bridge, err)
	}
	if err != nil { // all is done, and more of it would be the same
		err = fmt.Errorf("%s was put back, and is %w", m.Layout.Bridge, err)
		m.Reason += "; " + err.Error()
	}
	m.Phase = Reverted
	return errors.Join(err, m.folder.Write(m.Journal))
}

func (m *Migration) restore(ctx context.Context) error {
	bridge, err := m.linuxBridge()
	if err != nil {
		return err
	}
	begun := time.Now()
	next, err := m.leave(ctx)
	if err != nil { // who is not asked still has the ports
		return err
	}
	left, err := m.join(ctx, bridge)
	m.Gap += time.Since(begun)
	// A port that does not come does not keep the host away.
	_, homeless := lasting(ctx, func() ([]string, error) { return nil, m.comeHome(bridge) })
	if err := errors.Join(err, homeless); err != nil {
		return err
	}
	err = m.conn.WaitForConfig(ctx, next) // it matters only if the name is not free
	if bridge.Attrs().Name != m.Layout.Bridge {
		if renamed := m.rename(ctx, bridge, m.Layout.Bridge); renamed != nil { // ovs-vswitchd's device still has the name
			return errors.Join(renamed, err)
		}
	}
	if bridge, err = linkNamed(m.Layout.Bridge); err != nil {
		return err
	}
	s := m.State
	// The MAC follows the ports unless one was given.
	if mac := bridge.Attrs().HardwareAddr; mac.String() != s.Bridge.MAC && s.Bridge.MAC != "" {
		given, err := net.ParseMAC(s.Bridge.MAC)
		if err == nil {
			err = netlink.LinkSetHardwareAddr(bridge, given)
		}
		if err != nil {
			return wrap(err, "setting the MAC of %s", m.Layout.Bridge)
		}
	}
	if err := s.dress(bridge); err != nil {
		return err
	}
	at := device{m.Layout.Bridge, bridge.Attrs().Index}
	differences, err := lasting(ctx, func() ([]string, error) {
		if err := s.Host.move(at, nil); err != nil {
			return nil, err
		}
		if m.Layout.New != m.Layout.Bridge { // rules that name the other device stay when it goes
			if err := rules.take(s.Host.Rules, device{name: m.Layout.New}); err != nil {
				return nil, err
			}
		}
		if err := m.giveFDB(at.index); err != nil {
			return nil, err
		}
		now, err := Capture(m.Layout.Bridge)
		if err != nil {
			return nil, err
		}
		return s.Differences(now), nil
	})
	if err != nil {
		return err
	}
	return differ(append(left, differences...))
}

// linuxBridge finds the Linux bridge by either of its names, or makes it anew.
func (m *Migration) linuxBridge() (netlink.Link, error) {
	for _, name := range []string{m.Layout.Bridge, m.Layout.Parked} {
		link, err := netlink.LinkByName(name)
		if err == nil && link.Type() == "bridge" {
			return link, nil
		}
		if err != nil && !missing(err) {
			return nil, wrap(err, "device %s", name)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = m.Layout.Parked
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return nil, wrap(err, "making the Linux bridge %s", attrs.Name)
	}
	return linkNamed(attrs.Name)
}

// leave takes the bridge and the ports from Open vSwitch's database, and returns the configuration number. Who has joined since is in
// the journal by then: the database has no more of them afterwards.
func (m *Migration) leave(ctx context.Context) (next int, err error) {
	snap, err := m.conn.Observe(ctx)
	if err != nil {
		return 0, err
	}
	bridge := m.Layout.in(snap)
	if bridge == nil {
		return m.conn.RemoveBridge(ctx, "", nil, m.comment)
	}
	known := len(m.Guests)
	for _, p := range bridge.Ports {
		g := Guest{Name: p.Name}
		if p.Tag != nil {
			g.Tag = *p.Tag
		}
		if m.State.port(p.Name) == nil && len(p.Interfaces) == 1 && p.Interfaces[0].Type == "" && !slices.Contains(m.Guests, g) {
			m.Guests = append(m.Guests, g)
		}
	}
	if len(m.Guests) > known {
		_ = m.folder.Write(m.Journal) // what cannot be written is no reason not to go back
	}
	return m.conn.RemoveBridge(ctx, m.Layout.New, m.Layout.portNames(), m.comment) // a port may be on a tap bridge
}

// comeHome gives the host's addresses and routes to the Linux bridge, whatever it is called, while ovs-vswitchd may still have
// its device.
func (m *Migration) comeHome(bridge netlink.Link) error {
	if !m.State.Bridge.Up {
		return nil
	}
	to := device{bridge.Attrs().Name, bridge.Attrs().Index}
	link, err := netlink.LinkByName(m.Layout.New)
	if err != nil || link.Type() == "bridge" {
		return m.State.Host.moveAddresses(to, nil)
	}
	return m.State.Host.moveAddresses(to, &device{m.Layout.New, link.Attrs().Index})
}
