package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"spanctl/policy/plan"
)

// gathered are the agent's own metrics, each of them with at least one series.
func gathered(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	s := newState()
	s.changed("new")
	now := time.Now()
	s.know([]plan.Health{{
		Outcome: &plan.Outcome{Name: "audit"}, State: plan.StateActive,
		Mirrors: []plan.MirrorHealth{{Bridge: "br0", Name: "spanctl-1", Counters: &plan.Counters{}}, {Bridge: "br0", Name: "spanctl-1", Counters: &plan.Counters{}}},
		Places: []plan.PlaceHealth{
			{Place: plan.Place{Name: "gre 192.0.2.10"}, Losses: &plan.Losses{}},
			{Place: plan.Place{Name: "gre 192.0.2.10"}, Losses: &plan.Losses{}}, // series of one name would end all of /metrics
		},
	}}, map[string]*plan.Report{"audit": {Blind: map[string]time.Time{"vif1.0": now}, Still: &now}})
	all, err := s.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	own := slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "spanctl_") })
	described := make(chan *prometheus.Desc, 1000)
	s.metrics.registry.Describe(described)
	close(described)
	for d := range described {
		text := d.String()
		if strings.Contains(text, `"spanctl_`) && !slices.ContainsFunc(own, func(f *dto.MetricFamily) bool { return strings.Contains(text, `"`+f.GetName()+`"`) }) {
			t.Errorf("this test makes no series of %s", text)
		}
	}
	return own
}

// TestMetricsReference holds the reference and the metrics together: name, type, labels and meaning of each.
func TestMetricsReference(t *testing.T) {
	data, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "| `spanctl_") {
			listed[strings.TrimSpace(line)] = true
		}
	}
	for _, f := range gathered(t) {
		var labels []string
		for _, pair := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+pair.GetName()+"`")
		}
		row := fmt.Sprintf("| `%s` | %s | %s | %s |", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
		if row = strings.ReplaceAll(row, "|  |", "| |"); !listed[row] {
			t.Errorf("docs/reference/metrics.md lacks\n%s", row)
		}
		delete(listed, row)
	}
	for _, row := range slices.Sorted(maps.Keys(listed)) {
		t.Errorf("docs/reference/metrics.md has a row too many\n%s", row)
	}
}

// TestMetricsLint holds the metrics to the conventions of Prometheus.
func TestMetricsLint(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(gathered(t)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestMetricsFailures holds what a failure is counted as, and that both counters are there from the beginning.
func TestMetricsFailures(t *testing.T) {
	s := newState()
	want := func(connection, pass float64) {
		t.Helper()
		families, err := s.metrics.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == "spanctl_failures_total" {
					got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
		if want := map[string]float64{failedConnection: connection, failedPass: pass}; !maps.Equal(got, want) {
			t.Errorf("failures are %v, want %v", got, want)
		}
	}
	want(0, 0)
	s.failed()
	want(1, 0)
	s.connected()
	s.passed(time.Second)
	s.failed()
	want(1, 1)
	s.disconnected()
	s.failed()
	want(2, 1)
}
