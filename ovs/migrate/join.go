package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// join gives the Linux bridge its ports and settings back, and those that have joined since: of these it tells which could not.
// One that does not come keeps no other away.
func (m *Migration) join(ctx context.Context, bridge netlink.Link) (left []string, err error) {
	master := bridge.Attrs().Index
	infos, err := linkInfos()
	if err != nil {
		return nil, err
	}
	have, err := bridgeSettings.read(infos[master].data)
	if err == nil {
		err = bridgeSettings.change(master, m.State.Settings, have)
	}
	if err != nil {
		return nil, wrap(err, "bridge %s", bridge.Attrs().Name)
	}
	if m.State.Bridge.Up && !isUp(bridge) {
		// What it refuses without ports, as an MTU that follows them, dress gives it later.
		_ = m.State.Host.ready(bridge, true)
	}
	var problems []error
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
			problems = append(problems, wrap(err, "port %s", name))
			continue
		}
		joined = append(joined, link)
	}
	if err := m.State.dressPorts(joined); err != nil {
		problems = append(problems, err)
	}
	for _, g := range m.Guests {
		link, err := netlink.LinkByName(g.Name)
		if missing(err) {
			continue
		}
		if err == nil {
			err = enslave(ctx, link, master)
		}
		if err == nil && m.State.filtering() && g.Tag != 0 {
			err = netlink.BridgeVlanAdd(link, uint16(g.Tag), true, true, false, true)
		}
		if err != nil {
			left = append(left, fmt.Sprintf("port %s, which has joined since, is not: %v", g.Name, err))
		}
	}
	vlans, err := vlansOf()
	if err == nil {
		err = wrap(giveVLANs(bridge, m.State.VLANs, vlans[master], true), "VLANs of %s", bridge.Attrs().Name)
	}
	return left, errors.Join(append(problems, err)...)
}

// enslave makes a device a port of the Linux bridge, as soon as the kernel's datapath has let it go: while that is its
// master, from which it cannot be taken so, the kernel answers EOPNOTSUPP (do_set_master in its net/core/rtnetlink.c). The
// userspace datapath takes longer to let go and hinders nobody: for that moment a frame may be forwarded by both, and
// nothing goes round.
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
	var problems []error
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
		problems = append(problems, wrap(err, "port %s", now.Name))
	}
	return errors.Join(problems...)
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
