package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"spanctl/policy/plan"
)

// A report is logged when it is another than before, whatever of it is; a warning if something is wrong.
func TestReportsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	k := &keeper{agent: &agent{app: &app{log: slog.New(slog.NewTextHandler(&out, nil))}, last: map[string]string{}}}
	since := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	active := plan.Report{Intent: "1", State: plan.StateActive}
	still, changed := active, active
	still.Still, changed.Intent = &since, "2"
	for i, step := range []struct {
		report plan.Report
		want   string
	}{
		{active, "level=INFO"},
		{active, ""},
		{still, "level=WARN msg=session session=audit state=active reason=\"\" blind=[] still=2026-11-24T12:00:00Z"},
		{still, ""},
		{active, "level=INFO"},
		{changed, "level=INFO"},
		{plan.Report{Intent: "2", State: plan.StateDegraded, Blind: map[string]time.Time{"vif1.0": since}}, "level=WARN msg=session session=audit state=degraded reason=\"\" blind=[vif1.0]"},
	} {
		out.Reset()
		k.told(t.Context(), "audit", &step.report)
		if got := out.String(); (got == "") != (step.want == "") || !strings.Contains(got, step.want) {
			t.Errorf("step %d is logged as %q, want %q", i, got, step.want)
		}
	}
}
