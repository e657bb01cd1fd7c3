package ovs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

// TestNoVSwitchd waits for an ovs-vswitchd that does not run.
func TestNoVSwitchd(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	conn := dial(t, lab.DB)
	applied, err := conn.Apply(within(t, patience), put(t, session), t.Name())
	check(t, err)
	for name, limit := range map[string]time.Duration{"none": 0, "short": 20 * time.Millisecond, "longer": 300 * time.Millisecond} {
		err := conn.WaitInForce(within(t, limit), applied)
		if !errors.Is(err, ovs.ErrNotInForce) || !strings.Contains(err.Error(), "check that it runs") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if len(look(t, lab).Bridges[0].Mirrors) != 1 {
		t.Error("what was committed is gone")
	}
}

// TestWaitInForce returns when the test, in ovs-vswitchd's place, has taken
// the transaction in, and then shows what it reported.
func TestWaitInForce(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	conn := dial(t, lab.DB)
	ctx := within(t, patience)
	for round, ofport := range []int{5, 6} {
		applied, err := conn.Apply(ctx, put(t, strings.Replace(session, "audit:", fmt.Sprintf("audit%d:", round), 1)), t.Name())
		check(t, err)
		if applied.NextCfg != round+1 {
			t.Errorf("next_cfg is %d, want %d", applied.NextCfg, round+1)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- conn.WaitInForce(ctx, applied) }()
		// An older configuration that is taken in is not it.
		vsctl(t, lab, "set", "Open_vSwitch", ".", fmt.Sprintf("cur_cfg=%d", round))
		select {
		case err := <-waiting:
			t.Fatalf("in force before it was: %v", err)
		default:
		}
		vsctl(t, lab, "set", "Interface", "vif9.0", fmt.Sprintf("ofport=%d", ofport), "--", "set", "Open_vSwitch", ".", fmt.Sprintf("cur_cfg=%d", round+1))
		check(t, <-waiting)
		if got := observe(t, conn).Bridges[0].Port("vif9.0").Interfaces[0].OFPort; got != ofport {
			t.Errorf("ofport is %d, want %d", got, ofport)
		}
		check(t, conn.WaitInForce(ctx, applied))
	}
	// A later configuration holds it too.
	applied, err := conn.Apply(ctx, without("audit0"), t.Name())
	check(t, err)
	vsctl(t, lab, "set", "Open_vSwitch", ".", "next_cfg=50", "cur_cfg=50")
	check(t, conn.WaitInForce(ctx, applied))
}

// TestWaitInForceOfOthers has sent nothing, and waits for what others sent.
func TestWaitInForceOfOthers(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	ctx, requests := newExpiring(t), 0
	p := interpose(t, lab, ctx.Expire, func(method string) int {
		if method == "transact" {
			requests++
		}
		if requests == 5 { // next_cfg, wait, sync; next_cfg, wait
			return swallow
		}
		return pass
	})
	conn := dial(t, p.Remote)
	applied, err := conn.Apply(ctx, put(t, ""), t.Name())
	check(t, err)
	check(t, conn.WaitInForce(ctx, applied))
	vsctl(t, lab, "set", "Open_vSwitch", ".", "next_cfg=7")
	if err := conn.WaitInForce(ctx, applied); !errors.Is(err, ovs.ErrNotInForce) {
		t.Errorf("error is %v", err)
	}
}

// TestInterruptedWait ends with its context.
func TestInterruptedWait(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	conn := dial(t, lab.DB)
	applied, err := conn.Apply(within(t, patience), put(t, session), t.Name())
	check(t, err)
	ctx, cancel := context.WithCancel(within(t, patience))
	cancel()
	if err := conn.WaitInForce(ctx, applied); !errors.Is(err, ovs.ErrNotInForce) {
		t.Errorf("error is %v", err)
	}
}

// TestStatistics reads counters that the test writes in ovs-vswitchd's place.
func TestStatistics(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	vsctl(t, lab, "--", "--id=@m", "create", "Mirror", "name=theirs", "statistics:tx_packets=1", "--", "add", "Bridge", "br0", "mirrors", "@m")
	conn := dial(t, lab.DB)
	ctx := within(t, patience)
	if counters, err := conn.Statistics(ctx, observe(t, conn)); err != nil || counters != nil {
		t.Errorf("of no mirror of ours: %v, %v", counters, err)
	}
	_, err := conn.Apply(ctx, put(t, session), t.Name())
	check(t, err)
	snap := observe(t, conn)
	uuid := ""
	for _, m := range snap.Bridges[0].Mirrors {
		if m.Managed() {
			uuid = m.UUID
		}
	}
	type answer struct {
		counters *plan.Readings
		err      error
	}
	waiting := make(chan answer, 1)
	go func() {
		counters, err := conn.Statistics(ctx, snap)
		waiting <- answer{counters, err}
	}()
	vsctl(t, lab, "set", "Mirror", uuid, "statistics:tx_packets=3", "statistics:tx_bytes=9007199254740992")
	a := <-waiting
	if want := (plan.Counters{Packets: 3, Bytes: 9007199254740992}); a.err != nil || len(a.counters.Mirrors) != 1 || a.counters.Mirrors[uuid] == nil || *a.counters.Mirrors[uuid] != want {
		t.Errorf("counters are %v, %v; want %v", a.counters, a.err, want)
	}
}

// TestStatisticsOfMirrorsNotInstalled asks for long enough: there are none, and
// that is known.
func TestStatisticsOfMirrorsNotInstalled(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	apply(t, lab, put(t, session))
	conn := dial(t, lab.DB)
	counters, err := conn.Statistics(within(t, patience), observe(t, conn))
	if err != nil || len(counters.Mirrors) != 1 {
		t.Fatalf("counters are %v, %v", counters, err)
	}
	for _, c := range counters.Mirrors {
		if c != nil {
			t.Errorf("counters are %v", c)
		}
	}
}

// TestStatisticsUnknown asks for counters of mirrors that have none yet when
// the time is up, or that go meanwhile: nothing is known, and that is no error.
func TestStatisticsUnknown(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	apply(t, lab, put(t, session))
	for name, gone := range map[string]bool{"gone": true, "none yet": false} {
		t.Run(name, func(t *testing.T) {
			ctx, requests := newExpiring(t), 0
			p := interpose(t, lab, ctx.Expire, func(method string) int {
				if method != "transact" {
					return pass
				}
				if requests++; requests <= 2 {
					return pass
				}
				return swallow
			})
			conn := dial(t, p.Remote)
			snap := observe(t, conn)
			if gone {
				apply(t, lab, without())
				defer apply(t, lab, put(t, session))
			}
			counters, err := conn.Statistics(ctx, snap)
			if err != nil || len(counters.Mirrors) != 0 {
				t.Errorf("counters are %v, %v", counters, err)
			}
			if waited := ctx.Err() != nil; waited == gone {
				t.Errorf("waited: %v", waited)
			}
		})
	}
}
