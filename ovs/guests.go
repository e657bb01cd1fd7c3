package ovs

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"spanctl/policy/plan"
)

// namesHold is how long names of guests are taken for what they were: a domain may be
// renamed, and a libvirt that did not answer is let be.
const namesHold = 5 * time.Second

// guests are what a Conn knows of the names of libvirt's domains. It is asked whenever
// the database has changed, and asks libvirt when it must.
type guests struct {
	mutex sync.Mutex
	// names are by UUID, of those that were wanted last: one that comes back may have
	// another name by then.
	names  map[string]string
	wanted []string // sorted
	until  time.Time
	err    error
}

// nameGuests adds to the snapshot the names of the guests that the intent may name.
func (c *Conn) nameGuests(ctx context.Context, s *plan.Snapshot, intent plan.Intent) {
	uuids := intent.Domains(s)
	switch {
	case len(uuids) == 0:
	case !c.local():
		s.GuestsError = "libvirt is asked on its host alone"
	default:
		var err error
		if s.Guests, err = c.guests.of(ctx, uuids, domainNames); err != nil {
			s.GuestsError = err.Error()
			c.log.DebugContext(ctx, "names of guests are not known", "error", err)
		}
	}
}

// of returns the names of those of the UUIDs, which are sorted, that are a domain's.
// With an error they are those that were known before.
func (g *guests) of(ctx context.Context, uuids []string, ask func(context.Context) (map[string]string, error)) (map[string]string, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	isNew := func(uuid string) bool {
		_, found := slices.BinarySearch(g.wanted, uuid)
		return !found
	}
	if time.Now().After(g.until) || g.err == nil && slices.ContainsFunc(uuids, isNew) {
		names, err := ask(ctx)
		if err == nil {
			g.names = names
		}
		if g.err = err; ctx.Err() == nil { // or it is not libvirt's doing
			g.until = time.Now().Add(namesHold)
		}
	}
	g.wanted = uuids
	maps.DeleteFunc(g.names, func(uuid, _ string) bool {
		_, found := slices.BinarySearch(uuids, uuid)
		return !found
	})
	return maps.Clone(g.names), g.err
}
