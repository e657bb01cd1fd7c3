package ovs_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// patience ends a test that hangs: no test waits for it.
const patience = 3 * time.Minute

// start starts an ovsdb-server without ovs-vswitchd that ends with the test.
func start(t *testing.T, cfg ovstest.Config) *ovstest.Lab {
	t.Helper()
	cfg.Name, cfg.DatabaseOnly = t.Name(), true
	lab, err := ovstest.Start(within(t, patience), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, lab.Close()) })
	return lab
}

// within is a context of the test's that ends by itself.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dial connects until the test ends.
func dial(t *testing.T, remote string) *ovs.Conn {
	t.Helper()
	conn := dialOnce(t, remote)
	t.Cleanup(conn.Close)
	return conn
}

// dialOnce connects until the caller closes: what a test remembers for its end
// takes memory until then.
func dialOnce(t *testing.T, remote string) *ovs.Conn {
	t.Helper()
	conn, err := ovs.Dial(within(t, patience), remote, ovs.TLS{}, slog.New(slog.DiscardHandler))
	check(t, err)
	return conn
}

func observe(t *testing.T, conn *ovs.Conn) *plan.Snapshot {
	t.Helper()
	snap, err := conn.Observe(within(t, patience))
	check(t, err)
	return snap
}

// await observes until the condition holds: the server tells of what others
// change when it comes to it.
func await(t *testing.T, conn *ovs.Conn, what string, holds func(*plan.Snapshot) bool) *plan.Snapshot {
	t.Helper()
	var snap *plan.Snapshot
	waitUntil(t, what, func() bool {
		snap = observe(t, conn)
		return holds(snap)
	})
	return snap
}

// waitUntil returns when the condition holds.
func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := within(t, patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// look observes the database by a connection of its own.
func look(t *testing.T, lab *ovstest.Lab) *plan.Snapshot {
	t.Helper()
	conn := dialOnce(t, lab.DB)
	defer conn.Close()
	return observe(t, conn)
}

// vsctl runs one transaction of another hand.
func vsctl(t *testing.T, lab *ovstest.Lab, args ...string) string {
	t.Helper()
	out, err := lab.VSCtl(within(t, patience), args...)
	check(t, err)
	return out
}

// tool runs a program of Open vSwitch and returns what it printed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(within(t, patience), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// transactions counts the records of the database's log, ovsdb(5): the schema
// is one, and each transaction that changed something.
func transactions(t *testing.T, lab *ovstest.Lab) int {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(lab.Dir, "conf.db"))
	check(t, err)
	return bytes.Count(log, []byte("OVSDB JSON "))
}

// noon is the time of plans.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// parse reads a policy of the test's, or the sessions of one.
func parse(t *testing.T, text string) map[string]*policy.Session {
	t.Helper()
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if !strings.Contains(text, "version:") {
		text = "version: 1\nsessions:\n  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
	}
	doc, err := policy.Parse(t.Name(), []byte(text))
	check(t, err)
	return doc.Sessions
}

// put plans stored intent with sessions put into it.
func put(t *testing.T, text string) ovs.Planner {
	t.Helper()
	sessions := parse(t, text)
	return func(snap *plan.Snapshot) (*plan.Plan, error) {
		intent := plan.StoredIntent(snap)
		for name, session := range sessions {
			if err := intent.Put(name, session); err != nil {
				return nil, err
			}
		}
		return plan.Make(snap, intent, noon), nil
	}
}

// without plans stored intent less some sessions, all if none is named.
func without(names ...string) ovs.Planner {
	return func(snap *plan.Snapshot) (*plan.Plan, error) {
		intent := plan.StoredIntent(snap)
		if len(names) == 0 {
			names = intent.Names()
		}
		for _, name := range names {
			delete(intent, name)
		}
		return plan.Make(snap, intent, noon), nil
	}
}

// apply carries a plan out by a connection of its own.
func apply(t *testing.T, lab *ovstest.Lab, planner ovs.Planner) *ovs.Applied {
	t.Helper()
	conn := dialOnce(t, lab.DB)
	defer conn.Close()
	applied, err := conn.Apply(within(t, patience), planner, "spanctl "+t.Name())
	check(t, err)
	return applied
}

// takeIn reports the configuration as taken in, as ovs-vswitchd does.
func takeIn(t *testing.T, lab *ovstest.Lab) {
	t.Helper()
	next := strings.TrimSpace(vsctl(t, lab, "get", "Open_vSwitch", ".", "next_cfg"))
	vsctl(t, lab, "set", "Open_vSwitch", ".", "cur_cfg="+next)
}
