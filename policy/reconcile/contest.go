package reconcile

import (
	"maps"
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
	rows map[row]*bout
	// intent is what was stored when something was put back last.
	intent map[string]string
}

type row struct {
	table        plan.Table
	bridge, name string
}

func rowOf(c *plan.Change) row { return row{c.Table, c.Bridge, c.Name} }

// A bout is about one row, as long as it is put back in the same way.
type bout struct {
	way      string
	sessions []string
	times    int
	last     time.Time // when it was put back last
	shared   bool      // it was said to serve other sessions
}

func (b *bout) hold() time.Duration {
	if b.times < contestAfter {
		return 0
	}
	return min(contestLast, contestFirst<<min(b.times-contestAfter, 30))
}

// over reports whether nothing has changed for so long that the next change is the first.
func (b *bout) over(now time.Time) bool { return now.Sub(b.last) > b.hold()+contestOver }

// Record remembers the changes of a plan that was carried out at that time.
func (c *Contest) Record(p *plan.Plan, now time.Time) {
	same := maps.Equal(c.intent, p.Base.Intent)
	c.intent = p.Base.Intent
	maps.DeleteFunc(c.rows, func(r row, b *bout) bool {
		return b.over(now) || b.shared && !same || // sessions that share rows have come or gone
			slices.ContainsFunc(p.Changes, func(own plan.Change) bool {
				return !putsBack(&own) && own.Reason != plan.ReasonOrphan && rowOf(&own) == r
			})
	})
	for i := range p.Changes {
		change := &p.Changes[i]
		if !putsBack(change) || makes(p, change.Bridge) {
			continue
		}
		if c.rows == nil {
			c.rows = map[row]*bout{}
		}
		at, way := rowOf(change), wayOf(p.Base, change)
		b := c.rows[at]
		if b == nil || b.way != way {
			b = &bout{way: way}
			c.rows[at] = b
		}
		b.times++
		b.last, b.sessions, b.shared = now, change.Sessions, serves(change)
	}
}

// Holds reports whether a change that the plan has now is to be left for a while.
func (c *Contest) Holds(p *plan.Plan, now time.Time) func(*plan.Change) bool {
	return func(change *plan.Change) bool {
		if len(c.rows) == 0 || !putsBack(change) {
			return false
		}
		b := c.rows[rowOf(change)]
		return b != nil && b.way == wayOf(p.Base, change) && now.Sub(b.last) < b.hold()
	}
}

// Rows lists the rows that are contested, by session.
func (c *Contest) Rows(now time.Time) map[string][]string {
	rows := map[string][]string{}
	for r, b := range c.rows {
		if b.hold() == 0 || b.over(now) {
			continue
		}
		for _, session := range b.sessions {
			rows[session] = append(rows[session], string(r.table)+" "+r.name)
		}
	}
	for session := range rows {
		slices.Sort(rows[session])
		rows[session] = slices.Compact(rows[session])
	}
	return rows
}

// Due is when the next of the contested rows may be put back that may not be yet, zero if there is none.
func (c *Contest) Due(now time.Time) (next time.Time) {
	for _, b := range c.rows {
		if due := b.last.Add(b.hold()); due.After(now) {
			next = Sooner(next, due)
		}
	}
	return next
}

// putsBack reports whether the change makes a row as it was before somebody else changed or deleted it.
func putsBack(c *plan.Change) bool {
	switch c.Reason {
	case plan.ReasonMissing, plan.ReasonDrift, plan.ReasonPorts, plan.ReasonBorrow, plan.ReasonTags:
		return c.Action != plan.Delete || c.Table == plan.TableFlow
	}
	return serves(c)
}

// serves reports whether the row is said to serve other sessions: somebody else says so, or sessions have come or gone.
func serves(c *plan.Change) bool {
	return c.Action == plan.Update && (c.Reason == plan.ReasonChanged || c.Reason == plan.ReasonDeleted)
}

// makes reports whether the plan makes the bridge: what is on it then is new.
func makes(p *plan.Plan, bridge string) bool {
	return slices.ContainsFunc(p.Changes, func(c plan.Change) bool {
		return c.Action == plan.Create && c.Table == plan.TableBridge && c.Name == bridge
	})
}

// wayOf tells ways to put a row back from each other: for guests that were started anew it is another one, and so it is for
// sessions that are stored otherwise, for a rule that sends to another port, and with another ovs-vswitchd.
func wayOf(base *plan.Snapshot, c *plan.Change) string {
	parts := c.NewPorts(base)
	for _, name := range c.Sessions {
		parts = append(parts, name, plan.Digest(base.Intent[name]))
	}
	if c.Table == plan.TableFlow || c.Table == plan.TableMeter {
		parts = append(parts, base.Daemon)
		parts = append(parts, c.Columns["actions"].New...)
	}
	return strings.Join(parts, "\x00")
}
