package ovs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"spanctl/policy/plan"
)

const (
	// namesHold is how long names of guests are taken for what they were: a domain may be
	// renamed.
	namesHold = 5 * time.Second
	// answersWithin is how long libvirt's answer is waited for, from dialling on. It keeps
	// a domain locked while it starts it, and lists none meanwhile.
	answersWithin = 2 * time.Second
	// givenUpAfter is when libvirt is asked anew that has not answered.
	givenUpAfter = time.Minute
)

var errNoAnswer = errors.New("no answer in time")

// guests are what a Conn knows of the names of libvirt's domains. It is asked whenever
// the database has changed, and asks libvirt when it must.
type guests struct {
	mutex sync.Mutex
	// names are by UUID, of those that were wanted last: one that comes back may have
	// another name by then.
	names map[string]string
	// asked are those of the UUIDs wanted last that libvirt was asked for, and whose names
	// it told or has none for; sorted.
	asked    []string
	until    time.Time
	err      error
	question *question // under way; nil if none is
	// changed is told of an answer that nobody waits for any more; nil: nobody is.
	changed func()
}

// A question to libvirt may be answered late.
type question struct {
	answered chan struct{} // closed then
	cancel   context.CancelFunc
	late     bool
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
// With an error they are those that were known before. It waits for an answer once: one
// that comes later is for the next call.
func (g *guests) of(ctx context.Context, uuids []string, ask func(context.Context) (map[string]string, error)) (map[string]string, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	isNew := func(uuid string) bool { return !isIn(g.asked, uuid) }
	if g.question == nil && (time.Now().After(g.until) || slices.ContainsFunc(uuids, isNew)) {
		g.asked = uuids
		g.begin(ctx, ask)
		g.wait(ctx, g.question.answered)
	}
	err := g.err
	if g.question != nil {
		g.question.late = true
		if err = errNoAnswer; ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	isGone := func(uuid string) bool { return !isIn(uuids, uuid) }
	g.asked = slices.DeleteFunc(slices.Clone(g.asked), isGone)
	maps.DeleteFunc(g.names, func(uuid, _ string) bool { return isGone(uuid) })
	return maps.Clone(g.names), err
}

func isIn(sorted []string, s string) bool {
	_, found := slices.BinarySearch(sorted, s)
	return found
}

// begin asks libvirt.
func (g *guests) begin(ctx context.Context, ask func(context.Context) (map[string]string, error)) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), givenUpAfter, errNoAnswer)
	q := &question{answered: make(chan struct{}), cancel: cancel}
	g.question = q
	go func() {
		defer cancel()
		names, err := ask(ctx)
		g.mutex.Lock()
		defer g.mutex.Unlock()
		g.question, g.err, g.until = nil, err, time.Now().Add(namesHold)
		close(q.answered)
		if err != nil {
			g.asked = slices.DeleteFunc(slices.Clone(g.asked), func(uuid string) bool { return g.names[uuid] == "" })
			return
		}
		// Who came meanwhile may not have been listed, or by the name of before.
		g.names = names
		maps.DeleteFunc(g.names, func(uuid, _ string) bool { return !isIn(g.asked, uuid) })
		if q.late && g.changed != nil {
			g.changed()
		}
	}()
}

// wait waits for an answer, with the mutex unlocked meanwhile.
func (g *guests) wait(ctx context.Context, answered <-chan struct{}) {
	g.mutex.Unlock()
	defer g.mutex.Lock()
	timer := time.NewTimer(answersWithin)
	defer timer.Stop()
	select {
	case <-answered:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// tell has changed called when an answer comes late.
func (g *guests) tell(changed func()) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.changed = changed
}

// end ends a question that is under way, for which nobody is told of the answer.
func (g *guests) end() {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.changed = nil; g.question != nil {
		g.question.cancel()
	}
}
