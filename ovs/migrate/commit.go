package migrate

import (
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
)

// Commit ends a migration that was confirmed: also is done, which makes it last (the host's network configuration), and the
// Linux bridge is deleted. Done again after an error, or after the death of who did it, it goes on; also must bear that.
func (m *Migration) Commit(also func(*Journal) error) error {
	m.Phase, m.Step = Confirming, ""
	if err := m.folder.Write(m.Journal); err != nil {
		return err
	}
	if err := also(m.Journal); err != nil {
		return err
	}
	if err := m.discard(); err != nil {
		return err
	}
	m.Phase = Confirmed
	return m.folder.Write(m.Journal)
}

// discard deletes the Linux bridge, if it is still there and nobody has given it ports.
func (m *Migration) discard() error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("reading network devices: %w", err)
	}
	at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == m.Layout.Parked && l.Type() == "bridge" })
	if at < 0 {
		return nil
	}
	index := links[at].Attrs().Index
	if slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().MasterIndex == index }) {
		return fmt.Errorf("the Linux bridge %s has ports again: take them out, and confirm again", m.Layout.Parked)
	}
	return wrap(netlink.LinkDel(links[at]), "deleting the Linux bridge %s", m.Layout.Parked)
}
