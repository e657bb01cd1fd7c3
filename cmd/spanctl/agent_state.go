package main

import (
	"maps"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"spanctl/policy/plan"
)

// A state is what the agent tells of itself, by metrics and to those who ask whether it is well. It may be used by several
// goroutines.
type state struct {
	mu sync.Mutex
	known
	metrics *metrics
}

// known is what a state holds.
type known struct {
	last      time.Time     // when a pass or a try to connect began, at first when the agent did
	patience  time.Duration // how long after that it is taken to be well
	connected bool
	ready     bool // a pass has found everything put in force
	standby   bool
	health    []plan.Health
	reports   map[string]*plan.Report
}

func newState() *state {
	s := &state{known: known{last: time.Now(), patience: time.Minute}}
	s.metrics = newMetrics(s)
	return s
}

// now returns what is known.
func (s *state) now() known {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

func (s *state) set(change func(*known)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.known)
}

// alive says that the agent does something, to systemd's watchdog as well.
func (s *state) alive(now time.Time) {
	s.set(func(k *known) { k.last = now })
	_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog) // where there is no systemd nothing is done
}

func (s *state) connected() { s.set(func(k *known) { k.connected = true }) }

func (s *state) disconnected() { s.set(func(k *known) { k.connected, k.ready = false, false }) }

func (s *state) standsBy() {
	s.set(func(k *known) { k.standby, k.ready, k.health, k.reports = true, true, nil, nil })
}

// expects says how often the agent does something, as its settings are.
func (s *state) expects(check, timeout time.Duration) {
	s.set(func(k *known) { k.patience = 3 * (check + timeout) })
}

// passed tells of a pass.
func (s *state) passed(d time.Duration) { s.metrics.passes.Observe(d.Seconds()) }

// failed tells of what is tried again: a pass, or the connection if there is none now.
func (s *state) failed() {
	what := failedPass
	if !s.now().connected {
		what = failedConnection
	}
	s.metrics.failures.WithLabelValues(what).Inc()
}

// committed tells of a transaction, changed of rows and rules in it, inForce of how long it took from the event until
// ovs-vswitchd had taken it in.
func (s *state) committed() { s.metrics.transactions.Inc() }

func (s *state) changed(reason string) { s.metrics.changes.WithLabelValues(reason).Inc() }

func (s *state) inForce(d time.Duration) { s.metrics.inForce.Observe(d.Seconds()) }

// know tells what a pass has found.
func (s *state) know(health []plan.Health, reports map[string]*plan.Report) {
	s.set(func(k *known) {
		k.ready, k.standby, k.health, k.reports = true, false, health, maps.Clone(reports)
	})
}
