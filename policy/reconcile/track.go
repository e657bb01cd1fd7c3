package reconcile

import (
	"maps"
	"time"

	"spanctl/policy/plan"
)

// stillAfter is how many readings in a row must show that a session's counters stand still while its sources send, before
// that is said: counters are written one after the other.
const stillAfter = 3

// A Track remembers over passes what no single moment shows: since when a guest is blind, and that counters stand still. The
// zero value remembers nothing.
type Track struct {
	sessions map[string]*tracked
}

// A tracked session is as it was when it was stored by this text.
type tracked struct {
	intent string               // the digest of the text, empty before the first report
	blind  map[string]time.Time // since when, by port
	still  *stillness           // nil if its counters do not stand still, as far as is known
}

type stillness struct {
	round        int
	sent, copied uint64
	times        int
	since        time.Time
}

// session returns what is remembered of a session, to be changed.
func (t *Track) session(name string) *tracked {
	if t.sessions[name] == nil {
		if t.sessions == nil {
			t.sessions = map[string]*tracked{}
		}
		t.sessions[name] = &tracked{}
	}
	return t.sessions[name]
}

// Recall takes up what the last agent has reported of sessions that are still the same.
func (t *Track) Recall(snap *plan.Snapshot) {
	for name, text := range snap.Reports {
		r := plan.ParseReport(text)
		if s := t.session(name); r.About(snap.Intent[name]) && s.intent == "" {
			s.intent, s.blind = r.Intent, r.Blind
		}
	}
}

// Sent tells of a reading: how many packets the sources of a session have sent and got, as far as they were asked, and how many
// copies its mirrors have made. In another round other sources are asked.
func (t *Track) Sent(session string, round int, sent, copied uint64, now time.Time) {
	at := t.session(session)
	s := at.still
	switch {
	case s == nil || copied != s.copied || round == s.round && sent <= s.sent:
		at.still = &stillness{round: round, sent: sent, copied: copied}
		return
	case round == s.round:
		if s.times++; s.times == 1 {
			s.since = now
		}
	}
	s.round, s.sent = round, sent
}

// Reports are what is to be stored about the sessions, by name.
func (t *Track) Reports(p *plan.Plan, health []plan.Health, contested map[string][]string, now time.Time) map[string]*plan.Report {
	now = now.UTC().Truncate(time.Millisecond)
	reports := map[string]*plan.Report{}
	for i := range health {
		h := &health[i]
		name := h.Outcome.Name
		intent := plan.Digest(p.Base.Intent[name])
		at := t.session(name)
		if at.intent != "" && at.intent != intent || h.State != plan.StateActive || !h.Outcome.Whole() {
			at.still = nil
		}
		since := map[string]time.Time{}
		for _, port := range h.Blind {
			since[port] = now
			if before, known := at.blind[port]; known && at.intent == intent {
				since[port] = before
			}
		}
		at.intent, at.blind = intent, since
		r := &plan.Report{Intent: intent, State: h.State, Blind: since, Contested: contested[name]}
		if h.State != plan.StateActive {
			r.Reason = h.Outcome.Reason
			if len(h.Problems) > 0 {
				r.Reason = h.Problems[0]
			}
		}
		if s := at.still; s != nil && s.times >= stillAfter && h.Copied > 0 {
			still := s.since.UTC().Truncate(time.Millisecond)
			r.Still = &still
		}
		reports[name] = r
	}
	maps.DeleteFunc(t.sessions, func(name string, _ *tracked) bool { return reports[name] == nil })
	return reports
}
