package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"spanctl/ovs"
	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
	"spanctl/policy/reconcile"
)

// refused are the sessions for which the database or ovs-vswitchd refuses something, by name, "" being rows that serve
// none, of which the log alone tells: each is left alone for a while, as long as it and those that share rows with it are
// stored as they were. The others go on.
type refused map[string]*refusal

type refusal struct {
	reconcile.Pause
	intents map[string]string // the stored texts, by session
	why     string
}

// isRefusal reports whether an error is about what sessions need.
func isRefusal(err error) bool {
	return (errors.Is(err, ovs.ErrRejected) || errors.Is(err, openflow.ErrRejected)) && !errors.Is(err, errLease)
}

// stands reports whether the refusal is about what is stored.
func (f *refusal) stands(snap *plan.Snapshot) bool {
	for name, text := range f.intents {
		if snap.Intent[name] != text {
			return false
		}
	}
	return true
}

// holds reports whether a change is for a session that is left alone at that time.
func (r refused) holds(snap *plan.Snapshot, now time.Time) func(*plan.Change) bool {
	held := func(name string) bool { return r[name] != nil && r[name].Lasts(now) && r[name].stands(snap) }
	return func(c *plan.Change) bool {
		return slices.ContainsFunc(c.Sessions, held) || len(c.Sessions) == 0 && held("")
	}
}

// add leaves sessions alone for a while, which share what was refused.
func (r refused) add(snap *plan.Snapshot, names []string, why string, now time.Time) {
	f := &refusal{intents: map[string]string{}}
	for _, name := range names {
		f.intents[name] = snap.Intent[name]
	}
	if known := r[names[0]]; known != nil && maps.Equal(known.intents, f.intents) {
		f = known
	}
	f.why = why
	f.Begin(now)
	for _, name := range names {
		r[name] = f
	}
}

// report says so in the reports, and when the next of the sessions is tried again.
func (r refused) report(snap *plan.Snapshot, reports map[string]*plan.Report, now time.Time) (next time.Time) {
	for name, f := range r {
		if !f.stands(snap) {
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
// alone for a while those for which it still is. Its error is the refusal.
func (k *keeper) oneByOne(ctx context.Context, cause reconcile.Cause, refusal error) error {
	for _, name := range concerned(k.whole) {
		var tried *plan.Plan
		only := func(snap *plan.Snapshot) (*plan.Plan, error) {
			p, err := k.plan(ctx)(snap)
			if err != nil {
				return nil, err
			}
			tried = p.Only(func(c *plan.Change) bool {
				return slices.Contains(c.Sessions, name) || name == "" && len(c.Sessions) == 0
			})
			return tried, nil
		}
		applied, err := k.conn.Apply(ctx, only, comment("agent"))
		switch {
		case err != nil && isRefusal(err):
			k.refused.add(tried.Base, concerned(tried), err.Error(), time.Now())
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

// concerned are the sessions that a plan changes something for, "" if it does for rows that serve none.
func concerned(p *plan.Plan) []string {
	var names []string
	for i := range p.Changes {
		if c := &p.Changes[i]; len(c.Sessions) > 0 {
			names = append(names, c.Sessions...)
		} else if c.Reason != plan.ReasonFollow {
			names = append(names, "")
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
