package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

// errUnknownSession indicates that a session is not stored.
var errUnknownSession = errors.New("no such session")

func deleteCommand(a *app) *cobra.Command {
	var files []string
	var all, dryRun, noWait bool
	cmd := &cobra.Command{
		Use:   "delete {SESSION... | -f FILE... | --all}",
		Short: "End sessions",
		Long: `End sessions and remove their rows, in one transaction; running connections are
no longer copied either. If one of the sessions does not exist nothing is
deleted. --all also removes rows of ours that no session owns.`,
		Example: "  spanctl delete audit\n  spanctl delete -f policy.yaml\n  spanctl delete --all",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if ways := btoi(len(names) > 0) + btoi(len(files) > 0) + btoi(all); ways != 1 {
				return fmt.Errorf("%w: name sessions, or files with -f, or --all", errUsage)
			}
			if len(files) > 0 {
				r := request{}
				if err := r.load(cmd.Context(), a, files); err != nil {
					return err
				}
				names = r.names()
			}
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				planner := func(snap *plan.Snapshot) (*plan.Plan, error) {
					intent, err := without(snap, names, all)
					if err != nil {
						return nil, err
					}
					return makePlan(ctx, conn, snap, intent), nil
				}
				if dryRun {
					_, err := a.preview(ctx, conn, planner)
					return err
				}
				return a.carryOut(ctx, conn, change{planner: planner, verb: "delete", concerns: func(string) bool { return false }, noWait: noWait})
			})
		},
	}
	fileFlag(cmd, &files, "policies whose sessions end")
	cmd.Flags().BoolVar(&all, "all", false, "end every session")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the plan and change nothing")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for ovs-vswitchd")
	return cmd
}

// without is the stored intent less the named sessions, or all.
func without(snap *plan.Snapshot, names []string, all bool) (plan.Intent, error) {
	intent := plan.StoredIntent(snap)
	if all {
		names = intent.Names()
	}
	var unknown []error
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if _, ok := intent[name]; !ok {
			unknown = append(unknown, fmt.Errorf("%w: %q; nothing was deleted, spanctl get lists the sessions", errUnknownSession, name))
		}
		delete(intent, name)
	}
	if len(unknown) > 0 {
		return nil, errors.Join(unknown...)
	}
	return intent, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
