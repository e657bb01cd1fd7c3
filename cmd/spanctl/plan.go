package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy"
	"spanctl/policy/plan"
)

func planCommand(a *app) *cobra.Command {
	var files []string
	var prune, detailed bool
	var out string
	cmd := &cobra.Command{
		Use:   "plan [-f FILE]... [--out FILE]",
		Short: "Show what apply would change, and why",
		Long: `Show what apply would change: + for rows and OpenFlow rules that are made, ~ for
those that are changed, - for those that are removed, with their reasons and
tiers. Nothing is changed. Without -f the plan is for the stored sessions. With --out the plan is
also kept in a file, and "apply FILE" does just that, or nothing.`,
		Example: "  spanctl plan -f policy.yaml\n  spanctl plan -f policy.yaml --detailed-exitcode\n  spanctl plan -f policy.yaml --out change.plan && spanctl apply change.plan",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := request{prune: prune}
			if err := r.load(cmd.Context(), a, files); err != nil {
				return err
			}
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				p, err := a.preview(ctx, conn, r.planner(ctx, conn))
				if err == nil && out != "" {
					err = r.save(p, out)
				}
				if err == nil && detailed && !p.Empty() {
					return errPending
				}
				return err
			})
		},
	}
	fileFlag(cmd, &files, "policies to plan for")
	cmd.Flags().BoolVar(&prune, "prune", false, "plan the removal of stored sessions that the files do not name")
	cmd.Flags().StringVar(&out, "out", "", "keep the plan in this file, for apply")
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 2 if there are changes")
	return cmd
}

// A request is what plan and apply ask for: sessions to put into the stored
// intent.
type request struct {
	sessions map[string]*policy.Session // nil: the stored ones as they are
	prune    bool
	// left tells of the plan that was made last that its sessions are left to the host's agent, which alone can do it.
	left bool
}

// load reads the request's sessions from files, if there are any.
func (r *request) load(ctx context.Context, a *app, files []string) error {
	if len(files) == 0 {
		if r.prune {
			return errPruneAlone
		}
		return nil
	}
	var err error
	r.sessions, err = a.loadPolicies(ctx, files)
	return err
}

func (r *request) names() []string { return slices.Sorted(maps.Keys(r.sessions)) }

// planner makes plans for the request.
func (r *request) planner(ctx context.Context, conn *ovs.Conn) ovs.Planner {
	return func(snap *plan.Snapshot) (*plan.Plan, error) {
		intent := plan.StoredIntent(snap)
		if r.prune {
			maps.DeleteFunc(intent, func(name string, _ plan.Wanted) bool { return r.sessions[name] == nil })
		}
		for name, session := range r.sessions {
			if err := intent.Put(name, session); err != nil {
				return nil, err
			}
		}
		p := makePlan(ctx, conn, snap, intent)
		err := p.Refused(r.names())
		var refusals plan.Refusals
		if r.left = errors.As(err, &refusals) && refusals.Host() && snap.Agent.Alive(time.Now()) && snap.Agent.Rules; r.left {
			p, err = p.Intent(), nil
			p.Warnings = append(p.Warnings, "the agent "+snap.Agent.String()+" does the rest: rules are made on the host alone")
		}
		return p, err
	}
}

// makePlan plans for an intent on a snapshot, with the routes of its tunnels.
func makePlan(ctx context.Context, conn *ovs.Conn, snap *plan.Snapshot, intent plan.Intent) *plan.Plan {
	conn.LookAtHost(ctx, snap, intent)
	return plan.Make(snap, intent, time.Now())
}

// stored plans for the intent as it is stored.
func stored(ctx context.Context, conn *ovs.Conn, snap *plan.Snapshot) *plan.Plan {
	return makePlan(ctx, conn, snap, plan.StoredIntent(snap))
}

// preview shows what planner plans, and changes nothing.
func (a *app) preview(ctx context.Context, conn *ovs.Conn, planner ovs.Planner) (*plan.Plan, error) {
	snap, err := conn.Observe(ctx)
	if err != nil {
		return nil, err
	}
	p, err := planner(snap)
	if err != nil {
		return nil, err
	}
	return p, a.view().plan(p)
}
