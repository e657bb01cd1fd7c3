package main

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"spanctl/policy/plan"
)

// states are those that a session can be in, each a label's value.
var states = []plan.State{plan.StateActive, plan.StateWaiting, plan.StateDegraded, plan.StateDisabled, plan.StateExpired, plan.StateInvalid, plan.StateRefused}

// What can fail, each a label's value.
const (
	failedConnection = "connection"
	failedPass       = "pass"
)

// metrics are what /metrics tells. docs/reference/metrics.md lists them, held to this by a test.
type metrics struct {
	registry     *prometheus.Registry
	passes       prometheus.Histogram
	inForce      prometheus.Histogram
	transactions prometheus.Counter
	changes      *prometheus.CounterVec
	failures     *prometheus.CounterVec
}

func newMetrics(s *state) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		passes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "spanctl_pass_duration_seconds", Help: "How long a pass took, from looking at the database to the end.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		inForce: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "spanctl_in_force_duration_seconds", Help: "From a change in the database until ovs-vswitchd had taken in what was done about it.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}),
		transactions: prometheus.NewCounter(prometheus.CounterOpts{Name: "spanctl_transactions_total", Help: "Changes that the agent has carried out."}),
		changes:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spanctl_changes_total", Help: "Rows and rules that the agent has made, changed or removed, by reason."}, []string{"reason"}),
		failures:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "spanctl_failures_total", Help: "What has failed and is tried again: a connection or a pass."}, []string{"what"}),
	}
	for _, what := range []string{failedConnection, failedPass} {
		m.failures.WithLabelValues(what) // a counter that begins at 1 has no rate
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.passes, m.inForce, m.transactions, m.changes, m.failures, &gauges{s},
	)
	return m
}

// gauges are what the last pass found.
type gauges struct{ state *state }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("spanctl_"+name, help, labels, nil)
}

var (
	descInfo      = describe("build_info", "The agent's version.", "version")
	descConnected = describe("connected", "Whether the database is connected.")
	descReady     = describe("ready", "Whether a pass on this connection has put the sessions in force, as /readyz says.")
	descStandby   = describe("standby", "Whether another agent keeps the sessions in force.")
	descState     = describe("session_state", "The state that a session is in is 1, the others are 0.", "session", "state")
	descWanted    = describe("session_sources", "Ports that are present and wanted.", "session")
	descCopied    = describe("session_sources_copied", "Of these, those that a mirror selects as wanted.", "session")
	descBlind     = describe("source_blind_timestamp_seconds", "Since when a port that is present and wanted is not copied.", "session", "port")
	descStill     = describe("session_still_timestamp_seconds", "Since when a session's counters stand still while its sources send.", "session")
	descContested = describe("session_contested_rows", "Rows that somebody else keeps changing back.", "session")
	descPackets   = describe("mirror_packets_total", "Copies that a mirror has sent.", "bridge", "mirror")
	descBytes     = describe("mirror_bytes_total", "Bytes of the copies that a mirror has sent.", "bridge", "mirror")
	descDropped   = describe("destination_dropped_packets_total", "Packets that a destination's port was given and did not send.", "session", "destination")
	descTooLarge  = describe("destination_too_large_packets_total", "Of packets that a destination's port did not send, those that did not fit its MTU, where that is counted.", "session", "destination")
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descInfo, descConnected, descReady, descStandby, descState, descWanted, descCopied, descBlind, descStill, descContested, descPackets, descBytes, descDropped, descTooLarge,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	truth := map[bool]float64{true: 1}
	seconds := func(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
	now := g.state.now()
	put(descInfo, prometheus.GaugeValue, 1, version)
	put(descConnected, prometheus.GaugeValue, truth[now.connected])
	put(descReady, prometheus.GaugeValue, truth[now.ready])
	put(descStandby, prometheus.GaugeValue, truth[now.standby])
	mirrors := map[[2]string]bool{} // sessions may share one
	for i := range now.health {
		h := &now.health[i]
		name := h.Outcome.Name
		for _, s := range states {
			put(descState, prometheus.GaugeValue, truth[h.State == s], name, string(s))
		}
		put(descWanted, prometheus.GaugeValue, float64(h.Outcome.SourceCount()), name)
		put(descCopied, prometheus.GaugeValue, float64(h.Copied), name)
		for m := range h.Mirrors {
			mirror := &h.Mirrors[m]
			key := [2]string{mirror.Bridge, mirror.Name}
			if mirror.Counters == nil || mirrors[key] {
				continue
			}
			mirrors[key] = true
			put(descPackets, prometheus.CounterValue, float64(mirror.Counters.Packets), mirror.Bridge, mirror.Name)
			put(descBytes, prometheus.CounterValue, float64(mirror.Counters.Bytes), mirror.Bridge, mirror.Name)
		}
		places := map[string]int{}
		for p := range h.Places {
			place := &h.Places[p]
			destination := place.Name
			if places[place.Name]++; places[place.Name] > 1 { // tunnels may be called alike, series may not
				destination += fmt.Sprintf(" (%d)", places[place.Name])
			}
			if place.Losses != nil {
				put(descDropped, prometheus.CounterValue, float64(place.Losses.Dropped), name, destination)
				put(descTooLarge, prometheus.CounterValue, float64(place.Losses.TooLarge), name, destination)
			}
		}
		r := now.reports[name]
		if r == nil {
			continue
		}
		put(descContested, prometheus.GaugeValue, float64(len(r.Contested)), name)
		for port, since := range r.Blind {
			put(descBlind, prometheus.GaugeValue, seconds(since), name, port)
		}
		if r.Still != nil {
			put(descStill, prometheus.GaugeValue, seconds(*r.Still), name)
		}
	}
}
