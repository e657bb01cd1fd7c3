package reconcile

import (
	"time"

	"spanctl/policy/plan"
)

// Expiry is when the next of the sessions expires, zero if none does.
func Expiry(intent plan.Intent, now time.Time) (next time.Time) {
	for _, w := range intent {
		if w.Session != nil && !w.Session.Expired(now) {
			next = Sooner(next, w.Session.Expires)
		}
	}
	return next
}

// Sooner is the sooner of two times, of which zero is never.
func Sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
