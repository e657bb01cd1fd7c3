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
	asked     []string
	until     time.Time
	err       error
	questions map[string]*question // under way, by the UUID that they are about, empty for all domains
	// changed is told of an answer that nobody waits for any more; nil: nobody is.
	changed func()
}

// A question to libvirt may be answered late.
type question struct {
	answered chan struct{} // closed then
	about    []string      // the UUIDs whose names it is to tell, sorted
	cancel   context.CancelFunc
	aside    bool // nobody waits for it, for what is new is asked for by itself
	late     bool
}

// An asking asks libvirt for the name of the domain with a UUID, or for those of all if it
// is empty, and returns names by UUID. It returns when ctx ends.
type asking func(ctx context.Context, uuid string) (map[string]string, error)

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
func (g *guests) of(ctx context.Context, uuids []string, ask asking) (map[string]string, error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.wait(ctx, g.begin(ctx, uuids, ask))
	err := g.err
	for uuid, q := range g.questions {
		wanted := uuid == "" || isIn(uuids, uuid)
		if wanted && (!q.aside || q.late) {
			if err = errNoAnswer; ctx.Err() != nil {
				err = context.Cause(ctx)
			}
		}
		q.late = true
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

// begin asks what must be asked and is not under way, and returns what to wait for. A few that
// are new are asked for one by one: a domain that is locked keeps no other's name back.
func (g *guests) begin(ctx context.Context, uuids []string, ask asking) (begun []*question) {
	const few = 8
	if g.questions == nil {
		g.questions = map[string]*question{}
	}
	var about []string
	if g.asked != nil || len(g.questions) > 0 {
		about = slices.DeleteFunc(slices.Clone(uuids), func(uuid string) bool { return isIn(g.asked, uuid) })
	}
	if len(about) > few {
		about = []string{""}
	} else if time.Now().After(g.until) {
		about = append(about, "")
	}
	for _, uuid := range about {
		if g.questions[uuid] != nil {
			continue
		}
		if uuid == "" {
			g.asked = uuids
		} else {
			g.asked = append(slices.Clone(g.asked), uuid)
			slices.Sort(g.asked)
		}
		q := g.question(ctx, uuid, ask)
		if q.about = []string{uuid}; uuid == "" {
			q.about = uuids
		}
		if q.aside = uuid == "" && len(about) > 1; !q.aside {
			begun = append(begun, q)
		}
	}
	return begun
}

// question asks libvirt.
func (g *guests) question(ctx context.Context, uuid string, ask asking) *question {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), givenUpAfter, errNoAnswer)
	q := &question{answered: make(chan struct{}), cancel: cancel}
	g.questions[uuid] = q
	go func() {
		defer cancel()
		names, err := ask(ctx, uuid)
		g.mutex.Lock()
		defer g.mutex.Unlock()
		defer close(q.answered)
		delete(g.questions, uuid)
		g.err = err
		if uuid == "" {
			g.until = time.Now().Add(namesHold)
		}
		g.take(q.about, names, err)
		if err == nil && q.late && g.changed != nil {
			g.changed()
		}
	}()
	return q
}

// take takes an answer in. Of others than it is about it says nothing: who came later may
// not have been listed, or by the name of before.
func (g *guests) take(about []string, names map[string]string, err error) {
	concerns := func(uuid string) bool { return isIn(about, uuid) }
	if err != nil { // who has no name is to be asked for again
		g.asked = slices.DeleteFunc(slices.Clone(g.asked), func(uuid string) bool { return concerns(uuid) && g.names[uuid] == "" })
		return
	}
	if g.names == nil {
		g.names = map[string]string{}
	}
	maps.DeleteFunc(g.names, func(uuid, _ string) bool { return concerns(uuid) })
	for uuid, name := range names {
		if concerns(uuid) && isIn(g.asked, uuid) {
			g.names[uuid] = name
		}
	}
}

// wait waits for answers, with the mutex unlocked meanwhile.
func (g *guests) wait(ctx context.Context, questions []*question) {
	g.mutex.Unlock()
	defer g.mutex.Lock()
	timer := time.NewTimer(answersWithin)
	defer timer.Stop()
	for _, q := range questions {
		select {
		case <-q.answered:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// tell has changed called when an answer comes late.
func (g *guests) tell(changed func()) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.changed = changed
}

// end ends the questions that are under way, and nobody is told of answers.
func (g *guests) end() {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.changed = nil
	for _, q := range g.questions {
		q.cancel()
	}
}
