package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/ovs/migrate"
)

func bridgeConfirmCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "confirm BRIDGE",
		Short: "Keep a migration",
		Long: `Keep a migration: the watchdog ends, the host's configuration files are changed
that it is the same after the next boot, and the Linux bridge, which was put aside,
is deleted. BRIDGE is the Linux bridge's name. What was captured of it is kept:
"spanctl bridge revert" makes it anew.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder, journal, err := a.journalOf(args[0])
			switch {
			case err != nil:
				return err
			case journal.Stale():
				return stale(journal)
			}
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				if err := a.commit(ctx, folder, conn); err != nil {
					return err
				}
				journal, err := folder.Read()
				if err != nil {
					return err
				}
				return a.view().bridgeDone(journal)
			})
		},
	}
}

// commit ends a migration that is to be confirmed. Confirming what is confirmed does nothing.
func (a *app) commit(ctx context.Context, folder *migrate.Folder, conn *ovs.Conn) error {
	lock, err := folder.Act(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	journal, err := folder.Read()
	if err != nil {
		return err
	}
	switch journal.Phase {
	case migrate.Migrated, migrate.Confirming:
		return migrate.Resume(folder, journal, conn, comment("bridge confirm")).Commit(ctx, a.makeLast)
	case migrate.Confirmed:
		return nil
	case migrate.Reverted:
		return fmt.Errorf("%w: it is reverted: %s", migrate.ErrNotConfirmed, journal.Reason)
	}
	return fmt.Errorf("%w: it is %s: %s", migrate.ErrNoMigration, journal.Phase, journal.Reason)
}
