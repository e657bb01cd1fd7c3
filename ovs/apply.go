package ovs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// attempts bounds how often a plan that lost a race is made again.
const attempts = 12

// A Planner makes a plan from a snapshot; Apply calls it again after a lost
// race. Its errors end Apply.
type Planner func(*plan.Snapshot) (*plan.Plan, error)

// Applied is what Apply did.
type Applied struct {
	Plan *plan.Plan
	// Committed tells whether a transaction was sent; an empty plan sends none.
	Committed bool
	// NextCfg is the configuration number of the transaction: it is in force
	// when Open_vSwitch.cur_cfg has reached it.
	NextCfg int
}

// Apply makes a plan and carries it out in one transaction, with comment, which says
// who does what (see Trail), and the plan's sessions and reasons as its trace in the
// database's log. It does not wait for ovs-vswitchd: see
// WaitInForce. If others change what the plan rests on, it is made again, a
// bounded number of times; where nothing is to do it clears the mark that a spanctl left
// which was killed. After any error nothing was changed, except that
// with ErrUnreachable the fate of a transaction under way is unknown.
//
// A plan with rules takes three steps: what is inert, in a transaction of its own,
// which keeps others from taking the rules that follow for drift; the rules; and all
// the rest, in the transaction by which it comes into force. If
// it ends between them the old state is in force, and what is inert is removed
// again, at the latest by the next Apply.
func (c *Conn) Apply(ctx context.Context, planner Planner, comment string) (*Applied, error) {
	var lost error
	s := &steps{conn: c, comment: comment}
	for try := range attempts {
		if err := pause(ctx, try); err != nil {
			return nil, s.undo(ctx, errors.Join(err, lost))
		}
		snap, err := c.Observe(ctx)
		if err != nil {
			return nil, s.undo(ctx, err)
		}
		p, err := planner(snap)
		if err == nil && p.Empty() && !s.marked {
			c.clearMark(ctx, snap)
		}
		if err != nil || p.Empty() {
			return &Applied{Plan: p}, s.undo(ctx, err)
		}
		inert := p.Inert()
		rules, _ := p.Rules()
		prepared := inert.Empty() && (len(rules) == 0 || s.marked)
		var next int
		if prepared {
			next, lost = s.commit(ctx, p)
		} else {
			lost = s.prepare(ctx, inert)
		}
		switch {
		case lost == nil && prepared:
			return &Applied{Plan: s.whole(p), Committed: true, NextCfg: next}, nil
		case lost != nil && !errors.Is(lost, ErrConflict):
			return nil, s.undo(ctx, lost)
		}
		s.marked = lost == nil
		c.log.DebugContext(ctx, "plan is made again", "try", try+1, "cause", lost)
	}
	return nil, s.undo(ctx, fmt.Errorf("%w; nothing was changed, try again: %w", ErrConflict, lost))
}

// commit sends a plan's transaction and returns its next_cfg.
func (c *Conn) commit(ctx context.Context, p *plan.Plan, comment, changing string) (int, error) {
	ops, at, err := planOps(p, comment, changing)
	if err != nil {
		return 0, err
	}
	results, err := c.transact(ctx, ops)
	if err != nil {
		return 0, err
	}
	next, err := cfgOf(results[at])
	if err == nil {
		c.audit(ctx, p.Changes, comment, next)
	}
	return next, err
}

// cfgOf reads what selectNextCfg selected.
func cfgOf(result ovsdb.OperationResult) (int, error) {
	if len(result.Rows) != 1 {
		return 0, fmt.Errorf("%w: no next_cfg in the answer", ErrRejected)
	}
	next, ok := result.Rows[0]["next_cfg"].(float64)
	if !ok {
		return 0, fmt.Errorf("%w: next_cfg is no number", ErrRejected)
	}
	return int(next), nil
}

// sync returns when the cache holds everything that was committed before: the
// server sends updates in order with its answers, here to a transaction of nothing. (The library's echo reads an answer
// that may still be written when ctx ends.)
func (c *Conn) sync(ctx context.Context) error {
	_, err := c.transact(ctx, nil)
	return err
}

// pause waits before the next try, longer each time, and with some randomness
// so that two that disturb each other part.
func pause(ctx context.Context, try int) error {
	if try < 2 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(1+rand.IntN(2<<min(try, 7))) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrConflict, ctx.Err())
	}
}

// WaitInForce returns when ovs-vswitchd has taken in what Apply committed, and
// if that was nothing, what others did before (cur_cfg >= next_cfg,
// ovs-vswitchd.conf.db(5)), and the snapshot shows what it reported. Its errors
// are ErrNotInForce: the transaction is committed.
func (c *Conn) WaitInForce(ctx context.Context, a *Applied) error {
	next := a.NextCfg
	if !a.Committed {
		var err error
		if next, err = c.nextCfg(ctx, a.Plan.Base.Root); err != nil {
			return err
		}
	}
	if err := c.waitForCfg(ctx, a.Plan.Base.Root, next); err != nil {
		return err
	}
	if err := c.sync(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNotInForce, err)
	}
	return nil
}

// InForce returns nil if ovs-vswitchd has taken in all that the database asks
// of it, or does so in a moment, and ErrNotInForce otherwise.
func (c *Conn) InForce(ctx context.Context, s *plan.Snapshot) error {
	next, err := c.nextCfg(ctx, s.Root)
	if err != nil {
		return err
	}
	const moment = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	return c.waitForCfg(ctx, s.Root, next)
}

func (c *Conn) nextCfg(ctx context.Context, root string) (int, error) {
	results, err := c.transact(ctx, []ovsdb.Operation{selectNextCfg(root)})
	if err != nil {
		return 0, err
	}
	return cfgOf(results[0])
}

func (c *Conn) waitForCfg(ctx context.Context, root string, next int) error {
	wait := waitFor(vswitchd.OpenvSwitchTable, root, serverTimeout(ctx), ovsdb.NewCondition("cur_cfg", ovsdb.ConditionGreaterThanOrEqual, next))
	_, err := c.transact(ctx, []ovsdb.Operation{wait})
	switch {
	case errors.Is(err, ErrConflict) || errors.Is(err, ErrUnreachable) && ctx.Err() != nil:
		return fmt.Errorf("%w: ovs-vswitchd did not take the configuration in, in time; check that it runs (ovs-appctl version)", ErrNotInForce)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotInForce, err)
	}
	return nil
}

// serverTimeout is how long the server shall wait, in milliseconds: somewhat
// less than the context lasts, so that its answer still arrives.
func serverTimeout(ctx context.Context) int {
	deadline, ok := ctx.Deadline()
	if !ok {
		return int(time.Hour.Milliseconds())
	}
	left := time.Until(deadline)
	return int(max(0, left-min(left/4, 200*time.Millisecond)).Milliseconds())
}
