package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spanctl/policy/plan"
)

// Restore puts everything back, from wherever it begins, and says why in the journal. It can be done again after an error.
func (m *Migration) Restore(ctx context.Context, reason string) error {
	if m.Phase == Confirmed { // it may be long ago: what the host has now is what counts
		link, err := linkNamed(m.Layout.New)
		if err != nil {
			return err
		}
		if m.State.Host, err = captureHost(device{m.Layout.New, link.Attrs().Index}); err != nil {
			return err
		}
	}
	m.Phase, m.Step, m.Reason, m.BootID = Reverting, "", reason, bootID() // it may have lasted over boots
	if err := m.folder.Write(m.Journal); err != nil {
		return err
	}
	if err := m.restore(ctx); err != nil {
		return fmt.Errorf("putting %s back: %w", m.Layout.Bridge, err)
	}
	m.Phase = Reverted
	return m.folder.Write(m.Journal)
}

func (m *Migration) restore(ctx context.Context) error {
	bridge, err := m.linuxBridge()
	if err != nil {
		return err
	}
	begun := time.Now()
	next, guests, err := m.leave(ctx)
	if err != nil { // who is not asked still has the ports
		return err
	}
	if err := m.join(ctx, bridge, guests); err != nil {
		return err
	}
	m.Gap = time.Since(begun)
	if err := m.comeHome(bridge); err != nil {
		return err
	}
	if next != 0 {
		err = m.conn.WaitForConfig(ctx, next)
	}
	if bridge.Attrs().Name != m.Layout.Bridge {
		if renamed := m.rename(bridge, m.Layout.Bridge); renamed != nil { // ovs-vswitchd's device still has the name
			return errors.Join(renamed, err)
		}
	}
	if bridge, err = linkNamed(m.Layout.Bridge); err != nil {
		return err
	}
	s := m.State
	if mac := bridge.Attrs().HardwareAddr; mac.String() != s.Bridge.MAC && s.Bridge.MAC != "" { // it follows its ports unless it was given one
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
	if err := s.Host.move(at, nil); err != nil {
		return err
	}
	if m.Layout.New != m.Layout.Bridge { // rules that name the other device stay when it goes
		if err := rules.take(s.Host.Rules, device{name: m.Layout.New}); err != nil {
			return err
		}
	}
	if err := m.giveFDB(at.index); err != nil {
		return err
	}
	now, err := Capture(m.Layout.Bridge)
	if err != nil {
		return err
	}
	return differ(s.Differences(now))
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

// leave takes the bridge and the ports from Open vSwitch's database. It returns the configuration number, 0 if nothing was
// there, and the ports that have joined since.
func (m *Migration) leave(ctx context.Context) (next int, guests []plan.Port, err error) {
	snap, err := m.conn.Observe(ctx)
	if err != nil {
		return 0, nil, err
	}
	bridge := ""
	for i := range snap.Bridges {
		b := &snap.Bridges[i]
		if b.Name != m.Layout.New || b.ExternalIDs[KeyReplaces] != m.Layout.Bridge {
			continue // another one's, of that name
		}
		bridge = b.Name
		for _, p := range b.Ports {
			if m.State.port(p.Name) == nil && len(p.Interfaces) == 1 && p.Interfaces[0].Type == "" {
				guests = append(guests, p)
			}
		}
	}
	var ports []string
	if bridge != "" {
		ports = m.Layout.portNames() // one may be on a tap bridge
	}
	next, err = m.conn.RemoveBridge(ctx, bridge, ports, m.comment)
	return next, guests, err
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

// join gives the Linux bridge its ports and settings back, and those that have joined since.
func (m *Migration) join(ctx context.Context, bridge netlink.Link, guests []plan.Port) error {
	master := bridge.Attrs().Index
	infos, err := linkInfos()
	if err != nil {
		return err
	}
	have, err := bridgeSettings.read(infos[master].data)
	if err == nil {
		err = bridgeSettings.change(master, m.State.Settings, have)
	}
	if err != nil {
		return wrap(err, "bridge %s", bridge.Attrs().Name)
	}
	if m.State.Bridge.Up && !isUp(bridge) {
		if err := m.State.Host.ready(bridge, true); err != nil {
			return err
		}
	}
	var joined []netlink.Link
	for i := range m.State.Ports {
		name := m.State.Ports[i].Name
		link, err := netlink.LinkByName(name)
		if missing(err) {
			continue // a guest that has ended meanwhile
		}
		if err == nil && link.Attrs().MasterIndex != master {
			err = enslave(ctx, link, master)
		}
		if err != nil {
			return wrap(err, "port %s", name)
		}
		joined = append(joined, link)
	}
	if err := m.State.dressPorts(joined); err != nil {
		return err
	}
	for i := range guests {
		link, err := netlink.LinkByName(guests[i].Name)
		if missing(err) {
			continue
		}
		if err == nil {
			err = enslave(ctx, link, master)
		}
		if tag := guests[i].Tag; err == nil && m.State.filtering() && tag != nil {
			err = netlink.BridgeVlanAdd(link, uint16(*tag), true, true, false, true)
		}
		if err != nil {
			return wrap(err, "port %s, which has joined since", guests[i].Name)
		}
	}
	vlans, err := vlansOf()
	if err != nil {
		return err
	}
	return wrap(giveVLANs(bridge, m.State.VLANs, vlans[master], true), "VLANs of %s", bridge.Attrs().Name)
}

// enslave makes a device a port of the Linux bridge, as soon as the kernel's datapath has let it go: while that is its master, from
// which it cannot be taken so, the kernel answers EOPNOTSUPP (do_set_master in its net/core/rtnetlink.c). The userspace datapath
// takes longer to let go and hinders nobody: for that moment a frame may be forwarded by both, and nothing goes round.
func enslave(ctx context.Context, link netlink.Link, master int) error {
	const most = 10 * time.Second
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(most); ; {
		err := netlink.LinkSetMasterByIndex(link, master)
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EOPNOTSUPP) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// dressPorts gives ports their settings, VLANs and state back.
func (s *State) dressPorts(links []netlink.Link) error {
	infos, err := linkInfos()
	if err != nil {
		return err
	}
	vlans, err := vlansOf()
	if err != nil {
		return err
	}
	for _, link := range links {
		now := linkOf(link)
		p := s.port(now.Name)
		have, err := portSettings.read(infos[now.Index].port)
		if err == nil {
			err = portSettings.change(now.Index, p.Settings, have)
		}
		if err == nil && p.Up && !now.Up {
			err = netlink.LinkSetUp(link)
		}
		if err == nil && !p.Promisc && now.Promisc {
			err = netlink.SetPromiscOff(link)
		}
		if err == nil {
			err = giveVLANs(link, p.VLANs, vlans[now.Index], false)
		}
		if err == nil {
			err = setSysctls(p.Name, p.Sysctls)
		}
		if err != nil {
			return wrap(err, "port %s", now.Name)
		}
	}
	return nil
}

// giveVLANs makes a port be in these VLANs and no others; own is set for that of the bridge itself.
func giveVLANs(link netlink.Link, want, have []VLAN, own bool) error {
	for _, v := range have {
		if !slices.ContainsFunc(want, func(w VLAN) bool { return w.ID == v.ID }) {
			if err := netlink.BridgeVlanDel(link, v.ID, false, false, own, !own); err != nil {
				return wrap(err, "taking VLAN %d", v.ID)
			}
		}
	}
	for _, v := range want {
		if !slices.Contains(have, v) {
			if err := netlink.BridgeVlanAdd(link, v.ID, v.PVID, v.Untagged, own, !own); err != nil {
				return wrap(err, "giving VLAN %d", v.ID)
			}
		}
	}
	return nil
}

// giveFDB gives the entries of the forwarding database back. Those of ports that have gone go too.
func (m *Migration) giveFDB(bridge int) error {
	for i := range m.State.FDB {
		r := m.State.FDB[i].clone()
		index, err := m.indexNow(int(native.Uint32(r.Header[ndmIndex:])), bridge)
		if missing(err) {
			continue
		} else if err != nil {
			return err
		}
		native.PutUint32(r.Header[ndmIndex:], uint32(index))
		r.drop(unix.NDA_MASTER)
		r.Header[ndmFlags] |= unix.NTF_MASTER
		err = tell(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, r.message())
		if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
			return wrap(err, "forwarding entry %s", r.Text)
		}
	}
	return nil
}

// indexNow is the index that a port has by now, or the Linux bridge, which had this one when it was captured.
func (m *Migration) indexNow(index, bridge int) (int, error) {
	for i := range m.State.Ports {
		if p := &m.State.Ports[i]; p.Index == index {
			link, err := netlink.LinkByName(p.Name)
			if err != nil {
				return 0, err
			}
			return link.Attrs().Index, nil
		}
	}
	return bridge, nil
}
