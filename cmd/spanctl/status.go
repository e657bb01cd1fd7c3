package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

func statusCommand(a *app) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [SESSION]... [--watch]",
		Short: "Show what is really being copied",
		Long: `Show for each session what is wanted and what is really being copied, by the
rows and counters in OVSDB and the OpenFlow rules in ovs-vswitchd. The exit code
is 7 if a present source does not reach a wanted destination, if something is
still copied that should not be, if rules are missing, or if ovs-vswitchd has not
taken the configuration in. Since when a port is not copied, and what somebody
else keeps changing back, the agent knows; without one it is unknown.

A mirror that is seconds old has no counters yet: status then waits for them, up
to six seconds, within --timeout. With --watch it shows everything anew whenever
something has changed, and every five seconds, until it is interrupted; each
showing may take --timeout.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if !watch {
				return a.connect(cmd, func(ctx context.Context, conn *ovs.Conn) error { return a.status(ctx, conn, names, false) })
			}
			return a.watch(cmd.Context(), names)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again whenever it changes, until interrupted")
	return cmd
}

// status shows the sessions, of those names if there are any. With at once it does not wait for counters.
func (a *app) status(ctx context.Context, conn *ovs.Conn, names []string, atOnce bool) error {
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
	read := conn.Statistics
	if atOnce {
		read = conn.Counters
	}
	readings, err := read(ctx, snap)
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
	agent := snap.Agent
	if !agent.Alive(time.Now()) {
		agent = nil
	}
	if err := a.view().status(health, agent); err != nil {
		return err
	}
	if inForce != nil {
		return inForce
	}
	if left := p.Leftovers(); len(left) > 0 && len(names) == 0 {
		return fmt.Errorf("%w: mirror %s copies for no stored session: run spanctl apply", errDegraded, left[0].Name)
	}
	return lacking(health)
}

// lacking is errDegraded if something present and wanted is not copied.
func lacking(health []plan.Health) error {
	var names []string
	for i := range health {
		if health[i].Missing {
			names = append(names, health[i].Outcome.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%w: session %s: something present is not copied as wanted", errDegraded, strings.Join(names, ", "))
}

// watch shows the status whenever it may have changed, until ctx ends or the database is lost.
func (a *app) watch(ctx context.Context, names []string) error {
	timeout := a.settings.GetDuration("timeout")
	dialing, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := a.dial(dialing)
	if err != nil {
		return err
	}
	defer conn.Close()
	changes := conn.Watch(ctx)
	tick := time.NewTicker(5 * time.Second) // counters
	defer tick.Stop()
	for {
		showing, cancel := context.WithTimeout(ctx, timeout)
		_, _ = fmt.Fprintf(a.stderr, "%s\n", time.Now().UTC().Format(time.RFC3339))
		err := a.status(showing, conn, names, true)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errDegraded), errors.Is(err, ovs.ErrNotInForce):
			_, _ = fmt.Fprintf(a.stderr, "spanctl: %v\n", err)
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case _, there := <-changes:
			if !there && ctx.Err() == nil {
				return fmt.Errorf("%w: the connection has ended", ovs.ErrUnreachable)
			}
		}
	}
}
