package ovstest

import (
	"context"
	"fmt"
)

// Fence returns when everything sent before the call, by anybody, has arrived at the capture if it ever will. It is how
// a test proves that a frame did not arrive: send it, Fence, and look at Frames.
//
// It sends markers from a sender that the capture hears, to an endpoint such that they arrive there, and awaits each
// before the next. The userspace datapath asks its ports in turn: a marker that arrives was read at most one round
// before any older frame at another port, so from the second marker on none is outstanding; a third is for the
// switch's own way to a slow receiver. It does not hold for the kernel datapath's first packet of a flow,
// which takes its way through ovs-vswitchd.
func (c *Capture) Fence(ctx context.Context, from Sender, to Endpoint) error {
	return c.FenceFrame(ctx, from, func(payload []byte) []byte { return UDP(from, to, 9, 9, payload) })
}

// FenceFrame is Fence with markers of the caller's making, such as tagged ones.
func (c *Capture) FenceFrame(ctx context.Context, from Sender, marker func(payload []byte) []byte) error {
	for range 3 {
		payload := Payload("fence")
		if err := from.Send(marker(payload)); err != nil {
			return fmt.Errorf("fence: %w", err)
		}
		if err := c.WaitPayload(ctx, payload, 1); err != nil {
			return fmt.Errorf("fence: %w", err)
		}
	}
	return nil
}
