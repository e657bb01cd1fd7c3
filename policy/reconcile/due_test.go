package reconcile_test

import (
	"testing"
	"time"

	"spanctl/policy"
	"spanctl/policy/plan"
	"spanctl/policy/reconcile"
)

func TestExpiry(t *testing.T) {
	expires := func(at time.Time) plan.Wanted { return plan.Wanted{Session: &policy.Session{Expires: at}} }
	for name, c := range map[string]struct {
		intent plan.Intent
		want   time.Time
	}{
		"none":           {nil, time.Time{}},
		"never":          {plan.Intent{"a": expires(time.Time{})}, time.Time{}},
		"unreadable":     {plan.Intent{"a": {}}, time.Time{}},
		"over":           {plan.Intent{"a": expires(after(-1)), "b": expires(noon)}, time.Time{}},
		"the next":       {plan.Intent{"a": expires(after(-1)), "b": expires(after(2)), "c": expires(after(1)), "d": expires(time.Time{})}, after(1)},
		"in a moment":    {plan.Intent{"a": expires(noon.Add(1))}, noon.Add(1)},
		"one and others": {plan.Intent{"a": {}, "b": expires(after(3))}, after(3)},
	} {
		if got := reconcile.Expiry(c.intent, noon); !got.Equal(c.want) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestSooner(t *testing.T) {
	var never time.Time
	for _, c := range []struct{ a, b, want time.Time }{
		{never, never, never}, {noon, never, noon}, {never, noon, noon}, {noon, after(1), noon}, {after(1), noon, noon}, {noon, noon, noon},
	} {
		if got := reconcile.Sooner(c.a, c.b); !got.Equal(c.want) {
			t.Errorf("of %s and %s it is %s", c.a, c.b, got)
		}
	}
}
