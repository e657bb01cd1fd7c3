package ovstest

import (
	"context"
	"fmt"
	"time"
)

// until asks every few milliseconds until the answer is yes, an error, or ctx ends. What names the condition, as in
// "waiting for …". Without a deadline in ctx it waits for timeout.
func until(ctx context.Context, what string, condition func() (bool, error)) error {
	ctx, cancel := deadline(ctx)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := condition()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// deadline gives ctx one if it has none: nothing waits forever.
func deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
