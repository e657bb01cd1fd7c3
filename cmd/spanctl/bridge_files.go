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
			"\n  --runtime-only migrates the running host alone, and leaves that to you"})
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

// putBack puts the host's configuration files back, if they were changed, and the running host.
func (a *app) putBack(ctx context.Context, m *migrate.Migration, reason string) error {
	err := persist.Restore(m.Root, a.keptFiles(m.Layout.Bridge))
	if err != nil && !errors.Is(err, persist.ErrNoBackup) {
		return fmt.Errorf("putting the host's configuration back: %w", err)
	}
	if err := m.Restore(ctx, reason); err != nil {
		return err
	}
	return persist.Unguard(m.Root, m.Layout.New)
}
