package plan_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"spanctl/policy/plan"
)

// junk is what nobody has written as a lease or a report.
var junk = []string{"", "x", "null", "0", "[]", "{}", `"text"`, `{"until":1}`, `{"until":"soon"}`, `{"intent":7}`, `{"intent":"a","blind":[]}`, `{"intent":""}`, "{", "\x00"}

func TestLease(t *testing.T) {
	want := plan.Lease{Host: "xen1", PID: 7, Version: "1.2", Until: noon.Add(time.Second)}
	got := plan.ParseLease(want.Text())
	if got == nil || !reflect.DeepEqual(*got, want) || got.String() != "on xen1 (pid 7)" {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	var none *plan.Lease
	far := plan.Lease{Until: noon.Add(24 * time.Hour)} // by a clock that was wrong
	if far.Alive(noon) || !far.Alive(far.Until.Add(-time.Minute)) {
		t.Error("a lease of a day keeps everybody waiting")
	}
	if !got.Alive(noon) || got.Alive(got.Until) || got.Alive(noon.Add(time.Hour)) || none.Alive(noon) {
		t.Error("an agent lives until its lease ends")
	}
	for _, text := range junk {
		if l := plan.ParseLease(text); l != nil {
			t.Errorf("%q is lease %+v", text, l)
		}
	}
}

func TestReport(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Custom(func(t *rapid.T) time.Time {
			return noon.Add(time.Duration(rapid.IntRange(0, 1e9).Draw(t, "ms")) * time.Millisecond)
		})
		want := &plan.Report{
			Intent: plan.Digest(rapid.String().Draw(t, "text")), State: plan.StateDegraded, Reason: rapid.StringMatching(`[ -~äöü"\\]*`).Draw(t, "reason"),
			Blind: rapid.MapOfN(rapid.StringMatching(`[a-z0-9."]+`), at, 1, 4).Draw(t, "blind"), Contested: rapid.SliceOfN(rapid.StringMatching(`[ -~]+`), 1, 3).Draw(t, "contested"),
		}
		if rapid.Bool().Draw(t, "stands still") {
			still := at.Draw(t, "still")
			want.Still = &still
		}
		got := plan.ParseReport(want.Text())
		if !reflect.DeepEqual(got, want) || got.Text() != want.Text() {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
	for _, text := range junk {
		if r := plan.ParseReport(text); r != nil || r.About("") {
			t.Errorf("%q is report %+v", text, r)
		}
	}
}

func TestDigest(t *testing.T) {
	one, two := plan.Digest(`{"version":1}`), plan.Digest(`{"version":2}`)
	if one == two || len(one) != 12 || one != plan.Digest(`{"version":1}`) {
		t.Errorf("digests are %q and %q", one, two)
	}
	r := plan.Report{Intent: one}
	if !r.About(`{"version":1}`) || r.About(`{"version":2}`) {
		t.Error("a report is about the text that it was made for")
	}
}

func FuzzAgentTexts(f *testing.F) {
	for _, text := range junk {
		f.Add(text)
	}
	f.Add((&plan.Lease{Host: "xen1", Until: noon}).Text())
	f.Add((&plan.Report{Intent: "a", Still: &noon, Blind: map[string]time.Time{"vif1.0": noon}}).Text())
	f.Fuzz(func(t *testing.T, text string) {
		if l := plan.ParseLease(text); l != nil {
			if again := plan.ParseLease(l.Text()); again == nil || again.Text() != l.Text() {
				t.Errorf("%q is %+v and then %+v", text, l, again)
			}
		}
		if r := plan.ParseReport(text); r != nil {
			if again := plan.ParseReport(r.Text()); again == nil || again.Text() != r.Text() {
				t.Errorf("%q is %+v and then %+v", text, r, again)
			}
		}
	})
}
