package plan_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"spanctl/policy"
	"spanctl/policy/plan"
)

// anyHost draws a snapshot: a bridge or two, ports of every kind, mirrors of
// ours and of others in any condition.
func anyHost(t *rapid.T) *plan.Snapshot {
	s := &plan.Snapshot{Root: "root", Revision: "1", Intent: map[string]string{}}
	s.OVSVersion = rapid.SampledFrom([]string{"", "2.13.0", "3.1.0", "3.5.0"}).Draw(t, "ovs")
	s.MirrorFilter = rapid.Bool().Draw(t, "filter")
	serial := 0
	uuid := func() string { serial++; return fmt.Sprintf("uuid-%d", serial) }
	for b := range rapid.IntRange(1, 2).Draw(t, "bridges") {
		bridge := plan.Bridge{UUID: uuid(), Name: fmt.Sprintf("br%d", b)}
		bridge.Ports = append(bridge.Ports, hostPort(bridge.Name, uuid))
		var names []string
		for i := range rapid.IntRange(0, 8).Draw(t, "ports") {
			p := plan.Port{UUID: uuid(), Name: fmt.Sprintf("vif%d.%d", b, i), ExternalIDs: map[string]string{}}
			iface := plan.Interface{UUID: uuid(), Name: p.Name, OFPort: i + 1, ExternalIDs: map[string]string{"vm-id": fmt.Sprintf("vm-%d", i%3)}}
			iface.Type = rapid.SampledFrom([]string{"", "", "", "internal", "patch", "vxlan"}).Draw(t, "type")
			p.VLANMode = rapid.SampledFrom([]string{"", "", "access", "trunk", "dot1q-tunnel"}).Draw(t, "mode")
			if rapid.IntRange(0, 5).Draw(t, "saved") == 0 {
				p.ExternalIDs["spanctl-saved-vlan_mode"] = "access"
			}
			if role := rapid.SampledFrom([]string{"", "", "", "none", "uplink"}).Draw(t, "role"); role != "" {
				iface.ExternalIDs["spanctl-role"] = role
			}
			p.Interfaces = []plan.Interface{iface}
			bridge.Ports = append(bridge.Ports, p)
			names = append(names, p.Name)
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "mirrors") {
			m := plan.Mirror{UUID: uuid(), Name: fmt.Sprintf("spanctl-s%d", i%2), SelectAll: rapid.Bool().Draw(t, "all"), ExternalIDs: map[string]string{}}
			if len(names) > 0 {
				m.OutputPort = rapid.SampledFrom(names).Draw(t, "out")
				m.SelectSrc = []string{rapid.SampledFrom(names).Draw(t, "src")}
			}
			if rapid.Bool().Draw(t, "managed") {
				m.ExternalIDs["spanctl-managed"] = "true"
				m.ExternalIDs["spanctl-session"] = fmt.Sprintf("s%d", i)
			}
			bridge.Mirrors = append(bridge.Mirrors, m)
		}
		s.Bridges = append(s.Bridges, bridge)
	}
	return s
}

// anyIntent draws sessions over the ports that anyHost makes.
func anyIntent(t *rapid.T) plan.Intent {
	intent := plan.Intent{}
	for i := range rapid.IntRange(0, 4).Draw(t, "sessions") {
		selector := func() policy.Selector {
			s := policy.Selector{
				Role:      rapid.SampledFrom([]policy.Role{"", policy.RoleAll, policy.RoleGuest, policy.RoleUplink, policy.RoleHost}).Draw(t, "want role"),
				Interface: rapid.SampledFrom([]string{"", "vif0.*", "vif0.1", "vif1.2", "*"}).Draw(t, "interface"),
				Direction: rapid.SampledFrom([]policy.Direction{"", policy.DirectionFrom, policy.DirectionTo}).Draw(t, "direction"),
				Bridge:    rapid.SampledFrom([]string{"", "br0", "br*"}).Draw(t, "bridge"),
			}
			if rapid.Bool().Draw(t, "vlans") {
				first := rapid.Uint16Range(0, 5).Draw(t, "first")
				s.VLANs = policy.Ranges{{First: first, Last: first + rapid.Uint16Range(0, 2).Draw(t, "more")}}
			}
			return s
		}
		session := &policy.Session{Snaplen: rapid.SampledFrom([]int{0, 0, 100}).Draw(t, "snaplen"), StripVLAN: rapid.Bool().Draw(t, "strip")}
		for range rapid.IntRange(1, 3).Draw(t, "sources") {
			session.Sources = append(session.Sources, selector())
		}
		if rapid.IntRange(0, 3).Draw(t, "except") == 0 {
			session.Except = []policy.Selector{selector()}
		}
		destination := policy.Destination{Interface: rapid.SampledFrom([]string{"vif0.0", "vif0.1", "vif1.0", "vif9.9"}).Draw(t, "destination"), Dedicated: true}
		if rapid.IntRange(0, 3).Draw(t, "rspan") == 0 {
			destination = policy.Destination{VLAN: 999}
		}
		session.Destinations = []policy.Destination{destination}
		if err := intent.Put(fmt.Sprintf("s%d", i), session); err != nil {
			t.Fatal(err)
		}
	}
	return intent
}

// TestDiffReachesTarget holds that what is there, patched by its difference
// from what should be, is what should be, and that equal rows do not differ.
func TestDiffReachesTarget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := plan.Compile(anyHost(t), anyIntent(t), noon).Rows
		b := plan.Compile(anyHost(t), anyIntent(t), noon).Rows
		for i := range a {
			a[i].UUID = fmt.Sprintf("row-%d", i) // as rows that exist have
		}
		for _, rows := range [][]plan.Row{a, b} {
			if changes := plan.Diff(rows, rows); len(changes) != 0 {
				t.Fatalf("rows differ from themselves: %+v", changes)
			}
		}
		if left := plan.Diff(plan.Patch(a, plan.Diff(a, b)), b); len(left) != 0 {
			t.Fatalf("the difference does not reach the target: %+v", left)
		}
	})
}

// TestPlansAreSound holds for any host and intent: a plan is the same when it
// is made again, touches no foreign mirror, names no port twice, never mirrors
// a destination, and keeps to the limit.
func TestPlansAreSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, intent := anyHost(t), anyIntent(t)
		p := plan.Make(snap, intent, noon)
		if again := plan.Make(snap, intent, noon); renderPlan(again) != renderPlan(p) {
			t.Fatalf("made again the plan differs:\n%s\n%s", renderPlan(p), renderPlan(again))
		}
		foreign := map[string]bool{}
		for b := range snap.Bridges {
			for m := range snap.Bridges[b].Mirrors {
				if mirror := &snap.Bridges[b].Mirrors[m]; !mirror.Managed() {
					foreign[mirror.UUID] = true
				}
			}
		}
		for i := range p.Changes {
			if foreign[p.Changes[i].UUID] {
				t.Fatalf("the plan touches a foreign mirror: %+v", p.Changes[i])
			}
		}
		mirrors := map[string]int{}
		outputs := map[string]bool{}
		rows := plan.Compile(snap, intent, noon).Rows
		for i := range rows {
			if rows[i].Table == plan.TableMirror {
				mirrors[rows[i].Bridge]++
				if rows[i].UUID != "" {
					continue // the row of a refused session, kept as it is
				}
				for _, port := range rows[i].Columns["output_port"] {
					outputs[port] = true
				}
			}
		}
		for i := range rows {
			if mirrors[rows[i].Bridge] > plan.MirrorLimit {
				t.Fatalf("bridge %s gets %d mirrors", rows[i].Bridge, mirrors[rows[i].Bridge])
			}
			for _, column := range []string{"select_src_port", "select_dst_port"} {
				ports := rows[i].Columns[column]
				if len(slices.Compact(slices.Clone(ports))) != len(ports) || !slices.IsSorted(ports) {
					t.Fatalf("%s is not a sorted set: %v", column, ports)
				}
				for _, port := range ports {
					if outputs[port] && rows[i].UUID == "" {
						t.Fatalf("destination %s is a source", port)
					}
				}
			}
		}
	})
}
