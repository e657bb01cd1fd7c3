package plan_test

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"spanctl/policy/plan"
)

// drifted is a host on which the mirrors of three sessions were changed: a and b share one, c has its own on another bridge.
const drifted = `
bridge br0
port vif1.0
port vif9.0
mirror spanctl-a src=vif1.0 dst=vif1.0 out=vif9.0 snaplen=64 spanctl-managed:=true spanctl-session:=a,b
bridge br1
port vif2.0
port vif8.0
mirror spanctl-c src=vif2.0 dst=vif2.0 out=vif8.0 snaplen=64 spanctl-managed:=true spanctl-session:=c
stored a {"version":1,"sources":[{"interface":"vif1.0"}],"destinations":[{"interface":"vif9.0"}]}
stored b {"version":1,"sources":[{"interface":"vif1.0"}],"destinations":[{"interface":"vif9.0"}]}
stored c {"version":1,"sources":[{"interface":"vif2.0"}],"destinations":[{"interface":"vif8.0"}]}
`

func driftedPlan(t *testing.T) *plan.Plan {
	t.Helper()
	snap := readSnapshot(t, drifted)
	return plan.Make(snap, plan.StoredIntent(snap), noon)
}

// places are the bridges that changes of each table are on.
func places(p *plan.Plan, table plan.Table) (bridges []string) {
	for i := range p.Changes {
		if c := &p.Changes[i]; c.Table == table {
			bridges = append(bridges, c.Bridge)
		}
	}
	return bridges
}

// What is held takes along what belongs to the same sessions, and the change by which running connections follow it.
func TestWithout(t *testing.T) {
	p := driftedPlan(t)
	if got := places(p, plan.TableMirror); !slices.Contains(got, "br0") || !slices.Contains(got, "br1") {
		t.Fatalf("the plan changes %+v", p.Changes)
	}
	whole := slices.Clone(p.Changes)
	without := p.Without(func(c *plan.Change) bool { return c.Table == plan.TableMirror && c.Bridge == "br0" })
	for _, table := range []plan.Table{plan.TableMirror, plan.TablePort} {
		if got := places(without, table); !slices.Equal(got, []string{"br1"}) {
			t.Errorf("%s changes are on %q", table, got)
		}
	}
	if without.Base != p.Base || !reflect.DeepEqual(without.Outcomes, p.Outcomes) || !reflect.DeepEqual(p.Changes, whole) {
		t.Error("nothing else changes, nor does the plan itself")
	}
	if same := p.Without(func(*plan.Change) bool { return false }); same != p {
		t.Error("nothing is held, and the plan is another one")
	}
	if none := p.Without(func(*plan.Change) bool { return true }); !none.Empty() {
		t.Errorf("everything is held, and there is %+v", none.Changes)
	}
	if same := p.Without(func(c *plan.Change) bool { return c.Reason == plan.ReasonFollow }); same != p {
		t.Error("what follows is held by itself")
	}
}

// Sessions that share rows are held together, over any number of rows between them.
func TestWithoutSharing(t *testing.T) {
	change := func(name string, sessions ...string) plan.Change {
		return plan.Change{Action: plan.Create, Table: plan.TableBridge, Name: name, Sessions: sessions, Reason: plan.ReasonMissing}
	}
	p := &plan.Plan{Base: &plan.Snapshot{}, Changes: []plan.Change{
		change("1", "c", "d"), change("2", "b", "c"), change("3", "a", "b"), change("4", "e"), change("5"), change("6"),
	}}
	for held, left := range map[string][]string{"3": {"4", "5", "6"}, "1": {"4", "5", "6"}, "4": {"1", "2", "3", "5", "6"}, "5": {"1", "2", "3", "4", "6"}} {
		var names []string
		for _, c := range p.Without(func(c *plan.Change) bool { return c.Name == held }).Changes {
			names = append(names, c.Name)
		}
		if !slices.Equal(names, left) {
			t.Errorf("without %s there is %q, want %q", held, names, left)
		}
		for _, c := range p.Only(func(c *plan.Change) bool { return c.Name == held }).Changes {
			names = append(names, c.Name)
		}
		if slices.Sort(names); !slices.Equal(names, []string{"1", "2", "3", "4", "5", "6"}) {
			t.Errorf("with and without %s there is %q", held, names)
		}
	}
}

// Whatever is held: no session is put in force by half, and what follows fits what is left.
func TestWithoutIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap := anyHost(t)
		p := plan.Make(snap, anyIntent(t), noon)
		left := p.Without(func(c *plan.Change) bool { return rapid.IntRange(0, 4).Draw(t, "held "+c.Name) == 0 })
		kept := func(c plan.Change) bool {
			return slices.ContainsFunc(left.Changes, func(l plan.Change) bool { return reflect.DeepEqual(l, c) })
		}
		for _, c := range p.Changes {
			for _, d := range p.Changes {
				shares := slices.ContainsFunc(c.Sessions, func(name string) bool { return slices.Contains(d.Sessions, name) })
				if shares && kept(c) != kept(d) {
					t.Fatalf("%s %s is left, %s %s is not", c.Table, c.Name, d.Table, d.Name)
				}
			}
		}
		moved := func(bridge string) bool {
			return slices.ContainsFunc(left.Changes, func(c plan.Change) bool { return c.Table == plan.TableMirror && c.Bridge == bridge })
		}
		for _, c := range left.Changes {
			if c.Reason == plan.ReasonFollow && c.Action == plan.Create && !moved(c.Bridge) && !slices.ContainsFunc(snap.Bridges, func(b plan.Bridge) bool { return b.Managed() && moved(b.Name) }) {
				t.Fatalf("nothing moves on %s, and there is %+v", c.Bridge, c)
			}
		}
	})
}

func TestNewPorts(t *testing.T) {
	snap := readSnapshot(t, `
bridge br0
port vif1.0
port vif2.0
port vif9.0
port spanctl-p spanctl-managed:=true
`)
	uuid := func(name string) string { return snap.Bridge("br0").Port(name).UUID }
	column := func(name string, from, to plan.Value) plan.Change {
		return plan.Change{Table: plan.TableMirror, Name: "m", Columns: map[string]plan.Delta{name: {Old: from, New: to}}}
	}
	both := column("select_src_port", nil, plan.Value{"vif1.0"})
	both.Columns["select_dst_port"] = plan.Delta{New: plan.Value{"vif1.0"}}
	for name, c := range map[string]struct {
		change plan.Change
		want   []string
	}{
		"one joins":        {column("select_src_port", plan.Value{"vif1.0"}, plan.Value{"vif1.0", "vif2.0"}), []string{"vif2.0"}},
		"one leaves":       {column("select_dst_port", plan.Value{"vif1.0", "vif2.0"}, plan.Value{"vif1.0"}), nil},
		"one for both":     {both, []string{"vif1.0"}},
		"an output":        {column("output_port", nil, plan.Value{"vif9.0"}), []string{"vif9.0"}},
		"our own":          {column("output_port", nil, plan.Value{"spanctl-p"}), nil},
		"one that is none": {column("output_port", nil, plan.Value{"vif7.0"}), nil},
		"nothing":          {column("snaplen", nil, plan.Value{"64"}), nil},
		"a port":           {plan.Change{Table: plan.TablePort, Name: "vif9.0"}, []string{"vif9.0"}},
		"a port of ours":   {plan.Change{Table: plan.TablePort, Name: "spanctl-p"}, nil},
	} {
		var want []string
		for _, port := range c.want {
			want = append(want, uuid(port))
		}
		slices.Sort(want)
		if got := c.change.NewPorts(snap); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
