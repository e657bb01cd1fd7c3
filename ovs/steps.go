package ovs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/openflow"
	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// steps is an Apply under way: what of it has been done before its plan comes into
// force.
type steps struct {
	conn    *Conn
	comment string
	// made are the inert rows that were committed, ruled the bridges whose rules were
	// changed.
	made  []plan.Change
	ruled []string
	// marked tells that the database says so, and that nobody has written to it since.
	marked bool
}

// stepsTake is longer than the steps of a change take: what was made for one that has
// not ended by then is left over from a spanctl that was killed.
const stepsTake = 5 * time.Second

// mark says in the database who is between steps, and until when at the latest.
func (c *Conn) mark(until time.Time) string { return until.UTC().Format(time.RFC3339Nano) + " " + c.id }

// changing is until when another connection may be between steps, by its mark. One that ends much later than steps take
// is by a clock that was wrong: nobody waits for it.
func (c *Conn) changing(mark string) time.Time {
	until, id, _ := strings.Cut(mark, " ")
	t, err := time.Parse(time.RFC3339Nano, until)
	if err != nil || id == c.id || time.Until(t) > 12*stepsTake {
		return time.Time{}
	}
	return t
}

// clearMark removes the mark of one that was killed between steps, or that nobody waits
// for anyway. It is nobody else's by then: the pair is removed if it is just that (RFC
// 7047 section 5.1).
func (c *Conn) clearMark(ctx context.Context, snap *plan.Snapshot) {
	if snap.Mark == "" || snap.Changing.After(time.Now()) {
		return
	}
	b := &builder{}
	pair := ovsdb.OvsMap{GoMap: map[any]any{plan.KeyChanging: snap.Mark}}
	b.add(ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: vswitchd.OpenvSwitchTable, Where: []ovsdb.Condition{isUUID(snap.Root)},
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("external_ids", ovsdb.MutateOperationDelete, pair)},
	})
	comment := commentMark
	b.add(ovsdb.Operation{Op: ovsdb.OperationComment, Comment: &comment})
	if _, err := c.transact(ctx, b.ops); err != nil {
		c.log.DebugContext(ctx, "an old mark is left", "error", err) // it does no harm
	}
}

// prepare makes what is inert, if anything is, and returns when ovs-vswitchd has it, so
// that rules can be made. Others know from then on who is at it.
func (s *steps) prepare(ctx context.Context, inert *plan.Plan) error {
	if _, err := s.conn.openFlow(); err != nil {
		return err
	}
	next, err := s.conn.commit(ctx, inert, s.comment+did(StepPrepares, why(inert.Changes)), s.conn.mark(time.Now().Add(stepsTake)))
	if err != nil {
		return err
	}
	for _, c := range inert.Changes { // what another spanctl took away is made again
		if !slices.ContainsFunc(s.made, func(m plan.Change) bool { return m.Table == c.Table && m.Name == c.Name }) {
			s.made = append(s.made, c)
		}
	}
	if inert.Empty() {
		return nil
	}
	if err := s.conn.waitForCfg(ctx, inert.Base.Root, next); err != nil {
		return fmt.Errorf("%w: %v", openflow.ErrUnreachable, err) // nothing is in force
	}
	return nil
}

// commit changes rules and then, by one transaction, everything else. Rules that
// are then superfluous go last: without them nothing copies less, so that it is no
// error if they stay.
func (s *steps) commit(ctx context.Context, p *plan.Plan) (nextCfg int, err error) {
	if bridge := p.Unseen(); bridge != nil {
		return 0, s.conn.orConflict(ctx, p.Base, fmt.Errorf("%w: the rules of tap bridge %s cannot be read: %s", openflow.ErrUnreachable, bridge.Name, bridge.FlowsError))
	}
	before, after := p.Rules()
	for _, r := range before {
		s.ruled = append(s.ruled, r.Bridge)
		if err := s.conn.setRules(ctx, r); err != nil {
			return 0, s.conn.orConflict(ctx, p.Base, err)
		}
	}
	nextCfg, err = s.conn.commit(ctx, p, s.comment+did("", why(p.Changes)), "")
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

// orConflict is an error about rules, or ErrConflict if another spanctl has changed
// the database since: it may have taken the bridge away.
func (c *Conn) orConflict(ctx context.Context, base *plan.Snapshot, err error) error {
	if c.sync(ctx) != nil {
		return err
	}
	if now, failed := c.Observe(ctx); failed == nil && now.Revision != base.Revision {
		return fmt.Errorf("%w: %w", ErrConflict, err)
	}
	return err
}

// undo removes what was done for a plan that does not come into force because of
// the cause, and returns that. It goes by the intent that is stored now: what
// somebody else has put in force meanwhile stays.
func (s *steps) undo(ctx context.Context, cause error) error {
	if len(s.made)+len(s.ruled) == 0 && !s.marked {
		return cause
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var failed error
	for try := range attempts {
		if failed = errors.Join(pause(ctx, try), s.tryUndo(ctx)); !errors.Is(failed, ErrConflict) {
			break
		}
	}
	if failed != nil {
		s.conn.log.WarnContext(ctx, "something inert may be left; the next spanctl apply removes it", "error", failed)
	}
	return cause
}

func (s *steps) tryUndo(ctx context.Context) error {
	snap, err := s.conn.Observe(ctx)
	if err != nil {
		return err
	}
	intent := plan.StoredIntent(snap)
	s.conn.LookAtHost(ctx, snap, intent)
	undo := plan.Make(snap, intent, time.Now()).Undo(s.made, s.ruled)
	before, after := undo.Rules()
	for _, r := range slices.Concat(before, after) {
		if err := s.conn.setRules(ctx, r); err != nil {
			return s.conn.orConflict(ctx, snap, err)
		}
	}
	if !undo.HasRows() && !s.marked {
		return nil
	}
	_, err = s.conn.commit(ctx, undo, s.comment+did(StepUndoes, why(undo.Changes)), "")
	return err
}

// whole is the plan with the changes that were made to prepare it.
func (s *steps) whole(p *plan.Plan) *plan.Plan {
	whole := *p
	whole.Changes = plan.Sort(slices.Concat(s.made, p.Changes))
	return &whole
}
