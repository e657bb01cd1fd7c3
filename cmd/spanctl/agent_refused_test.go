package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"spanctl/ovs"
	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
)

// What is refused is left alone, for longer each time, with all that shares rows with it and until any of that is stored
// otherwise.
func TestRefused(t *testing.T) {
	t.Parallel()
	r, now := refused{}, time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	snap := &plan.Snapshot{Intent: map[string]string{"audit": "{}", "large": "{}", "other": "{}"}}
	held := func(sessions ...string) bool { return r.holds(snap, now)(&plan.Change{Sessions: sessions}) }
	wantHeld := func(when string, want bool) {
		t.Helper()
		if held("audit") != want || held("large") != want || held("large", "other") != want || held("other") || held() {
			t.Errorf("%s: audit %v, large %v, other %v, none %v", when, held("audit"), held("large"), held("other"), held())
		}
		reports := map[string]*plan.Report{"audit": {}, "other": {}}
		next := r.report(snap, reports, now)
		if why := reports["audit"].Failed; (why == "range") != want || next.IsZero() == want || reports["other"].Failed != "" {
			t.Errorf("%s: the report says %q, again %s", when, why, next)
		}
	}
	wantHeld("at first", false)
	for _, wait := range []time.Duration{1, 2, 4} {
		r.add(snap, []string{"audit", "large"}, "range", now)
		now = now.Add(wait*time.Second - 1)
		wantHeld("refused", true)
		now = now.Add(1)
		wantHeld("to be tried again", false)
	}
	r.add(snap, []string{"audit", "large"}, "range", now)
	snap.Intent["large"] = `{"snaplen":100}`
	wantHeld("corrected", false)
	r.add(snap, []string{""}, "range", now)
	if !held() || held("audit") {
		t.Errorf("of rows that serve no session it is %v", held())
	}
}

// An agent that cannot store its lease is not told that sessions are at fault.
func TestIsRefusal(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		fmt.Errorf("x: %w", ovs.ErrRejected):                      true,
		fmt.Errorf("x: %w", openflow.ErrRejected):                 true,
		fmt.Errorf("%w: %w", errLease, ovs.ErrRejected):           false,
		fmt.Errorf("%w: %w", ovs.ErrConflict, errors.New("else")): false,
		nil: false,
	} {
		if isRefusal(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}
