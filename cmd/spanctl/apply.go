package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
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
		Use:   "apply [-f FILE]... | apply PLAN",
		Short: "Put policies in force",
		Long: `Put the sessions of policy files in force and store them in OVSDB, in one
transaction; OpenFlow rules, where they are needed, are made before it. Sessions
that the files do not name stay as they are. Without -f the stored sessions are
put in force again: what others have changed or deleted is mended, rules that a
crash of ovs-vswitchd took away are made anew, sessions that have expired end.
PLAN is a file that plan --out wrote: if something else would be done by now it is
refused, with exit code 6.

Apply then waits until ovs-vswitchd has taken the change in, and reports what is
really being copied.`,
		Example: "  spanctl apply -f policy.yaml\n  generate-policy | spanctl apply -f - --prune\n  spanctl apply",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &request{prune: prune}
			var file *planFile
			var err error
			if len(args) == 0 {
				err = r.load(cmd.Context(), a, files)
			} else if len(files) > 0 || prune {
				err = fmt.Errorf("%w: %s is a plan, and says what to do by itself: leave -f and --prune out, or write -f %s if it is a policy", errUsage, args[0], args[0])
			} else {
				file, r, err = loadPlan(args[0])
			}
			if err != nil {
				return err
			}
			return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error {
				planner := r.planner(ctx, conn)
				if file != nil {
					planner = file.planner(ctx, conn, r)
				}
				if dryRun {
					_, err := a.preview(ctx, conn, planner)
					return err
				}
				concerns := func(name string) bool { return r.sessions == nil || r.sessions[name] != nil }
				return a.carryOut(ctx, conn, change{planner: planner, verb: "apply", concerns: concerns, left: func() bool { return r.left }, noWait: noWait})
			})
		},
	}
	fileFlag(cmd, &files, "policies to apply")
	cmd.Flags().BoolVar(&prune, "prune", false, "delete stored sessions that the files do not name")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show the plan and change nothing")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for ovs-vswitchd")
	return cmd
}

// A change is what a command wants carried out.
type change struct {
	planner ovs.Planner
	verb    string
	// concerns tells which sessions must copy when it is done.
	concerns func(session string) bool
	// left tells, when it is applied, whether the rest is the agent's; nil is no.
	left   func() bool
	noWait bool
}

// carryOut applies what is planned, waits until it is in force unless told not
// to, and shows what was done and what came of it. It fails if a session that
// the change concerns does not copy what it should.
func (a *app) carryOut(ctx context.Context, conn *ovs.Conn, c change) error {
	applied, err := conn.Apply(ctx, c.planner, comment(c.verb))
	if err != nil {
		return err
	}
	if c.noWait {
		return a.view().applied(applied, nil)
	}
	if err := conn.WaitInForce(ctx, applied); err != nil {
		_ = a.view().applied(applied, nil) // the error that follows matters more
		return err
	}
	if c.left != nil && c.left() {
		return a.awaitAgent(ctx, conn, applied, c.concerns)
	}
	snap, err := a.tidy(ctx, conn, applied, c.verb)
	if err != nil {
		_ = a.view().applied(applied, nil)
		return fmt.Errorf("%w: %w", ovs.ErrNotInForce, err)
	}
	health := plan.Assess(stored(ctx, conn, snap), nil)
	if err := a.view().applied(applied, health); err != nil {
		return err
	}
	return degraded(health, c.concerns)
}

// awaitAgent waits until the agent has said what became of the sessions, and shows that.
func (a *app) awaitAgent(ctx context.Context, conn *ovs.Conn, applied *ovs.Applied, concerns func(string) bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		snap, err := conn.Observe(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", ovs.ErrNotInForce, err)
		}
		awaited := ""
		for name, raw := range snap.Intent {
			if concerns(name) && !plan.ParseReport(snap.Reports[name]).About(raw) {
				awaited = name
			}
		}
		if awaited == "" {
			health := plan.Assess(stored(ctx, conn, snap), nil)
			if err := a.view().applied(applied, health); err != nil {
				return err
			}
			return degraded(health, concerns)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = a.view().applied(applied, nil)
			return fmt.Errorf("%w: session %s is stored, and the agent %s has not put it in force in time; spanctl status tells when it has", ovs.ErrNotInForce, awaited, snap.Agent)
		}
	}
}

// degraded is errDegraded if a session that concerns is not copied as it should be.
func degraded(health []plan.Health, concerns func(string) bool) error {
	for i := range health {
		if h := &health[i]; h.Missing && h.State != plan.StateWaiting && concerns(h.Outcome.Name) {
			return fmt.Errorf("%w: session %s: %s", errDegraded, h.Outcome.Name, problems(h))
		}
	}
	return nil
}

// tidy removes what the change has made superfluous, now that it is in force,
// adds it to what was applied, and returns what is there then.
func (a *app) tidy(ctx context.Context, conn *ovs.Conn, applied *ovs.Applied, verb string) (*plan.Snapshot, error) {
	tidied, err := conn.Apply(ctx, func(snap *plan.Snapshot) (*plan.Plan, error) {
		p := stored(ctx, conn, snap)
		if snap.Local {
			p = p.Tidy()
		} // else ovs-vswitchd may have told by now how a new tunnel leaves
		return p, nil
	}, comment(verb))
	switch {
	case errors.Is(err, ovs.ErrConflict): // the next apply removes it
		a.log.Warn("an inert port is left", "error", err)
	case err != nil:
		return nil, err
	case tidied.Committed:
		applied.Plan.Changes = append(applied.Plan.Changes, tidied.Plan.Changes...)
		if err := conn.WaitInForce(ctx, tidied); err != nil {
			return nil, err
		}
	}
	return conn.Observe(ctx)
}

func problems(h *plan.Health) string {
	if len(h.Problems) == 0 {
		return h.Outcome.Reason
	}
	return strings.Join(h.Problems, "; ")
}

// comment is what a transaction leaves in the database's log: who did what. Apply adds
// why.
func comment(verb string) string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return ovs.Trail{Verb: verb, By: name + "@" + host, PID: os.Getpid()}.String()
}
