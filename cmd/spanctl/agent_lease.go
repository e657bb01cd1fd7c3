package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

const (
	// leaseTime is how long an agent is taken to live after it last said so, leaseRenewed how much of it must be left.
	leaseTime    = 30 * time.Second
	leaseRenewed = 20 * time.Second
)

var (
	// errStandby indicates that another agent keeps the intent in force.
	errStandby = errors.New("another agent keeps the intent in force")
	// errLease indicates that the agent cannot say in the database that it is the one.
	errLease = errors.New("the agent's lease cannot be stored")
)

// lead makes sure that this is the agent of the database, by the snapshot, and says so there. It is errStandby if another is.
func (k *keeper) lead(ctx context.Context, snap *plan.Snapshot) error {
	now := time.Now()
	k.lease.Rules = snap.Local
	if k.other = snap.Agent; k.yields(now) {
		return errStandby
	}
	left := k.lease.Until.Sub(now)
	if snap.Agent != nil && snap.Agent.Text() == k.lease.Text() && left >= leaseRenewed && left <= leaseTime {
		return nil
	}
	lease, before := k.lease, ""
	lease.Until = now.Add(leaseTime).UTC().Truncate(time.Millisecond)
	if snap.Agent != nil {
		before = snap.Agent.Text()
	}
	if err := k.conn.Lease(ctx, snap.Root, before, lease.Text()); err != nil {
		if errors.Is(err, ovs.ErrConflict) { // somebody else was quicker
			return errStandby
		}
		return fmt.Errorf("%w: %w", errLease, err)
	}
	k.lease, k.root = lease, snap.Root
	snap.Agent = &lease
	return nil
}

// yields reports whether the other agent lives and does what this one can: on the host an agent does more than from afar.
func (k *keeper) yields(now time.Time) bool {
	return k.other.Alive(now) && !k.isMine(k.other) && (k.other.Rules || !k.lease.Rules)
}

// leave says that the agent is no more, if it was the one.
func (k *keeper) leave() {
	if k.root == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.ctx), time.Second)
	defer cancel()
	if err := k.conn.Lease(ctx, k.root, k.lease.Text(), ""); err != nil {
		k.log.Warn("the agent is taken to live for some seconds more", "error", err)
	}
}

// isMine reports whether the lease is this agent's, or that of one of this host that is seen to be no more: another container
// has processes of its own.
func (k *keeper) isMine(l *plan.Lease) bool {
	if l.Host != k.lease.Host || l.PIDNamespace != k.lease.PIDNamespace {
		return false
	}
	name, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(l.PID), "comm"))
	return l.PID == k.lease.PID || err != nil || !strings.HasPrefix(string(name), "spanctl")
}
