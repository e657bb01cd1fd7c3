package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"spanctl/ovs/migrate"
	"spanctl/ovs/migrate/persist"
)

// inspectFiles says how the host's configuration files must be changed, and what stands against that.
func (a *app) inspectFiles(b *bridgeInfo) error {
	files, err := persist.Plan(a.settings.GetString(keyRoot), lasting(b.layout))
	var byHand *persist.ByHandError
	switch {
	case errors.As(err, &byHand), errors.Is(err, persist.ErrNotStarted), errors.Is(err, persist.ErrForgets):
		b.findings = append(b.findings, migrate.Finding{Refused: true, Text: err.Error() +
			"\n  --runtime-only migrates the running host alone, until the next boot"})
		return nil
	case err != nil:
		return err
	}
	b.files = &files
	return nil
}

// lasting is what a migrated bridge must be after a boot.
func lasting(l *migrate.Layout) persist.Layout {
	as := persist.Layout{Bridge: l.Bridge, New: l.New, MAC: l.Row.OtherConfig["hwaddr"]}
	if len(l.Row.Ports) > 0 {
		as.MTU = l.Row.Ports[0].MTU
	}
	for i := range l.Ports {
		p := persist.Port{Name: l.Ports[i].Name, Tag: l.Ports[i].Tag, Trunks: l.Ports[i].Trunks}
		if mode := l.Ports[i].VLANMode; mode != "" {
			p.Options = append(p.Options, "vlan_mode="+mode)
		}
		as.Ports = append(as.Ports, p)
	}
	return as
}

// keptFiles is where the host's configuration files are kept as they were.
func (a *app) keptFiles(bridge string) string {
	return filepath.Join(a.settings.GetString(keyStateDir), bridge, "configuration")
}

// retire puts a backup aside that is of an earlier migration: whoever went back by hand from that has no use for it.
func (a *app) retire(bridge string) error {
	kept := a.keptFiles(bridge)
	err := os.Rename(kept, kept+time.Now().UTC().Format("-20060102T150405Z"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("putting an old backup aside: %w", err)
	}
	return nil
}

// makeLast changes the host's configuration files, and has the next boot make the bridge of Open vSwitch. Done again it goes
// on. A migration of the running host alone still ends with the next boot.
func (a *app) makeLast(j *migrate.Journal) error {
	if j.RuntimeOnly {
		return nil
	}
	files, err := persist.Plan(j.Root, lasting(j.Layout))
	if err == nil {
		err = files.Write(j.Root, a.keptFiles(j.Layout.Bridge))
	}
	if err == nil {
		err = persist.Unguard(j.Root, j.Layout.New)
	}
	if err != nil {
		return fmt.Errorf("changing the host's configuration: %w", err)
	}
	return nil
}

// putBack puts the host's configuration files back, if they were changed, and the running host. Nothing is done where somebody
// has written a file since. From the first change on the watchdog goes on with it after a death, and the next boot finds no
// bridge of Open vSwitch, whatever happens.
func (a *app) putBack(ctx context.Context, m *migrate.Migration, reason string) error {
	kept := a.keptFiles(m.Layout.Bridge)
	ifThere := func(err error) error {
		if err == nil || errors.Is(err, persist.ErrNoBackup) {
			return nil
		}
		return fmt.Errorf("putting the host's configuration back: %w", err)
	}
	if err := ifThere(persist.Restorable(m.Root, kept)); err != nil {
		return err
	}
	if err := m.Reverse(ctx, reason); err != nil {
		return err
	}
	guarded := persist.Guard(m.Root, m.Layout.New, m.BootID)
	files := ifThere(persist.Restore(m.Root, kept))
	err := m.Restore(ctx)
	if err != nil && !errors.Is(err, migrate.ErrDiffers) || files != nil {
		return errors.Join(guarded, files, err)
	}
	return errors.Join(err, persist.Unguard(m.Root, m.Layout.New))
}
