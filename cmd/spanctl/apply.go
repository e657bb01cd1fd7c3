package main

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

var errPruneAlone = fmt.Errorf("%w: --prune needs -f: it removes what the files do not name", errUsage)

func applyCommand(a *app) *cobra.Command {
	var files []string
	var prune, dryRun, noWait bool
	cmd := &cobra.Command{
		Use:   "apply [-f FILE]...",
		Short: "Put policies in force",
		Long: `Put the sessions of policy files in force and store them in OVSDB, in one
transaction. Sessions that the files do not name stay as they are. Without -f
the stored sessions are put in force again: what others have changed or deleted
is mended, sessions that have expired end.

Apply then waits until ovs-vswitchd has taken the change in, and reports what is
really being copied.`,
		Example: "  spanctl apply -f policy.yaml\n  generate-policy | spanctl apply -f - --prune\n  spanctl apply",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := request{prune: prune}
			if err := r.load(a, files); err != nil {
				return err
			}
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				if dryRun {
					_, err := a.preview(ctx, conn, r.plan)
					return err
				}
				return a.carryOut(ctx, conn, r.plan, "apply", r.sessions != nil, noWait)
			})
		},
	}
	fileFlag(cmd, &files, "policies to apply")
	cmd.Flags().BoolVar(&prune, "prune", false, "delete stored sessions that the files do not name")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the plan and change nothing")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for ovs-vswitchd")
	return cmd
}

// carryOut applies what planner plans, waits until it is in force unless told
// not to, and shows what was done and what came of it. It fails if a session
// does not copy what it should: one that was changed if sessions were named,
// any otherwise.
func (a *app) carryOut(ctx context.Context, conn *ovs.Conn, planner ovs.Planner, verb string, named, noWait bool) error {
	start := time.Now()
	applied, err := conn.Apply(ctx, planner, comment(verb))
	if err != nil {
		return err
	}
	if noWait {
		return a.view().applied(applied, nil)
	}
	if err := conn.WaitInForce(ctx, applied); err != nil {
		_ = a.view().applied(applied, nil) // the error that follows matters more
		return err
	}
	// What the change has made superfluous goes when it is in force.
	tidied, err := conn.Apply(ctx, func(snap *plan.Snapshot) (*plan.Plan, error) {
		p, err := stored(snap)
		return p.Tidy(), err
	}, comment(verb))
	if err != nil {
		return err
	}
	if err := conn.WaitInForce(ctx, tidied); err != nil {
		return err
	}
	applied.Plan.Changes = append(applied.Plan.Changes, tidied.Plan.Changes...)
	a.log.Info("applied", "changes", len(applied.Plan.Changes), "next_cfg", applied.NextCfg, "took", time.Since(start))
	snap, err := conn.Observe(ctx)
	if err != nil {
		return err
	}
	now, err := stored(snap)
	if err != nil {
		return err
	}
	health := plan.Assess(now, nil)
	if err := a.view().applied(applied, health); err != nil {
		return err
	}
	touched := touchedSessions(applied.Plan)
	for i := range health {
		h := &health[i]
		if h.Missing && h.State != plan.StateWaiting && (!named || slices.Contains(touched, h.Outcome.Name)) {
			return fmt.Errorf("%w: session %s: %s", errDegraded, h.Outcome.Name, problems(h))
		}
	}
	return nil
}

// stored is an ovs.Planner for the intent as it is stored.
func stored(snap *plan.Snapshot) (*plan.Plan, error) {
	return plan.Make(snap, plan.StoredIntent(snap), time.Now()), nil
}

// touchedSessions lists the sessions that a plan's changes serve.
func touchedSessions(p *plan.Plan) []string {
	var names []string
	for i := range p.Changes {
		names = append(names, p.Changes[i].Sessions...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func problems(h *plan.Health) string {
	if len(h.Problems) == 0 {
		return h.Outcome.Reason
	}
	return strings.Join(h.Problems, "; ")
}

// comment is what a transaction leaves in the database's log: who did what.
func comment(verb string) string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("spanctl %s by %s@%s (pid %d)", verb, name, host, os.Getpid())
}
