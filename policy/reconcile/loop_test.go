package reconcile_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spanctl/policy/reconcile"
)

// A host is a reconcile.Host that notes when passes are made, and does in them what the test says.
type host struct {
	changes chan struct{}
	pass    func(context.Context, reconcile.Cause) (reconcile.Result, error)
	closed  atomic.Int32
}

func newHost() *host { return &host{changes: make(chan struct{}, 1)} }

func (h *host) Changes() <-chan struct{} { return h.changes }

func (h *host) Close() { h.closed.Add(1) }

func (h *host) Pass(ctx context.Context, cause reconcile.Cause) (reconcile.Result, error) {
	return h.pass(ctx, cause)
}

// change tells of one, as a Watch does: what is there stands for this one too.
func (h *host) change() {
	select {
	case h.changes <- struct{}{}:
	default:
	}
}

// A run is a Loop in a bubble, and what it has done. The test has mu but while it lets time pass.
type run struct {
	*reconcile.Loop
	mu     sync.Mutex
	host   *host
	began  time.Time
	ended  bool
	passes []time.Duration // when each was made
	causes []reconcile.Cause
	errors []error
	waits  []time.Duration
}

// begin makes a loop in the bubble. The nth pass, from 0, does what do says.
func begin(t *testing.T, do func(n int) (reconcile.Result, error)) *run {
	t.Helper()
	r := &run{host: newHost(), began: time.Now()}
	r.mu.Lock()
	pass := func(_ context.Context, cause reconcile.Cause) (reconcile.Result, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.passes, r.causes = append(r.passes, time.Since(r.began)), append(r.causes, cause)
		return do(len(r.passes) - 1)
	}
	r.Loop = &reconcile.Loop{
		Connect: func(context.Context) (reconcile.Host, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.host.pass = pass
			return r.host, nil
		},
		Quiet: 20 * time.Millisecond, Most: 200 * time.Millisecond, Check: 5 * time.Second, First: 20 * time.Millisecond, Last: 2 * time.Second,
		Failed: func(err error, again time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.errors, r.waits = append(r.errors, err), append(r.waits, again)
		},
	}
	return r
}

func (r *run) start(ctx context.Context) {
	go func() {
		r.Run(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ended = true
	}()
	r.advance(0)
}

// advance lets time pass, and whatever is to be done then be done.
func (r *run) advance(d time.Duration) {
	r.mu.Unlock()
	defer r.mu.Lock()
	time.Sleep(d) // of the bubble: nobody waits
	synctest.Wait()
}

func well(int) (reconcile.Result, error) { return reconcile.Result{}, nil }

var errRefused = errors.New("refused")

// inBubble runs a test on a loop that is under way; it ends with it.
func inBubble(t *testing.T, do func(n int) (reconcile.Result, error), test func(*testing.T, *run)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, do)
		ctx, end := context.WithCancel(t.Context())
		r.start(ctx)
		test(t, r)
		end()
		r.advance(0)
		if !r.ended || r.host.closed.Load() == 0 {
			t.Errorf("ended is %v, hosts closed %d", r.ended, r.host.closed.Load())
		}
	})
}

func wantPasses(t *testing.T, r *run, at ...time.Duration) {
	t.Helper()
	if len(r.passes) != len(at) {
		t.Fatalf("passes at %v, want %v", r.passes, at)
	}
	for i := range at {
		if r.passes[i] != at[i] {
			t.Fatalf("passes at %v, want %v", r.passes, at)
		}
	}
}

func TestQuiet(t *testing.T) {
	inBubble(t, well, func(t *testing.T, r *run) {
		wantPasses(t, r, 0)
		if !r.causes[0].First {
			t.Errorf("the first cause is %+v", r.causes[0])
		}
		r.advance(time.Second)
		for range 5 {
			r.host.change()
			r.advance(10 * time.Millisecond)
		}
		r.advance(time.Second)
		wantPasses(t, r, 0, 1060*time.Millisecond)
		if changed := r.causes[1].Changed; changed.Sub(r.began) != time.Second || r.causes[1].First {
			t.Errorf("the cause is %+v", r.causes[1])
		}
	})
}

func TestMost(t *testing.T) {
	inBubble(t, well, func(t *testing.T, r *run) {
		r.advance(time.Second)
		for range 25 {
			r.host.change()
			r.advance(10 * time.Millisecond)
		}
		if len(r.passes) != 2 || r.passes[1] != 1200*time.Millisecond {
			t.Errorf("passes at %v", r.passes)
		}
	})
}

func TestCheck(t *testing.T) {
	inBubble(t, well, func(t *testing.T, r *run) {
		r.advance(11 * time.Second)
		wantPasses(t, r, 0, 5*time.Second, 10*time.Second)
		if r.causes[1] != (reconcile.Cause{}) {
			t.Errorf("the cause is %+v", r.causes[1])
		}
	})
}

func TestAgain(t *testing.T) {
	again := []time.Duration{time.Second, time.Hour, -time.Hour}
	inBubble(t, func(n int) (reconcile.Result, error) {
		if n < len(again) {
			return reconcile.Result{Again: time.Now().Add(again[n])}, nil
		}
		return reconcile.Result{}, nil
	}, func(t *testing.T, r *run) {
		r.advance(7 * time.Second)
		wantPasses(t, r, 0, time.Second, 6*time.Second, 6*time.Second) // Check comes before an hour
	})
}

// Waits double from First to Last, each with up to as much again; success begins anew.
func TestBackoff(t *testing.T) {
	const failures = 12
	inBubble(t, func(n int) (reconcile.Result, error) {
		if n == failures {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, errRefused
	}, func(t *testing.T, r *run) {
		r.advance(time.Minute)
		if len(r.waits) <= failures {
			t.Fatalf("waits are %v", r.waits)
		}
		least := 20 * time.Millisecond
		for n, wait := range r.waits[:failures+1] {
			if n == failures {
				least = 20 * time.Millisecond
			}
			if wait < least || wait > 2*least || !errors.Is(r.errors[n], errRefused) {
				t.Errorf("wait %d is %v after %v, want %v and up to as much again", n, wait, r.errors[n], least)
			}
			least = min(2*least, 2*time.Second)
		}
	})
}

// A change does not hasten the try after an error, and the try knows of it.
func TestChangeAfterError(t *testing.T) {
	inBubble(t, func(n int) (reconcile.Result, error) {
		if n < 8 {
			return reconcile.Result{}, errRefused
		}
		return reconcile.Result{}, nil
	}, func(t *testing.T, r *run) {
		for len(r.passes) < 8 {
			r.advance(time.Millisecond)
		}
		r.host.change()
		r.advance(0)
		r.advance(r.waits[7] - time.Millisecond)
		if len(r.passes) != 8 {
			t.Fatalf("passes at %v", r.passes)
		}
		r.advance(time.Millisecond)
		if len(r.passes) != 9 || r.causes[8].Changed.IsZero() {
			t.Fatalf("passes at %v, causes %+v", r.passes, r.causes)
		}
	})
}

// A cause outlives the error of its pass.
func TestCauseAfterError(t *testing.T) {
	inBubble(t, func(n int) (reconcile.Result, error) {
		if n == 1 {
			return reconcile.Result{}, errRefused
		}
		return reconcile.Result{}, nil
	}, func(t *testing.T, r *run) {
		r.host.change()
		r.advance(time.Second)
		if len(r.causes) != 3 || r.causes[2].Changed != r.causes[1].Changed || r.causes[2].Changed.IsZero() {
			t.Errorf("causes are %+v", r.causes)
		}
	})
}

// Another host is connected to when a pass says that this one is gone, and when its channel is closed: while nothing is done,
// while changes settle, and after an error.
func TestReconnects(t *testing.T) {
	gone := func(n int) (reconcile.Result, error) {
		if n == 0 {
			return reconcile.Result{}, errors.Join(errRefused, reconcile.ErrGone)
		}
		return reconcile.Result{}, nil
	}
	refused := func(n int) (reconcile.Result, error) {
		if n == 0 {
			return reconcile.Result{}, errRefused
		}
		return reconcile.Result{}, nil
	}
	for name, c := range map[string]struct {
		do   func(int) (reconcile.Result, error)
		harm func(*run, *host)
	}{
		"pass":           {gone, func(*run, *host) {}},
		"idle":           {well, func(_ *run, h *host) { close(h.changes) }},
		"settling":       {well, func(r *run, h *host) { h.change(); r.advance(0); close(h.changes) }},
		"after an error": {refused, func(_ *run, h *host) { close(h.changes) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.do, func(t *testing.T, r *run) {
				first := r.host
				r.host = newHost()
				c.harm(r, first)
				r.advance(time.Second)
				if first.closed.Load() != 1 || len(r.causes) != 2 || !r.causes[1].First || !errors.Is(r.errors[len(r.errors)-1], reconcile.ErrGone) {
					t.Errorf("closed %d times, causes %+v, errors %v", first.closed.Load(), r.causes, r.errors)
				}
			})
		})
	}
}

// Nothing is done before there is a connection; tries to connect back off as passes do.
func TestNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, well)
		connect, tries := r.Connect, 0
		r.Connect = func(ctx context.Context) (reconcile.Host, error) {
			if tries++; tries < 5 {
				return nil, errRefused
			}
			return connect(ctx)
		}
		ctx, end := context.WithCancel(t.Context())
		r.start(ctx)
		r.advance(150 * time.Millisecond) // 20 + 40 + 80 + 160 at least
		if len(r.passes) != 0 {
			t.Errorf("passes at %v", r.passes)
		}
		r.advance(time.Second)
		if len(r.passes) != 1 || len(r.waits) != 4 || r.waits[3] < 160*time.Millisecond {
			t.Errorf("passes at %v, waits %v", r.passes, r.waits)
		}
		end()
		r.advance(0)
		if !r.ended {
			t.Error("the loop goes on")
		}
	})
}

// Whatever the loop is at it ends with its context, and says nothing of it.
func TestEnd(t *testing.T) {
	for name, before := range map[string]func(*run){
		"idle":     func(*run) {},
		"settling": func(r *run) { r.host.change(); r.advance(0) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, well, func(t *testing.T, r *run) {
				before(r)
				if r.ended || len(r.errors) > 0 {
					t.Errorf("ended is %v, errors %v", r.ended, r.errors)
				}
			})
		})
	}
	t.Run("in a pass", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, well)
			r.Connect = func(context.Context) (reconcile.Host, error) {
				r.host.pass = func(ctx context.Context, _ reconcile.Cause) (reconcile.Result, error) {
					<-ctx.Done()
					return reconcile.Result{}, ctx.Err()
				}
				return r.host, nil
			}
			ctx, end := context.WithCancel(t.Context())
			r.start(ctx)
			end()
			r.advance(0)
			if !r.ended || len(r.errors) > 0 || r.host.closed.Load() != 1 {
				t.Errorf("ended is %v, errors %v, closed %d", r.ended, r.errors, r.host.closed.Load())
			}
		})
	})
	t.Run("after an error", func(t *testing.T) {
		inBubble(t, func(int) (reconcile.Result, error) { return reconcile.Result{}, errRefused }, func(*testing.T, *run) {})
	})
}
