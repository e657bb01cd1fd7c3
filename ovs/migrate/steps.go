package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanctl/policy/plan"
)

// A Step is one of a migration.
type Step struct {
	Name string // in the journal
	Text string // for people
	run  func(context.Context, *Migration) error
}

// Steps are a migration's, in order. Before the step "ports" everything goes on as it did.
func Steps(l *Layout) []Step {
	var ports []string
	for i := range l.Ports {
		ports = append(ports, describe(&l.Ports[i]))
	}
	list := []Step{
		{"create", fmt.Sprintf("make bridge %s in Open vSwitch, without ports: %s", l.New, columns(l)), create},
		{"ready", fmt.Sprintf("set device %s up, with the host's sysctls", l.New), ready},
		{"ports", fmt.Sprintf("let %d ports change over, in one transaction: %s", len(ports), strings.Join(ports, ", ")), changeOver},
		{"host", fmt.Sprintf("let the host's addresses, routes, neighbours and rules change over to device %s", l.New), moveHost},
		{"verify", "wait for ovs-vswitchd, and compare what is there with what was", verify},
	}
	if l.Parked == l.Bridge {
		return list
	}
	park := Step{"park", fmt.Sprintf("rename the Linux bridge %s to %s; it goes on forwarding", l.Bridge, l.Parked), park}
	return append([]Step{park}, list...)
}

// columns are those of the new bridge, for people.
func columns(l *Layout) string {
	parts := []string{fmt.Sprintf("MTU %d", l.Row.Ports[0].MTU)}
	if l.Row.Datapath != "" {
		parts = append(parts, "datapath "+l.Row.Datapath)
	}
	for key, value := range l.Row.OtherConfig {
		parts = append(parts, key+" "+value)
	}
	if l.Row.STP {
		parts = append(parts, "STP")
	}
	if l.Row.McastSnooping {
		parts = append(parts, "multicast snooping")
	}
	if own := &l.Row.Ports[0]; own.VLANMode != "" {
		parts = append(parts, "the host "+strings.TrimPrefix(describe(own), own.Name+" "))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// park puts the Linux bridge aside.
func park(ctx context.Context, m *Migration) error {
	link, err := linkNamed(m.Layout.Bridge)
	if err != nil {
		return err
	}
	return m.rename(ctx, link, m.Layout.Parked)
}

// rename gives the Linux bridge another name. Linux before 6.2 renames no device that is up: there it is set down for a
// moment, and what the kernel takes from it then is given back.
func (m *Migration) rename(ctx context.Context, link netlink.Link, name string) error {
	err := netlink.LinkSetName(link, name)
	if !errors.Is(err, unix.EBUSY) {
		return wrap(err, "renaming %s to %s", link.Attrs().Name, name)
	}
	begun := time.Now()
	if err := netlink.LinkSetDown(link); err != nil {
		return wrap(err, "setting %s down", link.Attrs().Name)
	}
	if err := netlink.LinkSetName(link, name); err != nil {
		_ = netlink.LinkSetUp(link) // the error matters more
		return wrap(err, "renaming %s to %s", link.Attrs().Name, name)
	}
	to := device{name, link.Attrs().Index}
	if link, err = linkNamed(name); err != nil {
		return err
	}
	h := m.State.Host
	up := h.ready(link, true)
	_, moved := lasting(ctx, func() ([]string, error) { return nil, h.moveAddresses(to, nil) })
	m.Gap += time.Since(begun)
	return errors.Join(up, moved, h.moveNeighbours(to), h.done(to))
}

// create makes the bridge without ports, and waits for its device.
func create(ctx context.Context, m *Migration) error {
	next, err := m.conn.AddBridge(ctx, m.Layout.Row, m.comment)
	if err != nil {
		return err
	}
	return m.conn.WaitForConfig(ctx, next)
}

// ready makes the new device ready for the host.
func ready(_ context.Context, m *Migration) error {
	link, err := linkNamed(m.Layout.New)
	if err != nil {
		return fmt.Errorf("%w; ovs-vswitchd's log tells why it could not make it", err)
	}
	return m.State.dress(link)
}

// dress gives a device what the bridge had as a device, and makes it ready for the host.
func (s *State) dress(link netlink.Link) error {
	b := &s.Bridge
	now := linkOf(link)
	var problems []error
	if now.MTU != b.MTU {
		problems = append(problems, wrap(netlink.LinkSetMTU(link, b.MTU), "setting the MTU of %s", now.Name))
	}
	if now.TxQueue != b.TxQueue {
		problems = append(problems, wrap(netlink.LinkSetTxQLen(link, b.TxQueue), "setting the queue of %s", now.Name))
	}
	if now.Alias != b.Alias {
		problems = append(problems, wrap(netlink.LinkSetAlias(link, b.Alias), "setting the alias of %s", now.Name))
	}
	if b.Promisc && !now.Promisc {
		problems = append(problems, wrap(netlink.SetPromiscOn(link), "setting %s promiscuous", now.Name))
	}
	if b.AllMulti && !now.AllMulti {
		problems = append(problems, wrap(netlink.LinkSetAllmulticastOn(link), "setting %s to all multicast", now.Name))
	}
	return errors.Join(append(problems, s.Host.ready(link, b.Up))...)
}

// changeOver takes the ports from the Linux bridge and gives them to the other one. It does not wait until that has them.
func changeOver(ctx context.Context, m *Migration) error {
	if _, err := m.conn.Observe(ctx); err != nil { // what follows must not wait
		return err
	}
	if m.Layout.Row.Datapath == "netdev" {
		for i := range m.State.Ports {
			if err := setSysctls(m.State.Ports[i].Name, quiet); err != nil {
				return err
			}
		}
	}
	m.cut = time.Now()
	for i := range m.State.Ports {
		p := &m.State.Ports[i]
		link, err := netlink.LinkByName(p.Name)
		if err == nil {
			err = netlink.LinkSetNoMaster(link)
		}
		if err != nil {
			return wrap(err, "taking port %s from the Linux bridge", p.Name)
		}
	}
	var err error
	m.nextCfg, err = m.conn.AddPorts(ctx, m.Layout.New, m.Layout.Ports, m.comment)
	return err
}

// moveHost lets the host change over.
func moveHost(ctx context.Context, m *Migration) error {
	from, err := linkNamed(m.Layout.Parked)
	if err != nil {
		return err
	}
	to, err := linkNamed(m.Layout.New)
	if err != nil {
		return err
	}
	_, err = lasting(ctx, func() ([]string, error) {
		return nil, m.State.Host.move(device{m.Layout.New, to.Attrs().Index}, &device{m.Layout.Parked, from.Attrs().Index})
	})
	return err
}

// verify waits until the ports forward again, and compares.
func verify(ctx context.Context, m *Migration) error {
	if err := m.conn.WaitForConfig(ctx, m.nextCfg); err != nil {
		return err
	}
	m.Gap += time.Since(m.cut)
	snap, err := m.conn.Observe(ctx)
	if err != nil {
		return err
	}
	list := m.Layout.lacks(snap)
	left, err := portsOf(m.Layout.Parked)
	if err != nil {
		return err
	}
	for _, name := range left { // it would be without the others
		list = append(list, fmt.Sprintf("port %s has joined the Linux bridge meanwhile: try again", name))
	}
	link, err := linkNamed(m.Layout.New)
	if err != nil {
		return err
	}
	now, then := linkOf(link), &m.State.Bridge
	if now.MAC != then.MAC && then.MAC != "" || now.MTU != then.MTU || now.Up != then.Up {
		list = append(list, fmt.Sprintf("device %s has MAC %s, MTU %d, up %t, not MAC %s, MTU %d, up %t",
			now.Name, now.MAC, now.MTU, now.Up, then.MAC, then.MTU, then.Up))
	}
	if len(list) > 0 {
		return differ(list)
	}
	at := device{now.Name, now.Index}
	list, err = lasting(ctx, func() ([]string, error) {
		have, err := captureHost(at)
		if err != nil {
			return nil, err
		}
		differences := m.State.Host.Differences(have)
		if len(differences) > 0 {
			err = m.State.Host.move(at, nil)
		}
		return differences, err
	})
	if err != nil {
		return err
	}
	return differ(list)
}

// portsOf are the ports of a Linux bridge.
func portsOf(bridge string) ([]string, error) {
	master, err := linkNamed(bridge)
	if err != nil {
		return nil, err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("reading network devices: %w", err)
	}
	var names []string
	for _, link := range links {
		if link.Attrs().MasterIndex == master.Attrs().Index {
			names = append(names, link.Attrs().Name)
		}
	}
	return names, nil
}

// lacks says which ports Open vSwitch did not take.
func (l *Layout) lacks(snap *plan.Snapshot) []string {
	var list []string
	at := slices.IndexFunc(snap.Bridges, func(b plan.Bridge) bool { return b.Name == l.New })
	if at < 0 {
		return []string{"bridge " + l.New + " is gone"}
	}
	for _, name := range append(l.portNames(), l.New) {
		p := snap.Bridges[at].Port(name)
		switch {
		case p == nil || len(p.Interfaces) != 1:
			list = append(list, "port "+name+" is gone")
		case p.Interfaces[0].Error != "" || p.Interfaces[0].OFPort < 0:
			list = append(list, fmt.Sprintf("Open vSwitch did not take port %s: %s", name, p.Interfaces[0].Error))
		}
	}
	return list
}

// wrap says of what an error is; nil stays nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
