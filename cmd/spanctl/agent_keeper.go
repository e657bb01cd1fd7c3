package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"spanctl/ovs"
	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
	"spanctl/policy/reconcile"
)

const (
	// retryTunnels is how often tunnels that could not be added are tried again, and whether their keys are others by now.
	retryTunnels = 30 * time.Second
	// sampled is how many sources of a session are asked at a time whether they send.
	sampled = 4
)

// errBusy indicates that another spanctl is between the steps of a change.
var errBusy = errors.New("another spanctl is between the steps of a change")

// A keeper keeps what is there on one connection as the stored intent wants it: the agent's reconcile.Host. What it must
// remember over connections is the agent's.
type keeper struct {
	*agent
	conn    *ovs.Conn
	changes <-chan struct{}
	end     context.CancelFunc

	// whole is the plan that was made last, with what is held back.
	whole *plan.Plan
	// planned is the last plan, nil if there must be another before anything is said about the host.
	planned *plan.Plan
	// at is when the last plan was begun: what was held back then is due from then on.
	at time.Time
	// seen is when a mirror was first there, by UUID; readings are its counters.
	seen     map[string]time.Time
	readings *plan.Readings
	health   []plan.Health
	round    int       // which of the sources are asked
	retried  time.Time // when tunnels were last tried again
	due      time.Time // when there is another plan by itself, zero if never
	other    *plan.Lease
	busy     time.Time
	root     string // of the database whose lease is this agent's, empty if it never was
	daemon   string // the ovs-vswitchd that was seen last
	// ruleless is for how long sessions that need rules are left alone, since this ovs-vswitchd could not be asked for any.
	ruleless struct {
		reconcile.Pause
		daemon string
	}
	readAt time.Time
}

func (k *keeper) Changes() <-chan struct{} { return k.changes }

// Close ends the connection. An agent that ends says so.
func (k *keeper) Close() {
	if k.ctx.Err() != nil {
		k.leave()
	}
	k.end()
	k.conn.Close()
	k.state.disconnected()
}

// Pass puts the stored intent in force, and if nothing is to do looks at what comes of it.
func (k *keeper) Pass(ctx context.Context, cause reconcile.Cause) (reconcile.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, k.settings.GetDuration("timeout"))
	defer cancel()
	start := time.Now()
	k.state.alive(start)
	result, err := k.pass(ctx, cause)
	if errors.Is(err, ovs.ErrUnreachable) || errors.Is(err, ovs.ErrPermission) {
		err = fmt.Errorf("%w: %w", reconcile.ErrGone, err)
	}
	if err == nil {
		k.complaint = "" // the same is news again
	}
	k.state.passed(time.Since(start))
	return result, err
}

func (k *keeper) pass(ctx context.Context, cause reconcile.Cause) (reconcile.Result, error) {
	now := time.Now()
	due := !k.due.IsZero() && !now.Before(k.due)
	var err error
	if idle := cause == (reconcile.Cause{}) && k.planned != nil && !due && k.hostIsTheSame(ctx, now); idle {
		err = k.lead(ctx, k.planned.Base)
	} else {
		k.planned = nil
		var applied *ovs.Applied
		applied, err = k.conn.Apply(ctx, k.plan(ctx), comment("agent"))
		switch {
		case err == nil && applied.Committed:
			return k.committed(ctx, applied, cause)
		case err == nil:
			k.planned = k.whole
		case isRefusal(err):
			err = k.oneByOne(ctx, cause, err)
		}
	}
	var result reconcile.Result
	switch {
	case errors.Is(err, errStandby):
		k.planned = nil
		k.state.standsBy()
		return reconcile.Result{Again: k.otherEnds()}, nil
	case errors.Is(err, errBusy):
		return reconcile.Result{Again: k.busy}, nil
	case err == nil:
		result, err = k.look(ctx)
	}
	if err != nil {
		k.planned = nil // what was seen may be old
		k.leaveRules(err)
	}
	return result, err
}

// leaveRules has sessions that need rules left alone for a while, if ovs-vswitchd cannot be asked for rules: the others go
// on.
func (k *keeper) leaveRules(err error) {
	if errors.Is(err, openflow.ErrUnreachable) {
		k.ruleless.Begin(time.Now())
		k.ruleless.daemon = k.daemon
	}
}

// hostIsTheSame reports whether what the last plan rested on beside OVSDB is still so. What is counted is not looked at, and
// keys of tunnels now and then.
func (k *keeper) hostIsTheSame(ctx context.Context, now time.Time) bool {
	base := k.planned.Base
	intent := plan.StoredIntent(base)
	tunnels := len(intent.Remotes()) > 0
	matters := tunnels || len(base.MayWrap()) > 0 || len(base.Listening()) > 0 || len(intent.Domains(base)) > 0 ||
		slices.ContainsFunc(base.Bridges, func(b plan.Bridge) bool { return b.Managed() && b.Ruled() })
	if !base.Local || !matters {
		return true
	}
	if tunnels && now.Sub(k.retried) > retryTunnels {
		return false
	}
	again := base.WithoutHost()
	k.conn.LookAtHost(ctx, again, intent)
	return again.SameHost(base)
}

// plan makes plans for the intent as it is stored, unless somebody else is at it.
func (k *keeper) plan(ctx context.Context) ovs.Planner {
	return func(snap *plan.Snapshot) (*plan.Plan, error) {
		now := time.Now()
		k.at = now
		if err := k.lead(ctx, snap); err != nil {
			return nil, err
		}
		if k.busy = snap.Changing; k.busy.After(now) {
			return nil, errBusy
		}
		k.track.Recall(snap)
		p := stored(ctx, k.conn, snap)
		if p.Empty() && now.Sub(k.retried) > retryTunnels {
			k.retried = now
			p = p.Tidy()
		}
		k.whole = p
		p = p.Without(k.contest.Holds(p, now)).Without(k.refused.holds(snap, now))
		if k.daemon = snap.Daemon; k.daemon == k.ruleless.daemon && k.ruleless.Lasts(now) {
			p = p.Without(func(c *plan.Change) bool { return c.Tier == plan.TierFlow })
		}
		return p, nil
	}
}

// committed waits until what was sent is in force. What comes of it is the next pass's.
func (k *keeper) committed(ctx context.Context, applied *ovs.Applied, cause reconcile.Cause) (reconcile.Result, error) {
	now := time.Now()
	k.contest.Record(applied.Plan, now)
	for i := range applied.Plan.Changes {
		k.state.changed(string(applied.Plan.Changes[i].Reason))
	}
	k.state.committed()
	if err := k.conn.WaitInForce(ctx, applied); err != nil {
		return reconcile.Result{}, err
	}
	if !cause.Changed.IsZero() {
		k.state.inForce(time.Since(cause.Changed))
	}
	return reconcile.Result{Again: now}, nil
}

// otherEnds is when another agent's lease ends, zero if that is not known.
func (k *keeper) otherEnds() time.Time {
	if k.other == nil {
		return time.Time{}
	}
	return k.other.Until
}

// look assesses what is there, says so, and stores what others cannot know.
func (k *keeper) look(ctx context.Context) (reconcile.Result, error) {
	p, now := k.planned, time.Now()
	reading := k.readings == nil || now.Sub(k.readAt) >= k.settings.GetDuration(keyCheck)*9/10
	if reading {
		if err := k.read(ctx, p, now); err != nil {
			return reconcile.Result{}, err
		}
	}
	health := plan.Assess(p, k.readings)
	if reading {
		if err := k.sample(ctx, health, now); err != nil {
			return reconcile.Result{}, err
		}
	}
	reports := k.track.Reports(p, health, k.contest.Rows(now), now)
	due := reconcile.Sooner(k.contest.Due(k.at), k.refused.report(p.Base, reports, k.at))
	put, remove := map[string]string{}, []string(nil)
	for name, r := range reports {
		if text := r.Text(); p.Base.Reports[name] != text {
			put[plan.KeyReportPrefix+name] = text
		}
	}
	for name := range p.Base.Reports {
		if reports[name] == nil {
			remove = append(remove, plan.KeyReportPrefix+name)
		}
	}
	if len(put)+len(remove) > 0 {
		if err := k.conn.Report(ctx, p.Base.Root, put, remove); err != nil {
			return reconcile.Result{}, err
		}
		k.remember(p.Base, put, remove)
	}
	k.health = health
	k.state.know(health, reports)
	for name, r := range reports {
		k.told(ctx, name, r)
	}
	maps.DeleteFunc(k.last, func(name, _ string) bool { return reports[name] == nil })
	k.due = reconcile.Sooner(reconcile.Expiry(plan.StoredIntent(p.Base), k.at), due)
	if k.ruleless.Lasts(k.at) {
		k.due = reconcile.Sooner(k.due, k.ruleless.Until)
	}
	return reconcile.Result{Again: k.due}, nil
}

// remember puts into the snapshot what was stored: it is not heard of.
func (k *keeper) remember(snap *plan.Snapshot, put map[string]string, remove []string) {
	for key, text := range put {
		if name, ok := strings.CutPrefix(key, plan.KeyReportPrefix); ok {
			snap.Reports[name] = text
		}
	}
	for _, key := range remove {
		delete(snap.Reports, strings.TrimPrefix(key, plan.KeyReportPrefix))
	}
}

// told logs a session's report if it is another than was last told.
func (k *keeper) told(ctx context.Context, name string, r *plan.Report) {
	text := r.Text()
	if k.last[name] == text {
		return
	}
	k.last[name] = text
	level := slog.LevelInfo
	if len(r.Blind)+len(r.Contested)+len(r.Failed) > 0 || r.Still != nil || r.State == plan.StateDegraded {
		level = slog.LevelWarn
	}
	still := ""
	if r.Still != nil {
		still = r.Still.UTC().Format(time.RFC3339)
	}
	k.log.Log(ctx, level, "session", "session", name, "state", r.State, "reason", r.Reason, "blind", slices.Sorted(maps.Keys(r.Blind)),
		"still", still, "contested", r.Contested, "failed", r.Failed)
}

// read reads the counters of mirrors and of some of the sources.
func (k *keeper) read(ctx context.Context, p *plan.Plan, now time.Time) error {
	readings, err := k.conn.Counters(ctx, p.Base)
	if err != nil {
		return err
	}
	const period = 11 * time.Second // counters are written every five seconds, if that is not set otherwise
	seen := map[string]time.Time{}
	for b := range p.Base.Bridges {
		for m := range p.Base.Bridges[b].Mirrors {
			mirror := &p.Base.Bridges[b].Mirrors[m]
			if !mirror.Managed() {
				continue
			}
			first, known := k.seen[mirror.UUID]
			if !known {
				first = now
			}
			seen[mirror.UUID] = first
			if readings.Mirrors[mirror.UUID] == nil && now.Sub(first) > period && (mirror.OutputPort != "" || mirror.OutputVLAN != nil) {
				if readings.Mirrors == nil {
					readings.Mirrors = map[string]*plan.Counters{}
				}
				readings.Mirrors[mirror.UUID] = nil // it is not installed
			}
		}
	}
	k.seen, k.readings, k.readAt = seen, readings, now
	return nil
}

// sample asks some of each session's sources whether they send while the session's counters stand still.
func (k *keeper) sample(ctx context.Context, health []plan.Health, now time.Time) error {
	const readings = 8 // of the same sources, in a row
	k.round++
	for i := range health {
		h := &health[i]
		if h.State != plan.StateActive || !h.Outcome.Whole() {
			continue
		}
		packets, err := k.conn.Traffic(ctx, h.Outcome.SomeSources(k.round/readings*sampled, sampled))
		if err != nil {
			return err
		}
		var sent, copied uint64
		for _, n := range packets {
			sent += n
		}
		for m := range h.Mirrors {
			if c := h.Mirrors[m].Counters; c != nil {
				copied += c.Packets
			}
		}
		k.track.Sent(h.Outcome.Name, k.round/readings, sent, copied, now)
	}
	return nil
}
