package ovs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
)

// session is a session that the database of twoPorts can carry.
const session = "audit: {sources: [{interface: vif1.0}], destinations: [{interface: vif9.0}]}"

// twoPorts starts a database with a source and a destination.
func twoPorts(t *testing.T) *ovstest.Lab {
	t.Helper()
	lab := start(t, ovstest.Config{})
	vsctl(t, lab, "--", "add-port", "br0", "vif1.0", "--", "add-port", "br0", "vif9.0", "--", "set", "Open_vSwitch", ".", "ovs_version=3.5.0")
	return lab
}

// TestConnectionFailsAtAnyRequest cuts or stalls the connection at each
// request of dial, observe and apply. Whatever happens, the error is
// ErrUnreachable, and the database is as before or as wanted, never between.
func TestConnectionFailsAtAnyRequest(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	before := dump(t, lab)
	apply(t, lab, put(t, session))
	wanted := dump(t, lab)
	end(t, lab)
	requests := []string{"list_dbs", "get_schema", "list_dbs", "get_schema", "monitor_cond_since", "transact", "transact", "transact"}
	const wait = 6 // from this request on the transaction is known to be committed
	for fate, name := range map[int]string{cut: "cut", cutAfter: "cut_after", swallow: "stall", swallowed: "stall_after"} {
		for at, method := range requests {
			t.Run(fmt.Sprintf("%s_at_%d_%s", name, at, method), func(t *testing.T) {
				var count atomic.Int32
				ctx := newExpiring(t)
				p := interpose(t, lab, ctx.Expire, func(got string) int {
					n := int(count.Add(1)) - 1
					if n != at {
						return pass
					}
					if got != method {
						t.Errorf("request %d is %s, want %s", n, got, method)
					}
					return fate
				})
				err, want := wholeApply(ctx, t, lab, p.Remote), ovs.ErrUnreachable
				if at >= wait {
					want = ovs.ErrNotInForce
				}
				if !errors.Is(err, want) {
					t.Errorf("error is %v, want %v", err, want)
				}
				rows := sinceRevision(dump(t, lab))
				if rows != sinceRevision(before) && rows != sinceRevision(wanted) {
					t.Errorf("the database is left as\n%s", rows)
				}
				end(t, lab)
			})
		}
	}
}

// end ends every session, and removes the turn when that is done.
func end(t *testing.T, lab *ovstest.Lab) {
	t.Helper()
	apply(t, lab, without())
	apply(t, lab, without())
}

// wholeApply dials, applies the session and waits until it is in force, with
// the test in ovs-vswitchd's place.
func wholeApply(ctx context.Context, t *testing.T, lab *ovstest.Lab, remote string) error {
	conn, err := ovs.Dial(ctx, remote, ovs.TLS{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer conn.Close()
	applied, err := conn.Apply(ctx, put(t, session), t.Name())
	if err != nil {
		return err
	}
	takeIn(t, lab)
	return conn.WaitInForce(ctx, applied)
}

// An expiring is a context whose deadline comes when the test says so.
type expiring struct {
	context.Context
	done chan struct{}
	once *sync.Once
}

func newExpiring(t *testing.T) expiring {
	return expiring{within(t, patience), make(chan struct{}), new(sync.Once)}
}

func (e expiring) Expire()               { e.once.Do(func() { close(e.done) }) }
func (e expiring) Done() <-chan struct{} { return e.done }
func (e expiring) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// sinceRevision is a dump without the counters of transactions.
func sinceRevision(rows string) string {
	var kept []string
	for line := range strings.Lines(rows) {
		if !strings.HasPrefix(line, "  next_cfg ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestServerEndsBetweenCalls cuts the connection between two calls.
func TestServerEndsBetweenCalls(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	p := interpose(t, lab, nil, func(string) int { return pass })
	conn := dial(t, p.Remote)
	applied, err := conn.Apply(within(t, patience), put(t, session), t.Name())
	check(t, err)
	p.Cut()
	ctx := within(t, patience)
	waitUntil(t, "the client to know", func() bool {
		_, err = conn.Observe(ctx)
		return err != nil
	})
	if !errors.Is(err, ovs.ErrUnreachable) {
		t.Errorf("Observe: %v", err)
	}
	if _, err := conn.Apply(ctx, put(t, session), t.Name()); !errors.Is(err, ovs.ErrUnreachable) {
		t.Errorf("Apply: %v", err)
	}
	if err := conn.WaitInForce(ctx, applied); !errors.Is(err, ovs.ErrUnreachable) && !errors.Is(err, ovs.ErrNotInForce) {
		t.Errorf("WaitInForce: %v", err)
	}
	if _, err := conn.Statistics(ctx, applied.Plan.Base); err != nil {
		t.Errorf("Statistics of nothing: %v", err)
	}
	conn.Close()
}

// TestNobodyListens dials what is not there.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	closed := listener.Addr().String()
	check(t, listener.Close())
	for name, remote := range map[string]string{
		"no socket":     "unix:" + filepath.Join(dir, "none.sock"),
		"no directory":  "unix:" + filepath.Join(dir, "none", "db.sock"),
		"a directory":   "unix:" + dir,
		"closed port":   "tcp:" + closed,
		"several":       "tcp:" + closed + ",unix:" + filepath.Join(dir, "none.sock"),
		"too long path": "unix:" + filepath.Join(dir, strings.Repeat("x", 200)),
	} {
		_, err := ovs.Dial(within(t, patience), remote, ovs.TLS{}, slog.New(slog.DiscardHandler))
		if !errors.Is(err, ovs.ErrUnreachable) || !strings.Contains(err.Error(), "check that ovsdb-server runs") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
