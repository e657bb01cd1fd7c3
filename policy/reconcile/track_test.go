package reconcile_test

import (
	"testing"
	"time"

	"spanctl/policy"
	"spanctl/policy/plan"
	"spanctl/policy/reconcile"
)

// stored is a plan for one session, stored as this text.
func stored(text string) *plan.Plan {
	return &plan.Plan{Base: &plan.Snapshot{Intent: map[string]string{"audit": text}, Reports: map[string]string{}}}
}

// health is that of a session which copies one source and misses others.
func health(state plan.State, blind ...string) []plan.Health {
	return []plan.Health{{Outcome: &plan.Outcome{Name: "audit", Session: &policy.Session{}}, State: state, Copied: 1, Blind: blind}}
}

func after(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

func wantBlind(t *testing.T, r *plan.Report, since map[string]time.Time) {
	t.Helper()
	if len(r.Blind) != len(since) {
		t.Errorf("blind are %v, want %v", r.Blind, since)
	}
	for port, at := range since {
		if !r.Blind[port].Equal(at) {
			t.Errorf("blind are %v, want %v", r.Blind, since)
		}
	}
}

// A guest is blind since it was first so, whichever agent looks, as long as the session is the same.
func TestBlindSince(t *testing.T) {
	var one, two, three reconcile.Track
	one.Reports(stored("a"), health(plan.StateDegraded, "vif1.0"), nil, noon)
	r := one.Reports(stored("a"), health(plan.StateDegraded, "vif1.0", "vif2.0"), nil, after(1))["audit"]
	wantBlind(t, r, map[string]time.Time{"vif1.0": noon, "vif2.0": after(1)})

	next := stored("a")
	next.Base.Reports["audit"] = r.Text()
	two.Recall(next.Base)
	r = two.Reports(next, health(plan.StateDegraded, "vif2.0", "vif3.0"), nil, after(2))["audit"]
	wantBlind(t, r, map[string]time.Time{"vif2.0": after(1), "vif3.0": after(2)})
	two.Recall(next.Base) // what is known is known better
	r = two.Reports(next, health(plan.StateDegraded, "vif1.0"), nil, after(3))["audit"]
	wantBlind(t, r, map[string]time.Time{"vif1.0": after(3)})

	changed := stored("b")
	changed.Base.Reports["audit"] = r.Text()
	three.Recall(changed.Base)
	for _, track := range []*reconcile.Track{&two, &three} {
		r = track.Reports(changed, health(plan.StateDegraded, "vif1.0"), nil, after(4))["audit"]
		wantBlind(t, r, map[string]time.Time{"vif1.0": after(4)})
	}

	two.Reports(&plan.Plan{Base: &plan.Snapshot{}}, nil, nil, after(5)) // the session is deleted
	r = two.Reports(changed, health(plan.StateDegraded, "vif1.0"), nil, after(6))["audit"]
	wantBlind(t, r, map[string]time.Time{"vif1.0": after(6)})
}

// The same findings make the same text, so that it need not be stored again.
func TestReportTextStays(t *testing.T) {
	var track reconcile.Track
	contested := map[string][]string{"audit": {"Mirror spanctl-audit"}}
	text := func(minutes int) string {
		return track.Reports(stored("a"), health(plan.StateDegraded, "vif2.0", "vif1.0"), contested, after(minutes).Add(1234567))["audit"].Text()
	}
	if one, two := text(0), text(1); one != two {
		t.Errorf("text was %s\nand is %s", one, two)
	}
}

// A session's counters stand still when three readings in a row have shown it while the same sources sent.
func TestStill(t *testing.T) {
	type reading struct {
		round        int
		sent, copied uint64
		still        int // since which reading, -1 if they are not said to stand still
	}
	for name, readings := range map[string][]reading{
		"still":           {{0, 1, 7, -1}, {0, 2, 7, -1}, {0, 3, 7, -1}, {0, 4, 7, 1}, {0, 5, 7, 1}},
		"moves":           {{0, 1, 7, -1}, {0, 2, 7, -1}, {0, 3, 7, -1}, {0, 4, 7, 1}, {0, 5, 8, -1}, {0, 6, 8, -1}},
		"nothing is sent": {{0, 1, 7, -1}, {0, 1, 7, -1}, {0, 1, 7, -1}, {0, 1, 7, -1}, {0, 1, 7, -1}},
		"a pause":         {{0, 1, 7, -1}, {0, 2, 7, -1}, {0, 3, 7, -1}, {0, 3, 7, -1}, {0, 4, 7, -1}, {0, 5, 7, -1}, {0, 6, 7, 4}},
		"counts anew":     {{0, 9, 7, -1}, {0, 10, 7, -1}, {0, 11, 7, -1}, {0, 1, 7, -1}, {0, 2, 7, -1}},
		"another round":   {{0, 1, 7, -1}, {0, 2, 7, -1}, {1, 900, 7, -1}, {1, 901, 7, -1}, {1, 902, 7, 1}, {2, 5, 7, 1}, {2, 5, 7, -1}},
	} {
		t.Run(name, func(t *testing.T) {
			var track reconcile.Track
			for n, r := range readings {
				track.Sent("audit", r.round, r.sent, r.copied, after(n))
				still := track.Reports(stored("a"), health(plan.StateActive), nil, after(n))["audit"].Still
				if still == nil != (r.still < 0) || still != nil && !still.Equal(after(r.still)) {
					t.Fatalf("after reading %d still is %v, want %d", n, still, r.still)
				}
			}
		})
	}
}

// What was found of counters is forgotten when nobody looks at them any more, or they are another session's.
func TestStillIsForgotten(t *testing.T) {
	narrow := health(plan.StateActive)
	narrow[0].Outcome.Session = &policy.Session{Sources: []policy.Selector{{Direction: policy.DirectionFrom}}}
	for name, now := range map[string]struct {
		plan   *plan.Plan
		health []plan.Health
	}{
		"degraded":       {stored("a"), health(plan.StateDegraded, "vif1.0")},
		"not whole":      {stored("a"), narrow},
		"another":        {stored("b"), health(plan.StateActive)},
		"session is not": {&plan.Plan{Base: &plan.Snapshot{}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var track reconcile.Track
			reports := func(n int) *plan.Report {
				track.Sent("audit", 0, uint64(n), 7, after(n))
				return track.Reports(stored("a"), health(plan.StateActive), nil, after(n))["audit"]
			}
			for n := range 4 {
				reports(n)
			}
			if reports(4).Still == nil {
				t.Fatal("it does not stand still")
			}
			if r := track.Reports(now.plan, now.health, nil, after(5))["audit"]; r != nil && r.Still != nil {
				t.Errorf("it stands still since %s", r.Still)
			}
			if r := reports(6); r.Still != nil {
				t.Errorf("it stands still since %s", r.Still)
			}
		})
	}
}

func TestReports(t *testing.T) {
	var track reconcile.Track
	h := health(plan.StateDegraded)
	h[0].Problems = []string{"link is down", "another"}
	r := track.Reports(stored("a"), h, map[string][]string{"audit": {"Port x"}}, noon)["audit"]
	if !r.About("a") || r.About("b") || r.State != plan.StateDegraded || r.Reason != "link is down" || len(r.Contested) != 1 {
		t.Errorf("report is %+v", r)
	}
	h = health(plan.StateWaiting)
	h[0].Outcome.Reason = "no destination"
	if r := track.Reports(stored("a"), h, nil, noon)["audit"]; r.Reason != "no destination" {
		t.Errorf("report is %+v", r)
	}
	h = health(plan.StateActive)
	h[0].Problems = []string{"nothing that makes it degraded"}
	if r := track.Reports(stored("a"), h, nil, noon)["audit"]; r.Reason != "" {
		t.Errorf("report is %+v", r)
	}
}
