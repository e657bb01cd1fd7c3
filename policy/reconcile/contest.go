package reconcile

import (
	"slices"
	"strings"
	"time"

	"spanctl/policy/plan"
)

// How often a row is put back before it is contested, how long it is then left at first and at most, and after how
// long without another change it is no longer.
const (
	contestAfter = 5
	contestFirst = time.Second
	contestLast  = time.Minute
	contestOver  = 5 * time.Minute
)

// A Contest remembers what was put back that others had changed or deleted, so that somebody who does so again and again
// is not fought in a hot loop: the row is put back a few times, and then at longer and longer intervals. The zero value
// is one in which nothing was put back.
type Contest struct {
	rows map[string]*bout
}

// A bout is about one row.
type bout struct {
	name     string // for people
	sessions []string
	times    int
	last     time.Time // when it was put back last
}

func (b *bout) hold() time.Duration {
	if b.times < contestAfter {
		return 0
	}
	return min(contestLast, contestFirst<<min(b.times-contestAfter, 30))
}

// Record remembers the changes of a plan that was carried out at that time.
func (c *Contest) Record(p *plan.Plan, now time.Time) {
	for i := range p.Changes {
		change := &p.Changes[i]
		key, contestable := contestKey(p.Base, change)
		if !contestable {
			delete(c.rows, key) // it is we who changed it
			continue
		}
		if c.rows == nil {
			c.rows = map[string]*bout{}
		}
		b := c.rows[key]
		if b == nil {
			b = &bout{name: string(change.Table) + " " + change.Name}
			c.rows[key] = b
		}
		b.times++
		b.last, b.sessions = now, change.Sessions
	}
	for key, b := range c.rows {
		if now.Sub(b.last) > b.hold()+contestOver {
			delete(c.rows, key)
		}
	}
}

// Holds reports whether a change that the plan has now is to be left for a while.
func (c *Contest) Holds(p *plan.Plan, now time.Time) func(*plan.Change) bool {
	return func(change *plan.Change) bool {
		key, contestable := contestKey(p.Base, change)
		b := c.rows[key]
		return contestable && b != nil && now.Sub(b.last) < b.hold()
	}
}

// Rows lists the rows that are contested by session, and says when the next of them may be put back.
func (c *Contest) Rows(now time.Time) (rows map[string][]string, next time.Time) {
	rows = map[string][]string{}
	for _, b := range c.rows {
		since := now.Sub(b.last)
		if b.hold() == 0 || since > b.hold()+contestOver {
			continue
		}
		for _, session := range b.sessions {
			rows[session] = append(rows[session], b.name)
		}
		if due := b.last.Add(b.hold()); due.After(now) && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	for session := range rows {
		slices.Sort(rows[session])
		rows[session] = slices.Compact(rows[session])
	}
	return rows, next
}

// contestKey tells a row from others, and whether the change puts it back as it was. Ports that come and go are other
// rows each time, and so are the rules of another ovs-vswitchd.
func contestKey(base *plan.Snapshot, c *plan.Change) (key string, contestable bool) {
	parts := []string{string(c.Table), c.Bridge, c.Name}
	switch c.Reason {
	case plan.ReasonMissing, plan.ReasonDrift, plan.ReasonPorts, plan.ReasonBorrow:
		contestable = c.Action != plan.Delete || c.Table == plan.TableFlow
	}
	if c.Table == plan.TableFlow || c.Table == plan.TableMeter {
		parts = append(parts, base.Daemon)
	}
	if c.Table == plan.TableMirror || c.Reason == plan.ReasonBorrow {
		parts = append(parts, c.NewPorts(base)...)
	}
	return strings.Join(parts, "\x00"), contestable
}
