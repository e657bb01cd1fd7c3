package ovs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
)

// steps is an Apply under way: what of it has been done before its plan comes into
// force.
type steps struct {
	conn    *Conn
	comment string
	// made are the inert rows that were committed.
	made []plan.Change
	// back undoes rules that were changed.
	back []plan.Rules
}

// prepare makes the plan, and what of it is inert, until nothing of the plan is.
func (s *steps) prepare(ctx context.Context, planner Planner) (*plan.Plan, error) {
	for {
		snap, err := s.conn.Observe(ctx)
		if err != nil {
			return nil, err
		}
		p, err := planner(snap)
		if err != nil {
			return p, err
		}
		inert := p.Inert()
		if inert.Empty() {
			return p, nil
		}
		if _, err := s.conn.openFlow(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOpenFlow, err)
		}
		next, err := s.conn.commit(ctx, inert, s.comment+": prepares")
		switch {
		case errors.Is(err, ErrConflict) && ctx.Err() == nil:
			continue // bounded by ctx: each is another's progress
		case err != nil:
			return nil, err
		}
		s.made = append(s.made, inert.Changes...)
		if err := s.conn.waitForCfg(ctx, snap.Root, next); err != nil {
			return nil, fmt.Errorf("%w: %w: %v", ErrOpenFlow, openflow.ErrUnreachable, err) // nothing is in force
		}
	}
}

// commit changes rules and then, by one transaction, everything else. Rules that
// are then superfluous go last: without them nothing copies less, so that it is no
// error if they stay.
func (s *steps) commit(ctx context.Context, p *plan.Plan) (nextCfg int, err error) {
	before, after := p.Rules()
	for _, r := range before {
		s.back = append(s.back, r.Inverse(p.Base))
		if err := s.conn.setRules(ctx, r); err != nil {
			return 0, err
		}
	}
	nextCfg, err = s.conn.commit(ctx, p, s.comment)
	if err != nil {
		return 0, err
	}
	for _, r := range after {
		if err := s.conn.setRules(ctx, r); err != nil {
			s.conn.log.WarnContext(ctx, "rules that nothing uses are left", "bridge", r.Bridge, "error", err)
		}
	}
	return nextCfg, nil
}

// undo removes what was done for a plan that does not come into force because of
// the cause, and returns it.
func (s *steps) undo(ctx context.Context, cause error) error {
	if cause == nil && len(s.made)+len(s.back) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var failed error
	for _, r := range slices.Backward(s.back) {
		// What could not be reached then has not been changed, or has forgotten it.
		if err := s.conn.setRules(ctx, r); !errors.Is(cause, openflow.ErrUnreachable) || !errors.Is(err, openflow.ErrUnreachable) {
			failed = errors.Join(failed, err)
		}
	}
	for range attempts {
		snap, err := s.conn.Observe(ctx)
		if err != nil {
			failed = errors.Join(failed, err)
			break
		}
		undo := (&plan.Plan{Changes: s.made}).Undo(snap)
		if undo.Empty() {
			break
		}
		if _, err = s.conn.commit(ctx, undo, s.comment+": gives up"); !errors.Is(err, ErrConflict) {
			failed = errors.Join(failed, err)
			break
		}
	}
	if failed != nil {
		s.conn.log.WarnContext(ctx, "something inert is left; the next spanctl apply removes it", "error", failed)
	}
	return cause
}

// whole is the plan with the changes that were made to prepare it.
func (s *steps) whole(p *plan.Plan) *plan.Plan {
	whole := *p
	whole.Changes = plan.Sort(slices.Concat(s.made, p.Changes))
	return &whole
}
