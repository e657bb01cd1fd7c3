package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// errUnknownMirror indicates that there is no foreign mirror of that name.
var errUnknownMirror = errors.New("no such foreign mirror")

func importCommand(a *app) *cobra.Command {
	var bridge, session string
	var adopt, dryRun, noWait bool
	cmd := &cobra.Command{
		Use:   "import [MIRROR]... [--adopt]",
		Short: "Print foreign mirrors as a policy, or adopt them",
		Long: `Print mirrors that somebody else made as a policy that copies the same; all of
them if none is named. MIRROR is a name or a UUID. Nothing is changed.

With --adopt the mirrors become spanctl's as they are: their rows are marked and
named, and the sessions are stored, in one transaction; what is copied does not
change. A mirror that its session would change is refused, with exit code 4.`,
		Example: "  spanctl import > policy.yaml\n  spanctl import m0 --adopt --session audit",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if session != "" && (len(names) != 1 || !policy.ValidSessionName(session)) {
				return fmt.Errorf("%w: --session is the name of one mirror's session: name one mirror, and use a-z, 0-9 and -", errUsage)
			}
			if !adopt && (dryRun || noWait) {
				return fmt.Errorf("%w: --dry-run and --no-wait go with --adopt", errUsage)
			}
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				if !adopt {
					snap, err := conn.Observe(ctx)
					if err != nil {
						return err
					}
					imports, err := chooseMirrors(snap, names, bridge, session)
					if err != nil {
						return err
					}
					return a.view().imports(imports)
				}
				var adopted []string
				planner := func(snap *plan.Snapshot) (*plan.Plan, error) {
					imports, err := chooseMirrors(snap, names, bridge, session)
					if err != nil {
						return nil, err
					}
					adopted = nil
					for i := range imports {
						adopted = append(adopted, imports[i].Name)
					}
					conn.LookAtHost(ctx, snap, plan.StoredIntent(snap))
					return plan.Adopt(snap, imports, time.Now())
				}
				if dryRun {
					_, err := a.preview(ctx, conn, planner)
					return err
				}
				return a.carryOut(ctx, conn, change{planner: planner, verb: "import", concerns: func(name string) bool { return slices.Contains(adopted, name) }, noWait: noWait})
			})
		},
	}
	cmd.Flags().StringVar(&bridge, "bridge", "", "only mirrors of this bridge")
	cmd.Flags().StringVar(&session, "session", "", "what to name the session, of one mirror")
	cmd.Flags().BoolVar(&adopt, "adopt", false, "take the mirrors over as they are")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "with --adopt: show the plan and change nothing")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "with --adopt: do not wait for ovs-vswitchd")
	return cmd
}

// chooseMirrors finds the foreign mirrors that are named, all if none is.
func chooseMirrors(snap *plan.Snapshot, names []string, bridge, session string) ([]plan.Import, error) {
	imports := slices.DeleteFunc(plan.Foreign(snap), func(i plan.Import) bool { return bridge != "" && i.Bridge != bridge })
	if len(names) == 0 {
		return imports, nil
	}
	var chosen []plan.Import
	var unknown []error
	for _, name := range names {
		var found []plan.Import
		for _, i := range imports {
			if i.Mirror == name || i.UUID == name {
				found = append(found, i)
			}
		}
		switch {
		case len(found) == 0:
			unknown = append(unknown, fmt.Errorf("%w: %q; ovs-vsctl list Mirror shows all, spanctl get our own", errUnknownMirror, name))
		case len(found) > 1:
			unknown = append(unknown, fmt.Errorf("%w: %q are several: %s of bridge %s, %s of bridge %s; name one by its UUID", errUsage, name, found[0].UUID, found[0].Bridge, found[1].UUID, found[1].Bridge))
		case !slices.ContainsFunc(chosen, func(i plan.Import) bool { return i.UUID == found[0].UUID }):
			chosen = append(chosen, found[0])
		}
	}
	if session != "" && len(chosen) == 1 {
		if _, taken := snap.Intent[session]; taken {
			unknown = append(unknown, fmt.Errorf("%w: session %q is stored already; choose another name", errUsage, session))
		}
		chosen[0].Name = session
	}
	return chosen, errors.Join(unknown...)
}
