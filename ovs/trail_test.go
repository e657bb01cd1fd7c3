package ovs_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

// trails are comments with what they say.
var trails = map[string]ovs.Trail{
	"spanctl apply by root@host (pid 1)": {Verb: "apply", By: "root@host", PID: 1},
	"spanctl apply by root@host (pid 7): audit: session-new": {
		Verb: "apply", By: "root@host", PID: 7, Sessions: map[string][]plan.Reason{"audit": {plan.ReasonNew}},
	},
	`spanctl agent by EX\spanctl@h.example.org (pid 4194304): -: orphan; a: drift, row-missing; by: ports-changed`: {
		Verb: "agent", By: `EX\spanctl@h.example.org`, PID: 4194304,
		Sessions: map[string][]plan.Reason{"": {plan.ReasonOrphan}, "a": {plan.ReasonDrift, plan.ReasonMissing}, "by": {plan.ReasonPorts}},
	},
	"spanctl delete by unknown@unknown (pid 2) undoes: prepares: orphan": {
		Verb: "delete", By: "unknown@unknown", PID: 2, Step: ovs.StepUndoes, Sessions: map[string][]plan.Reason{"prepares": {plan.ReasonOrphan}},
	},
	"spanctl apply by x@y (pid 3) prepares: idle": {
		Verb: "apply", By: "x@y", PID: 3, Step: ovs.StepPrepares, Sessions: map[string][]plan.Reason{"idle": nil},
	},
	`spanctl apply by "a (pid 1)@h" (pid 2): "-": drift; "a: b; c\n": drift`: {
		Verb: "apply", By: "a (pid 1)@h", PID: 2,
		Sessions: map[string][]plan.Reason{"-": {plan.ReasonDrift}, "a: b; c\n": {plan.ReasonDrift}},
	},
}

func TestTrail(t *testing.T) {
	t.Parallel()
	for comment, want := range trails {
		if got := want.String(); got != comment {
			t.Errorf("wrote %q, want %q", got, comment)
		}
		if got, ok := ovs.ParseTrail(comment); !ok || !cmp.Equal(got, want) {
			t.Errorf("%q (%v):\n%s", comment, ok, cmp.Diff(want, got))
		}
	}
}

func TestOthersCommentsAreNoTrails(t *testing.T) {
	t.Parallel()
	for _, comment := range []string{
		"", "spanctl", "spanctl ", "ovs-vsctl (invoked by bash): ovs-vsctl add-br br0", " spanctl apply by root@host (pid 1)",
		"spanctl apply by root@host", "spanctl apply by root@host (pid x)", "spanctl apply by root@host (pid -1)", "spanctl apply by root@host (pid 1",
		"spanctl apply by root@host (pid 1).", "spanctl apply by root@host (pid 1): ", "spanctl apply by root@host (pid 1): a: b;",
		"spanctl apply by root@host (pid 1)\novs-vsctl: more", "spanctl apply by ro ot@host (pid 1)", "spanctl apply by \x1b[31mroot (pid 1)",
		`spanctl apply by "root" (pid 1)`, `spanctl apply by "root (pid 1)`, "spanctl apply by 'a b' (pid 1)", "spanctl apply by root@host (pid 99999999999999999999)",
	} {
		if got, ok := ovs.ParseTrail(comment); ok {
			t.Errorf("%q is read as %+v", comment, got)
		}
	}
}

// TestTrailIsReadBack holds that whatever names there are, others cannot be read.
func TestTrailIsReadBack(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.StringMatching(`[-a-z0-9]{0,4}`), rapid.StringMatching(`[-a":;,()' \\\n]{0,6}`), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	reasons := rapid.SliceOf(rapid.Map(text, func(s string) plan.Reason { return plan.Reason(s) }))
	rapid.Check(t, func(t *rapid.T) {
		want := ovs.Trail{
			Verb: text.Draw(t, "verb"), By: text.Draw(t, "by"), PID: rapid.IntRange(0, 1<<22).Draw(t, "pid"),
			Step: text.Draw(t, "step"), Sessions: rapid.MapOf(text, reasons).Draw(t, "sessions"),
		}
		got, ok := ovs.ParseTrail(want.String())
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); !ok || diff != "" {
			t.Fatalf("%s:\n%s", want, diff)
		}
	})
}

func FuzzParseTrail(f *testing.F) {
	for comment := range maps.Keys(trails) {
		f.Add(comment)
	}
	f.Fuzz(func(t *testing.T, comment string) {
		trail, ok := ovs.ParseTrail(comment)
		if !ok {
			return
		}
		if again, ok := ovs.ParseTrail(trail.String()); !ok || !cmp.Equal(again, trail, cmpopts.EquateEmpty()) {
			t.Errorf("%q: %s", comment, cmp.Diff(trail, again))
		}
	})
}
