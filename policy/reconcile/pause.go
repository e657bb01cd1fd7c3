package reconcile

import "time"

// How long a Pause lasts at first and at most.
const (
	pauseFirst = time.Second
	pauseLast  = 30 * time.Second
)

// A Pause is for how long something that could not be done is left alone, twice as long each time. The zero value is none.
type Pause struct {
	// Until is when it ends.
	Until time.Time
	wait  time.Duration
}

// Begin begins one.
func (p *Pause) Begin(now time.Time) {
	if now.Sub(p.Until) > pauseLast { // all was well since the last
		p.wait = 0
	}
	p.wait = min(pauseLast, max(pauseFirst, 2*p.wait))
	p.Until = now.Add(p.wait)
}

// Lasts reports whether it is still on.
func (p *Pause) Lasts(now time.Time) bool { return now.Before(p.Until) }
