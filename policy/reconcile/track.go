package reconcile

import (
	"time"

	"spanctl/policy/plan"
)

// stillAfter is how many readings in a row must show that a session's counters stand still while its sources send, before
// that is said: counters are written one after the other.
const stillAfter = 3

// A Track remembers over passes what no single moment shows: since when a guest is blind, and that counters stand still. The
// zero value remembers nothing.
type Track struct {
	intent map[string]string               // the digest of the text that the rest is about, by session
	blind  map[string]map[string]time.Time // by session and port
	still  map[string]*stillness
}

type stillness struct {
	round        int
	sent, copied uint64
	times        int
	since        time.Time
}

// Recall takes up what the last agent has reported of sessions that are still the same.
func (t *Track) Recall(snap *plan.Snapshot) {
	for name, text := range snap.Reports {
		if r := plan.ParseReport(text); r.About(snap.Intent[name]) && t.blind[name] == nil {
			t.setBlind(name, r.Intent, r.Blind)
		}
	}
}

func (t *Track) setBlind(session, intent string, since map[string]time.Time) {
	if t.blind == nil {
		t.intent, t.blind = map[string]string{}, map[string]map[string]time.Time{}
	}
	t.intent[session], t.blind[session] = intent, since
}

// Sent tells of a reading: how many packets the sources of a session have sent and got, as far as they were asked, and how many
// copies its mirrors have made. In another round other sources are asked.
func (t *Track) Sent(session string, round int, sent, copied uint64, now time.Time) {
	if t.still == nil {
		t.still = map[string]*stillness{}
	}
	s := t.still[session]
	switch {
	case s == nil || copied != s.copied || round == s.round && sent <= s.sent:
		t.still[session] = &stillness{round: round, sent: sent, copied: copied}
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
		if t.intent[name] != intent {
			delete(t.blind, name)
		}
		if t.intent[name] != "" && t.intent[name] != intent || h.State != plan.StateActive || !h.Outcome.Whole() {
			delete(t.still, name)
		}
		since := map[string]time.Time{}
		for _, port := range h.Blind {
			since[port] = now
			if before, known := t.blind[name][port]; known {
				since[port] = before
			}
		}
		t.setBlind(name, intent, since)
		r := &plan.Report{Intent: intent, State: h.State, Blind: since, Contested: contested[name]}
		if h.State != plan.StateActive {
			r.Reason = h.Outcome.Reason
			if len(h.Problems) > 0 {
				r.Reason = h.Problems[0]
			}
		}
		if s := t.still[name]; s != nil && s.times >= stillAfter && h.Copied > 0 {
			at := s.since.UTC().Truncate(time.Millisecond)
			r.Still = &at
		}
		reports[name] = r
	}
	for name := range t.blind {
		if reports[name] == nil {
			delete(t.intent, name)
			delete(t.blind, name)
			delete(t.still, name)
		}
	}
	return reports
}
