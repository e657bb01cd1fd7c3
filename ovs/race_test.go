package ovs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// interfere is a planner that lets another hand act before each of its first
// plans is sent: after the snapshot, before the transaction.
func interfere(calls *int, times int, planner ovs.Planner, act func(call int)) ovs.Planner {
	return func(snap *plan.Snapshot) (*plan.Plan, error) {
		p, err := planner(snap)
		if *calls++; *calls <= times {
			act(*calls)
		}
		return p, err
	}
}

// TestLostRace lets others change what a plan rests on: it is made again on
// what they left, and carried out.
func TestLostRace(t *testing.T) {
	t.Parallel()
	const canonical = `'{"version":1,"sources":[{"interface":"vif1.0"}],"destinations":[{"interface":"vif9.0"}]}'`
	hub := func(t *testing.T) ovs.Planner {
		return put(t, "several: {sources: [{interface: \"vif[14].0\"}], destinations: [{interface: vif8.0}, {interface: vif9.0}]}")
	}
	for _, c := range []struct {
		name, stored, act string
		planner           func(*testing.T) ovs.Planner
		want              []string // lines of the dump
		calls             int
	}{
		{
			name: "another spanctl's first", act: "set open . external_ids:spanctl/revision=1 external_ids:spanctl/session/other=" + canonical,
			want: []string{"external_ids:spanctl/revision 2", "external_ids:spanctl/session/other {", "external_ids:spanctl-session audit,other"}, calls: 2,
		},
		{
			name: "another spanctl's next", stored: "other: {sources: [{interface: vif1.0}], destinations: [{interface: vif8.0}]}",
			act:  "set open . external_ids:spanctl/revision=7",
			want: []string{"external_ids:spanctl/revision 8", "external_ids:spanctl-session audit"}, calls: 2,
		},
		{
			name: "a session is deleted", stored: "other: {sources: [{interface: vif1.0}], destinations: [{interface: vif8.0}]}",
			act:  "remove open . external_ids spanctl/session/other",
			want: []string{"mirrors spanctl-audit\n"}, calls: 2,
		},
		{
			name: "a session is changed", stored: "other: {sources: [{interface: vif1.0}], destinations: [{interface: vif8.0}]}",
			act:  "set open . external_ids:spanctl/session/other=" + canonical,
			want: []string{"external_ids:spanctl-session audit,other"}, calls: 2,
		},
		{
			name: "the destination goes", act: "del-port vif9.0",
			want: []string{"external_ids:spanctl/revision 1", "external_ids:spanctl/session/audit {"}, calls: 2,
		},
		{
			name: "the destination restarts", act: "del-port vif9.0 -- add-port br0 vif9.0",
			want: []string{"output_port vif9.0"}, calls: 2,
		},
		{
			name: "the destination moves", act: "del-port vif9.0 -- add-port br1 vif9.0",
			want: []string{"external_ids:spanctl/session/audit {", "external_ids:spanctl-saved-bridge br1"}, calls: 2,
		},
		{
			name: "the bridge goes", act: "del-br br0",
			want: []string{"external_ids:spanctl/session/audit {"}, calls: 2,
		},
		{
			name: "our mirror goes", stored: session, act: "clear Bridge br0 mirrors", planner: func(t *testing.T) ovs.Planner {
				return put(t, strings.Replace(session, "vif1.0", "vif2.0", 1))
			},
			want: []string{"mirrors spanctl-audit\n", "select_src_port vif2.0"}, calls: 2,
		},
		// A tap bridge: its destinations are moved, its source bridges get ports.
		{
			name: "hub: a destination restarts", act: "del-port vif9.0 -- add-port br0 vif9.0", planner: hub,
			want: []string{"Port vif9.0\n  external_ids:spanctl-saved-bridge br0"}, calls: 2,
		},
		{
			name: "hub: a destination moves", act: "del-port vif9.0 -- add-br br2 -- set Bridge br2 datapath_type=netdev -- add-port br2 vif9.0", planner: hub,
			want: []string{"Port vif9.0\n  external_ids:spanctl-saved-bridge br2"}, calls: 2,
		},
		{
			name: "hub: a source bridge goes", act: "del-br br1", planner: hub,
			want: []string{"Bridge br0\n  mirrors spanctl-several\n"}, calls: 2,
		},
		{
			name: "hub: somebody has the name", act: "add-br spanctl-bf167c", planner: hub,
			want: []string{"external_ids:spanctl/session/several {"}, calls: 2,
		},
		// What a plan does not rest on is no conflict.
		{name: "a guest starts", act: "add-port br0 vif3.0", want: []string{"vif3.0", "mirrors spanctl-audit\n"}, calls: 1},
		{name: "others' keys", act: "set open . external_ids:theirs=1 -- set Bridge br0 external_ids:theirs=2", want: []string{"external_ids:theirs 1", "external_ids:theirs 2"}, calls: 1},
		{
			name: "others' mirror", act: "-- --id=@m create Mirror name=theirs -- add Bridge br0 mirrors @m",
			want: []string{"mirrors spanctl-audit theirs\n"}, calls: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lab := start(t, ovstest.Config{})
			shell(t, lab, "set open . ovs_version=3.5.0 -- add-port br0 vif1.0 -- add-port br0 vif2.0 -- add-port br0 vif8.0 -- add-port br0 vif9.0 -- add-br br1 -- add-port br1 vif4.0 -- set Bridge br1 datapath_type=netdev")
			if c.stored != "" {
				apply(t, lab, put(t, c.stored))
			}
			planner, calls := put(t, session), 0
			if c.planner != nil {
				planner = c.planner(t)
			}
			applied := apply(t, lab, interfere(&calls, 1, planner, func(int) { shell(t, lab, c.act) }))
			rows := dump(t, lab)
			if !applied.Committed || calls < c.calls || c.calls == 1 && calls > 1 {
				t.Errorf("committed %v in %d plans, want %d", applied.Committed, calls, c.calls)
			}
			for _, want := range c.want {
				if !strings.Contains(rows, want) {
					t.Errorf("rows lack %q:\n%s", want, rows)
				}
			}
			// A later plan finds nothing left to do.
			if p := apply(t, lab, planner); p.Committed {
				t.Errorf("left to do: %+v", p.Plan.Changes)
			}
		})
	}
}

// TestPermanentInterference never lets a plan through: Apply ends, and has
// changed nothing.
func TestPermanentInterference(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	conn := dial(t, lab.DB)
	calls := 0
	planner := interfere(&calls, 1000, put(t, session), func(call int) {
		shell(t, lab, fmt.Sprintf("set open . external_ids:spanctl/revision=%d", 100+call))
	})
	applied, err := conn.Apply(within(t, patience), planner, t.Name())
	if applied != nil || !errors.Is(err, ovs.ErrConflict) || !strings.Contains(err.Error(), "nothing was changed, try again") {
		t.Errorf("applied %+v, error %v", applied, err)
	}
	if calls < 2 || calls > 100 {
		t.Errorf("%d plans were made", calls)
	}
	shell(t, lab, "remove open . external_ids spanctl/revision")
	if rows := dump(t, lab); strings.Contains(rows, "spanctl") || strings.Contains(rows, "next_cfg") {
		t.Errorf("rows are\n%s", rows)
	}
}

// TestInterruptedInterference ends with its context.
func TestInterruptedInterference(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	conn := dial(t, lab.DB)
	ctx, cancel := context.WithCancel(within(t, patience))
	calls := 0
	planner := interfere(&calls, 1000, put(t, session), func(call int) {
		shell(t, lab, fmt.Sprintf("set open . external_ids:spanctl/revision=%d", 100+call))
		if call == 3 {
			cancel()
		}
	})
	if _, err := conn.Apply(ctx, planner, t.Name()); !errors.Is(err, context.Canceled) || calls != 3 {
		t.Errorf("error %v after %d plans", err, calls)
	}
}

// TestPlannersError ends Apply at once, and the database is as it was.
func TestPlannersError(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	before := dump(t, lab)
	mine := errors.New("mine")
	_, err := dial(t, lab.DB).Apply(within(t, patience), func(*plan.Snapshot) (*plan.Plan, error) { return nil, mine }, t.Name())
	if !errors.Is(err, mine) {
		t.Errorf("error is %v", err)
	}
	sameRows(t, dump(t, lab), before)
}

// TestManyWriters applies one session each, all at once: all come through, and
// the destination has one mirror.
func TestManyWriters(t *testing.T) {
	t.Parallel()
	const writers = 8
	lab := twoPorts(t)
	var all sync.WaitGroup
	for w := range writers {
		conn := dial(t, lab.DB)
		planner := put(t, strings.Replace(session, "audit", fmt.Sprintf("audit%d", w), 1))
		all.Go(func() {
			if _, err := conn.Apply(within(t, patience), planner, t.Name()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	snap := look(t, lab)
	if len(snap.Intent) != writers || snap.Revision != fmt.Sprint(writers) {
		t.Errorf("%d sessions, revision %s", len(snap.Intent), snap.Revision)
	}
	if mirrors := snap.Bridges[0].Mirrors; len(mirrors) != 1 || len(mirrors[0].Sessions()) != writers {
		t.Errorf("mirrors are %+v", mirrors)
	}
}
