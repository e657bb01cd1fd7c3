package reconcile_test

import (
	"slices"
	"testing"
	"time"

	"spanctl/policy/plan"
	"spanctl/policy/reconcile"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// guests is a host with two guests, whose ports have these UUIDs, and a patch of ours.
func guests(source, destination string) *plan.Snapshot {
	return &plan.Snapshot{Daemon: "1", Bridges: []plan.Bridge{{UUID: "br", Name: "br0", Ports: []plan.Port{
		{UUID: destination, Name: "vif-audit"},
		{UUID: source, Name: "vif-a"},
		{UUID: "patch" + source, Name: "spanctl-p", ExternalIDs: map[string]string{plan.KeyManaged: "true"}},
	}}}}
}

// mirror is the change that puts a mirror of the guest back.
func mirror() plan.Change {
	return plan.Change{
		Action: plan.Create, Table: plan.TableMirror, Bridge: "br0", Name: "spanctl-audit", Sessions: []string{"audit"}, Reason: plan.ReasonMissing,
		Columns: map[string]plan.Delta{"select_src_port": {New: plan.Value{"vif-a"}}, "output_port": {New: plan.Value{"spanctl-p"}}},
	}
}

// rule is the change that puts a rule of the tap bridge back.
func rule() plan.Change {
	return plan.Change{
		Action: plan.Create, Table: plan.TableFlow, Bridge: "tap", Name: "table=0,priority=1,in_port=1", Sessions: []string{"audit"}, Reason: plan.ReasonMissing,
		Columns: map[string]plan.Delta{"actions": {New: plan.Value{"output:2"}}},
	}
}

func planOf(snap *plan.Snapshot, changes ...plan.Change) *plan.Plan {
	return &plan.Plan{Base: snap, Changes: changes}
}

// fight puts something back so many times, as soon as may be, and returns for how long it was left each time.
func fight(t *testing.T, c *reconcile.Contest, now *time.Time, times int, again func() *plan.Plan) (holds []time.Duration) {
	t.Helper()
	for range times {
		p := again()
		from := *now
		for c.Holds(p, *now)(&p.Changes[0]) {
			next := c.Due(*now)
			if !next.After(*now) {
				t.Fatalf("held at %s, and the next time is %s", *now, next)
			}
			*now = next
		}
		holds = append(holds, now.Sub(from))
		c.Record(p, *now)
	}
	return holds
}

// A row is put back five times at once, and then after a second, two, four, up to a minute.
func TestContest(t *testing.T) {
	var c reconcile.Contest
	now := noon
	seconds := []int{0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60}
	holds := fight(t, &c, &now, len(seconds), func() *plan.Plan { return planOf(guests("1", "2"), mirror()) })
	for i, s := range seconds {
		if holds[i] != time.Duration(s)*time.Second {
			t.Fatalf("it was left for %v, want %v", holds, seconds)
		}
	}
	rows := c.Rows(now)
	if got := rows["audit"]; !slices.Equal(got, []string{"Mirror spanctl-audit"}) || len(rows) != 1 {
		t.Errorf("contested are %q", rows)
	}
	other := mirror()
	other.Bridge = "br1"
	if p := planOf(guests("1", "2"), other); c.Holds(p, now)(&p.Changes[0]) {
		t.Error("another bridge's mirror is held")
	}
	for _, after := range []struct {
		d         time.Duration
		contested bool
	}{{time.Minute + 5*time.Minute, true}, {time.Minute + 5*time.Minute + 1, false}} {
		if rows, next := c.Rows(now.Add(after.d)), c.Due(now.Add(after.d)); len(rows) > 0 != after.contested || !next.IsZero() {
			t.Errorf("contested are %q %s after, next is %s", rows, after.d, next)
		}
	}
	// What comes after that is the first time, and so is what happens every night.
	for range 20 {
		now = now.Add(24 * time.Hour)
		if holds := fight(t, &c, &now, 1, func() *plan.Plan { return planOf(guests("1", "2"), mirror()) }); holds[0] != 0 {
			t.Fatalf("held for %s", holds[0])
		}
		if rows := c.Rows(now); len(rows) > 0 {
			t.Fatalf("contested are %q", rows)
		}
	}
}

// What is put back because a guest, ovs-vswitchd or we ourselves have done something is never contested.
func TestNotContested(t *testing.T) {
	serial := 0
	uuid := func() string { serial++; return string(rune('a' + serial)) }
	column := func(c plan.Change, name string, v ...string) plan.Change {
		c.Columns = map[string]plan.Delta{name: {New: v}}
		return c
	}
	because := func(reason plan.Reason, c plan.Change) plan.Change {
		c.Reason = reason
		return c
	}
	port := plan.Change{Action: plan.Update, Table: plan.TablePort, Bridge: "br0", Name: "vif-audit", Sessions: []string{"audit"}}
	tap := plan.Change{Action: plan.Create, Table: plan.TableBridge, Name: "tap", Sessions: []string{"audit"}, Reason: plan.ReasonMissing}
	gone := func(c plan.Change, reason plan.Reason) plan.Change {
		c.Action, c.Reason = plan.Delete, reason
		return column(c, "name")
	}
	for name, again := range map[string]func() []*plan.Plan{
		"a source is started anew": func() []*plan.Plan { return []*plan.Plan{planOf(guests(uuid(), "2"), mirror())} },
		"a destination is borrowed": func() []*plan.Plan {
			return []*plan.Plan{planOf(guests("1", uuid()), because(plan.ReasonBorrow, port))}
		},
		"a destination's tags":          func() []*plan.Plan { return []*plan.Plan{planOf(guests("1", uuid()), because(plan.ReasonTags, port))} },
		"a destination's number":        func() []*plan.Plan { return []*plan.Plan{planOf(guests("1", uuid()), because(plan.ReasonDrift, port))} },
		"a rule for another number":     func() []*plan.Plan { return []*plan.Plan{planOf(guests("1", "2"), column(rule(), "actions", uuid()))} },
		"rules of another ovs-vswitchd": func() []*plan.Plan { s := guests("1", "2"); s.Daemon = uuid(); return []*plan.Plan{planOf(s, rule())} },
		"the audit guest goes and comes": func() []*plan.Plan {
			s := guests("1", uuid())
			return []*plan.Plan{planOf(s, tap, rule(), mirror()), planOf(s, gone(tap, plan.ReasonWaiting), gone(mirror(), plan.ReasonWaiting))}
		},
		"a session changes": func() []*plan.Plan {
			return []*plan.Plan{planOf(guests("1", "2"), mirror()), planOf(guests("1", "2"), gone(mirror(), plan.ReasonDisabled))}
		},
		"sessions that share it come and go": func() []*plan.Plan {
			with, without, c := guests("1", "2"), guests("1", "2"), mirror()
			with.Intent, without.Intent = map[string]string{"audit": "{}", "b": "{}"}, map[string]string{"audit": "{}"}
			c.Action = plan.Update
			return []*plan.Plan{planOf(with, because(plan.ReasonChanged, c)), planOf(without, because(plan.ReasonDeleted, c))}
		},
		"by the intent": func() []*plan.Plan {
			return []*plan.Plan{planOf(guests("1", "2"), because(plan.ReasonChanged, mirror()))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var c reconcile.Contest
			for range 20 {
				for _, p := range again() {
					for i := range p.Changes {
						if c.Holds(p, noon)(&p.Changes[i]) {
							t.Fatalf("held: %+v", p.Changes[i])
						}
					}
					c.Record(p, noon)
				}
			}
			if rows, next := c.Rows(noon), c.Due(noon); len(rows) > 0 || !next.IsZero() {
				t.Errorf("contested are %q, next is %s", rows, next)
			}
		})
	}
}

// Whoever deletes a tap bridge, its rules or the patches to it again and again is not fought either.
func TestContestedTap(t *testing.T) {
	tap := plan.Change{Action: plan.Create, Table: plan.TableBridge, Name: "tap", Sessions: []string{"audit"}, Reason: plan.ReasonMissing}
	patch := plan.Change{Action: plan.Create, Table: plan.TablePort, Bridge: "br0", Name: "spanctl-p", Sessions: []string{"audit"}, Reason: plan.ReasonMissing}
	foreign := plan.Change{Action: plan.Delete, Table: plan.TableFlow, Bridge: "tap", Name: "table=0,priority=9", Reason: plan.ReasonDrift}
	tags := plan.Change{Action: plan.Update, Table: plan.TablePort, Bridge: "br0", Name: "vif-audit", Sessions: []string{"audit"}, Reason: plan.ReasonTags}
	serves := plan.Change{Action: plan.Update, Table: plan.TableBridge, Name: "tap", Sessions: []string{"audit"}, Reason: plan.ReasonDeleted}
	serial := 0
	for name, changes := range map[string][]plan.Change{
		"bridge": {tap, rule()}, "said to serve others": {serves}, "rules": {rule()}, "foreign rule": {foreign}, "patch": {patch}, "tags": {tags},
	} {
		t.Run(name, func(t *testing.T) {
			var c reconcile.Contest
			now := noon
			holds := fight(t, &c, &now, 7, func() *plan.Plan {
				serial++ // our own patch is a new row each time
				return planOf(guests(string(rune('a'+serial)), "2"), changes...)
			})
			if holds[4] != 0 || holds[5] != time.Second || holds[6] != 2*time.Second {
				t.Errorf("it was left for %v", holds)
			}
		})
	}
}
