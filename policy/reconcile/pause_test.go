package reconcile_test

import (
	"testing"
	"time"

	"spanctl/policy/reconcile"
)

// What fails again and again is left alone for longer and longer, and what was well meanwhile as briefly as at first.
func TestPause(t *testing.T) {
	t.Parallel()
	var p reconcile.Pause
	now := noon
	if p.Lasts(now) {
		t.Error("it lasts from the beginning")
	}
	for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30} {
		p.Begin(now)
		end := now.Add(time.Duration(seconds) * time.Second)
		if !p.Until.Equal(end) || !p.Lasts(end.Add(-1)) || p.Lasts(end) {
			t.Errorf("it lasts until %s, want %s", p.Until, end)
		}
		now = end.Add(30 * time.Second)
	}
	now = now.Add(1)
	if p.Begin(now); !p.Until.Equal(now.Add(time.Second)) {
		t.Errorf("it lasts for %s", p.Until.Sub(now))
	}
}
