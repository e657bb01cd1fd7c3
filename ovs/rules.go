package ovs

import (
	"context"
	"time"

	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
)

// openFlow is the switch of the database's host.
func (c *Conn) openFlow() (*openflow.Switch, error) {
	dir, _, err := c.daemon()
	if err != nil {
		return nil, err
	}
	return openflow.At(dir), nil
}

// setRules changes rules and meters.
func (c *Conn) setRules(ctx context.Context, r plan.Rules) error {
	s, err := c.openFlow()
	if err != nil {
		return err
	}
	return s.Apply(ctx, r)
}

// readRules adds to the snapshot the rules of tap bridges, of those first that need
// some.
func (c *Conn) readRules(ctx context.Context, snap *plan.Snapshot) {
	const patience = 5 * time.Second // a bridge takes two programs, and hosts are busy; for what OVSDB alone can do nothing is lost
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s, unreachable := c.openFlow()
	for _, ruled := range []bool{true, false} {
		for b := range snap.Bridges {
			bridge := &snap.Bridges[b]
			if !bridge.Managed() || bridge.Ruled() != ruled {
				continue
			}
			err := unreachable
			if err == nil {
				bridge.Flows, bridge.Meters, err = s.Read(ctx, bridge.Name)
			}
			if err != nil {
				bridge.FlowsError = err.Error()
			}
		}
	}
}
