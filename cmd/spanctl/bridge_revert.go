package main

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/ovs/migrate"
)

func bridgeRevertCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "revert BRIDGE",
		Short: "Put a Linux bridge back",
		Long: `Put a Linux bridge back in the place of the bridge of Open vSwitch that replaced
it, confirmed or not: as it was captured, with the addresses and routes that the
host has by now. Guests that have joined since join it too. So are the host's
configuration files, which were changed: as they were, byte for byte. The bridge of Open
vSwitch goes, with mirrors that are on it: end sessions before (spanctl delete).`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder, journal, err := a.journalOf(args[0])
			switch {
			case err != nil:
				return err
			case journal.Stale():
				return stale(journal)
			case journal.Phase == migrate.Reverted:
				return fmt.Errorf("%w: it was put back: %s", migrate.ErrNoMigration, journal.Reason)
			}
			dialing, cancel := context.WithTimeout(cmd.Context(), a.settings.GetDuration("timeout"))
			defer cancel()
			conn, err := a.dial(dialing)
			if err != nil {
				return err
			}
			defer conn.Close()
			signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
			if err := a.revert(context.WithoutCancel(cmd.Context()), folder, conn, "asked for", true); err != nil {
				return err
			}
			if journal, err = folder.Read(); err != nil {
				return err
			}
			return a.view().bridgeDone(journal)
		},
	}
}

// revert puts a migration back that is not yet; one that was confirmed only if that is meant too.
func (a *app) revert(ctx context.Context, folder *migrate.Folder, conn *ovs.Conn, reason string, confirmedToo bool) error {
	ctx, cancel := context.WithTimeout(ctx, migrate.Limit)
	defer cancel()
	lock, err := folder.Act(ctx)
	if err != nil {
		return err
	}
	defer lock.Release()
	journal, err := folder.Read()
	if err != nil || journal.Phase == migrate.Reverted {
		return err
	}
	if !confirmedToo && (journal.Phase == migrate.Confirmed || journal.Phase == migrate.Confirming) {
		return nil // somebody has, elsewhere
	}
	// One that was confirmed has none any more; this may be killed too.
	if err := a.startWatchdog(ctx, journal.Layout.Bridge, folder); err != nil {
		return err
	}
	return a.putBack(ctx, migrate.Resume(folder, journal, conn, comment("bridge revert")), reason)
}
