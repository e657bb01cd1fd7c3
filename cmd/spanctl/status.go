package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status [SESSION]...",
		Short: "Show what is really being copied",
		Long: `Show for each session what is wanted and what is really being copied, by the
rows and counters in OVSDB and the OpenFlow rules in ovs-vswitchd. The exit code
is 7 if a present source does not reach a wanted destination, if something is
still copied that should not be, if rules are missing, or if ovs-vswitchd has not
taken the configuration in. What only an agent can know is unknown.

A mirror that is seconds old has no counters yet: status then waits for them, up
to six seconds, within --timeout.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				snap, err := conn.Observe(ctx)
				if err != nil {
					return err
				}
				if err := restrict(plan.StoredIntent(snap), names); err != nil {
					return err
				}
				inForce := conn.InForce(ctx, snap)
				if inForce != nil && !errors.Is(inForce, ovs.ErrNotInForce) {
					return inForce
				}
				readings, err := conn.Statistics(ctx, snap)
				if err != nil {
					return err
				}
				if snap, err = conn.Observe(ctx); err != nil { // that may have taken seconds
					return err
				}
				p := stored(ctx, conn, snap)
				health := plan.Assess(p, readings)
				if len(names) > 0 {
					health = slices.DeleteFunc(health, func(h plan.Health) bool { return !slices.Contains(names, h.Outcome.Name) })
				}
				if err := a.view().status(health); err != nil {
					return err
				}
				var missing []string
				for i := range health {
					if health[i].Missing {
						missing = append(missing, health[i].Outcome.Name)
					}
				}
				if inForce != nil {
					return inForce
				}
				if left := p.Leftovers(); len(left) > 0 && len(names) == 0 {
					return fmt.Errorf("%w: mirror %s copies for no stored session: run spanctl apply", errDegraded, left[0].Name)
				}
				if len(missing) > 0 {
					return fmt.Errorf("%w: session %s: something present is not copied as wanted", errDegraded, strings.Join(missing, ", "))
				}
				return nil
			})
		},
	}
}
