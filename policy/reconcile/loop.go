package reconcile

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// ErrGone indicates that a Host can no longer be used: its connection has ended. A Pass that fails with it is made again on
// another Host.
var ErrGone = errors.New("the connection has ended")

// A Host is one connection to what is kept as it is wanted.
type Host interface {
	// Changes can be received from after something has changed that a Pass rests on; what is received may stand for
	// many changes. It is closed when the connection has ended.
	Changes() <-chan struct{}
	// Pass makes what is there as it is wanted. It is idempotent; a Pass that finds everything as it should be does
	// nothing. After an error whatever it did not do is left to the next Pass.
	Pass(context.Context, Cause) (Result, error)
	Close()
}

// A Cause says why a Pass is made.
type Cause struct {
	// First tells that this Host has made none.
	First bool
	// Changed is when the first of the changes was heard of that the Pass is for, zero if there was none: something
	// that the Host does not tell of may have changed.
	Changed time.Time
}

// A Result is what a Pass asks of the Loop.
type Result struct {
	// Again is when the next Pass is due at the latest, whatever happens; zero leaves it to Loop.Check.
	Again time.Time
}

// A Loop makes passes: when something has changed, when a time has come, and now and then.
type Loop struct {
	// Connect makes a Host. A context that ends while it is at it ends it.
	Connect func(context.Context) (Host, error)
	// After a change a Pass waits until nothing has changed for Quiet, but not longer than Most.
	Quiet, Most time.Duration
	// Check is how long nothing need change before there is a Pass all the same.
	Check time.Duration
	// After an error the next try is later by First, which doubles up to Last with each error in a row, and by up to as
	// much again at random. Changes do not hasten it.
	First, Last time.Duration
	// Failed is told of errors, and when there is the next try. It may be nil.
	Failed func(err error, again time.Duration)

	failures int
}

// Run makes passes until ctx ends.
func (l *Loop) Run(ctx context.Context) {
	for ctx.Err() == nil {
		host, err := l.Connect(ctx)
		if err == nil {
			err = l.serve(ctx, host)
			host.Close()
		}
		if ctx.Err() == nil {
			l.pause(ctx, l.failed(err))
		}
	}
}

// serve makes passes until ctx or the connection ends.
func (l *Loop) serve(ctx context.Context, host Host) error {
	for cause := (Cause{First: true}); ; {
		result, err := host.Pass(ctx, cause)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrGone):
			return err
		case err != nil:
			l.pause(ctx, l.failed(err))
			cause = Cause{Changed: cause.Changed}
			select {
			case _, there := <-host.Changes():
				if !there {
					return ErrGone
				}
				if cause.Changed.IsZero() {
					cause.Changed = time.Now()
				}
			default:
			}
			continue
		}
		l.failures = 0
		wait := l.Check
		if !result.Again.IsZero() {
			wait = min(wait, time.Until(result.Again))
		}
		timer := time.NewTimer(wait)
		cause = Cause{}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case _, there := <-host.Changes():
			if !there {
				timer.Stop()
				return ErrGone
			}
			cause.Changed = time.Now()
			if !l.settle(ctx, host.Changes()) {
				timer.Stop()
				return ErrGone
			}
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// settle returns when nothing has changed for Quiet, or something has for Most; and whether the connection still stands.
func (l *Loop) settle(ctx context.Context, changes <-chan struct{}) bool {
	most := time.NewTimer(l.Most)
	defer most.Stop()
	for {
		quiet := time.NewTimer(l.Quiet)
		select {
		case _, there := <-changes:
			quiet.Stop()
			if !there {
				return false
			}
			continue
		case <-quiet.C:
		case <-most.C:
		case <-ctx.Done():
		}
		quiet.Stop()
		return true
	}
}

// failed counts a failure and returns how long to wait after it.
func (l *Loop) failed(err error) time.Duration {
	wait := l.Last
	if l.failures < 30 {
		wait = min(wait, l.First<<l.failures)
	}
	l.failures++
	wait += rand.N(wait + 1)
	if l.Failed != nil {
		l.Failed(err, wait)
	}
	return wait
}

func (l *Loop) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
