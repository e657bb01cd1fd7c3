package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"spanctl/ovs"
	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
	"spanctl/policy/reconcile"
)

// refused are the sessions for which the database or ovs-vswitchd refuses something, by name, "" being rows that serve
// none: each is left alone for a while, as long as it is stored as it was. The others go on.
type refused map[string]*refusal

type refusal struct {
	reconcile.Pause
	intent string
	why    string
}

// isRefusal reports whether an error is about what was asked for, and not about whom.
func isRefusal(err error) bool {
	return errors.Is(err, ovs.ErrRejected) || errors.Is(err, openflow.ErrRejected)
}

// holds reports whether a change is for a session that is left alone now.
func (r refused) holds(snap *plan.Snapshot, now time.Time) func(*plan.Change) bool {
	held := func(name string) bool {
		return r[name] != nil && r[name].intent == snap.Intent[name] && r[name].Lasts(now)
	}
	return func(c *plan.Change) bool {
		return slices.ContainsFunc(c.Sessions, held) || len(c.Sessions) == 0 && held("")
	}
}

// report says so in the reports, and when the next of the sessions is tried again.
func (r refused) report(snap *plan.Snapshot, reports map[string]*plan.Report, now time.Time) (next time.Time) {
	for name, f := range r {
		if f.intent != snap.Intent[name] {
			delete(r, name)
		} else if f.Lasts(now) {
			next = reconcile.Sooner(next, f.Until)
			if reports[name] != nil {
				reports[name].Failed = f.why
			}
		}
	}
	return next
}

// oneByOne puts sessions in force each by itself, since something that is needed for them together is refused, and leaves
// alone for a while those for which it still is. Its error is the cause.
func (k *keeper) oneByOne(ctx context.Context, cause reconcile.Cause, refusal error) error {
	var names []string
	for i := range k.whole.Changes {
		if c := &k.whole.Changes[i]; len(c.Sessions) > 0 {
			names = append(names, c.Sessions...)
		} else if c.Reason != plan.ReasonFollow {
			names = append(names, "")
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		only := func(snap *plan.Snapshot) (*plan.Plan, error) {
			p, err := k.plan(ctx)(snap)
			if err != nil {
				return nil, err
			}
			return p.Only(func(c *plan.Change) bool {
				return slices.Contains(c.Sessions, name) || name == "" && len(c.Sessions) == 0
			}), nil
		}
		applied, err := k.conn.Apply(ctx, only, comment("agent"))
		switch {
		case err != nil && isRefusal(err):
			k.refuse(name, err)
		case err != nil:
			return err
		case applied.Committed:
			if _, err := k.committed(ctx, applied, cause); err != nil {
				return err
			}
		}
	}
	return refusal
}

// refuse leaves a session alone for a while.
func (k *keeper) refuse(name string, err error) {
	intent := k.whole.Base.Intent[name]
	if k.refused[name] == nil || k.refused[name].intent != intent {
		k.refused[name] = &refusal{intent: intent}
	}
	f := k.refused[name]
	f.why = err.Error()
	f.Begin(time.Now())
}
