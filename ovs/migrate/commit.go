package migrate

import (
	"context"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
)

// Commit ends a migration that was confirmed: also is done, which makes it last (the host's network configuration), and the
// Linux bridge is deleted. Done again after an error, or after the death of who did it, it goes on; also must bear that.
// It is ErrUnfinished if Open vSwitch has the bridge no more: there is nothing to keep.
func (m *Migration) Commit(ctx context.Context, also func(*Journal) error) error {
	snap, err := m.conn.Observe(ctx)
	if err != nil {
		return err
	}
	if m.Layout.in(snap) == nil {
		return fmt.Errorf("%w: Open vSwitch has no bridge %s in its place: spanctl bridge revert %s", ErrUnfinished, m.Layout.New, m.Layout.Bridge)
	}
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
	link, err := linkNamed(m.Layout.Parked)
	if missing(err) || err == nil && link.Type() != "bridge" {
		return nil
	} else if err != nil {
		return err
	}
	ports, err := portsOf(m.Layout.Parked)
	if err != nil {
		return err
	}
	if len(ports) > 0 {
		return fmt.Errorf("the Linux bridge %s has ports again (%s): take them out, and confirm again", m.Layout.Parked, strings.Join(ports, ", "))
	}
	return wrap(netlink.LinkDel(link), "deleting the Linux bridge %s", m.Layout.Parked)
}
