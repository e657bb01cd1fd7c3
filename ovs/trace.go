package ovs

import (
	"context"

	"spanctl/policy/plan"
)

// Trace asks ovs-vswitchd what it would do with a packet; see
// [openflow.Switch.Trace].
func (c *Conn) Trace(ctx context.Context, bridge, flow string) (*plan.Trace, error) {
	s, err := c.openFlow()
	if err != nil {
		return nil, err
	}
	return s.Trace(ctx, bridge, flow)
}
