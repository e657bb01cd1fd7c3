package plan_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
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
	s.Local = rapid.Bool().Draw(t, "local")
	for _, remote := range []string{"192.0.2.1", "192.0.2.2"} {
		if device := rapid.SampledFrom([]string{"", "eth9", "br0", "vif1.1"}).Draw(t, "device"); device != "" {
			if s.Routes == nil {
				s.Routes = map[netip.Addr]plan.Route{}
			}
			s.Routes[netip.MustParseAddr(remote)] = plan.Route{Devices: []string{device}, MTU: 1500}
		}
	}
	for b := range rapid.IntRange(1, 3).Draw(t, "bridges") {
		bridge := plan.Bridge{UUID: uuid(), Name: fmt.Sprintf("br%d", b), Datapath: rapid.SampledFrom([]string{"netdev", "netdev", "netdev", ""}).Draw(t, "datapath")}
		bridge.Ports = append(bridge.Ports, hostPort(bridge.Name, uuid))
		var names []string
		for i := range rapid.IntRange(0, 8).Draw(t, "ports") {
			p := plan.Port{UUID: uuid(), Name: fmt.Sprintf("vif%d.%d", b, i), ExternalIDs: map[string]string{}}
			iface := plan.Interface{UUID: uuid(), Name: p.Name, OFPort: i + 1, ExternalIDs: map[string]string{"vm-id": fmt.Sprintf("vm-%d", i%3)}}
			iface.Type = rapid.SampledFrom([]string{"", "", "", "", "internal", "patch", "vxlan"}).Draw(t, "type")
			if iface.Type == "patch" {
				iface.Options = map[string]string{"peer": fmt.Sprintf("vif%d.%d", rapid.IntRange(0, 2).Draw(t, "peer"), i)}
			}
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
				Bridge:    rapid.SampledFrom([]string{"", "br0", "br1", "br*"}).Draw(t, "bridge"),
			}
			if rapid.Bool().Draw(t, "vlans") {
				first := rapid.Uint16Range(0, 5).Draw(t, "first")
				s.VLANs = policy.Ranges{{First: first, Last: first + rapid.Uint16Range(0, 2).Draw(t, "more")}}
			}
			return s
		}
		session := &policy.Session{Snaplen: rapid.SampledFrom([]int{0, 0, 100}).Draw(t, "snaplen"), StripVLAN: rapid.Bool().Draw(t, "strip")}
		if rapid.IntRange(0, 3).Draw(t, "treated") == 0 {
			session.Exclude = []policy.Match{{Protocol: policy.ProtocolTCP, Port: policy.Ranges{{First: 7788, Last: rapid.Uint16Range(7788, 7799).Draw(t, "port")}}}}
			session.Sample = policy.Sample{N: rapid.IntRange(1, 3).Draw(t, "sample")}
			session.MaxRate = policy.Rate{Packets: rapid.Uint64Range(0, 2).Draw(t, "rate")}
			session.Balance = rapid.SampledFrom([]policy.Balance{"", policy.BalanceFlow}).Draw(t, "balance")
		}
		switch rapid.IntRange(0, 7).Draw(t, "included or open") {
		case 0, 1:
			session.Include = []policy.Match{{EtherType: policy.EtherTypeIPv4, Dst: netip.MustParsePrefix("10.0.0.0/8")}}
		case 2:
			session.Fail, session.Balance = policy.FailOpen, ""
		}
		for range rapid.IntRange(1, 3).Draw(t, "sources") {
			session.Sources = append(session.Sources, selector())
		}
		if rapid.IntRange(0, 3).Draw(t, "except") == 0 {
			session.Except = []policy.Selector{selector()}
		}
		destination := policy.Destination{Interface: rapid.SampledFrom([]string{"vif0.0", "vif0.1", "vif1.0", "vif9.9"}).Draw(t, "destination"), Dedicated: true}
		session.Destinations = []policy.Destination{destination}
		switch remote := netip.MustParseAddr(rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2"}).Draw(t, "remote")); rapid.IntRange(0, 7).Draw(t, "kind") {
		case 0, 1:
			session.Destinations = []policy.Destination{{VLAN: 999}}
		case 2:
			session.Destinations = append(session.Destinations, policy.Destination{Interface: rapid.SampledFrom([]string{"vif0.3", "vif1.1", "vif2.0", "vif9.8"}).Draw(t, "second")})
		case 3:
			session.Destinations = append(session.Destinations, policy.Destination{GRE: &policy.GRE{Tunnel: policy.Tunnel{Remote: remote}}})
		case 4:
			number := rapid.IntRange(1, 2).Draw(t, "number")
			session.Destinations = []policy.Destination{{ERSPAN: &policy.ERSPAN{Tunnel: policy.Tunnel{Remote: remote}, Session: &number, Index: rapid.IntRange(0, 1).Draw(t, "index")}}}
		}
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
// is made again, touches nothing of others but borrowed ports, and keeps to the
// limit.
func TestPlansAreSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, intent := anyHost(t), anyIntent(t)
		p := plan.Make(snap, intent, noon)
		if again := plan.Make(snap, intent, noon); renderPlan(again) != renderPlan(p) {
			t.Fatalf("made again the plan differs:\n%s\n%s", renderPlan(p), renderPlan(again))
		}
		foreign := map[string]bool{}
		for b := range snap.Bridges {
			foreign[snap.Bridges[b].UUID] = true
			for m := range snap.Bridges[b].Mirrors {
				if mirror := &snap.Bridges[b].Mirrors[m]; !mirror.Managed() {
					foreign[mirror.UUID] = true
				}
			}
		}
		for i := range p.Changes {
			c := &p.Changes[i]
			if foreign[c.UUID] {
				t.Fatalf("the plan touches a foreign row: %+v", c)
			}
			if c.Table == plan.TablePort && c.Action == plan.Delete && !strings.HasPrefix(c.Name, "spanctl-") {
				t.Fatalf("the plan removes a foreign port: %+v", c)
			}
		}
		mirrors := map[string]int{}
		rows := plan.Compile(snap, intent, noon).Rows
		for i := range rows {
			if rows[i].Table == plan.TableMirror {
				mirrors[rows[i].Bridge]++
			}
		}
		for bridge, n := range mirrors {
			if n > plan.MirrorLimit {
				t.Fatalf("bridge %s gets %d mirrors", bridge, n)
			}
		}
	})
}

// TestCopiesGoWhereTheyShould follows the copies of any plan's rows, as the
// switch does, from what mirrors select to where they end: no copy is copied
// again, no port that receives copies is a source, each session's copies reach
// all its destinations that are present and no other, and patches are parked.
func TestCopiesGoWhereTheyShould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap, intent := anyHost(t), anyIntent(t)
		for b := range snap.Bridges { // what is there is another test's
			snap.Bridges[b].Mirrors = slices.DeleteFunc(snap.Bridges[b].Mirrors, func(m plan.Mirror) bool { return m.Managed() })
		}
		d := plan.Compile(snap, intent, noon)
		at := map[string]*plan.Row{} // ports, by name
		taps := map[string]bool{}
		ends := map[string][]string{} // outputs, by tap bridge
		for i := range d.Rows {
			switch row := &d.Rows[i]; row.Table {
			case plan.TablePort:
				at[row.Name] = row
			case plan.TableBridge:
				taps[row.Name] = true
			}
		}
		for i := range d.Rows {
			if row := &d.Rows[i]; row.Table == plan.TableMirror && taps[row.Bridge] {
				out := row.Columns["output_port"][0]
				ends[row.Bridge] = append(ends[row.Bridge], out)
				if at[out] == nil || at[out].Bridge != row.Bridge {
					t.Fatalf("mirror %s of tap bridge %s outputs to %s, which is not on it", row.Name, row.Bridge, out)
				}
			}
		}
		receives := map[string]bool{}
		all := map[[2]string]plan.Value{} // that copies reach, by bridge and session
		for i := range d.Rows {
			row := &d.Rows[i]
			if row.Table != plan.TableMirror || taps[row.Bridge] {
				continue
			}
			reached := row.Columns["output_port"]
			if patch := at[first(row.Columns["output_port"])]; patch != nil && slices.Equal(patch.Columns["interface.type"], plan.Value{"patch"}) {
				peer := at[strings.TrimPrefix(patch.Columns["interface.options"][0], "peer=")]
				if !slices.Equal(patch.Columns["trunks"], plan.Value{"4095"}) || !slices.Equal(peer.Columns["trunks"], plan.Value{"0-4094"}) || !slices.Equal(peer.Columns["protected"], plan.Value{"true"}) {
					t.Fatalf("patch %s is not parked: %v, %v", patch.Name, patch.Columns, peer.Columns)
				}
				reached = ends[peer.Bridge]
				if number := peer.Columns["interface.ofport_request"]; number != nil && len(ends[peer.Bridge]) == 0 {
					reached = ruledOutputs(d, peer.Bridge, number[0])
				}
			}
			for _, port := range reached {
				receives[port] = true
			}
			for _, o := range d.Outcomes {
				if !slices.Contains(row.Sessions, o.Name) {
					continue
				}
				var wanted []string
				for _, place := range o.Places {
					if place.Port != "" {
						wanted = append(wanted, place.Port)
					}
				}
				for _, port := range reached {
					if !slices.Contains(wanted, port) {
						t.Fatalf("copies of session %s reach %s, want %v\n%s", o.Name, port, wanted, renderPlan(plan.Make(snap, intent, noon)))
					}
					all[[2]string{row.Bridge, o.Name}] = append(all[[2]string{row.Bridge, o.Name}], port)
				}
				if len(reached) == 0 && len(wanted) > 0 {
					t.Fatalf("copies of session %s end on the way", o.Name)
				}
			}
		}
		for at, reached := range all {
			for _, o := range d.Outcomes {
				for _, place := range o.Places {
					if o.Name == at[1] && place.Port != "" && !slices.Contains(reached, place.Port) {
						t.Fatalf("copies of session %s of bridge %s reach %v and not %s", o.Name, at[0], reached, place.Port)
					}
				}
			}
		}
		for i := range d.Rows {
			row := &d.Rows[i]
			if row.Table != plan.TableMirror || taps[row.Bridge] {
				continue
			}
			for _, column := range []string{"select_src_port", "select_dst_port"} {
				ports := row.Columns[column]
				if len(slices.Compact(slices.Clone(ports))) != len(ports) || !slices.IsSorted(ports) {
					t.Fatalf("%s is not a sorted set: %v", column, ports)
				}
				for _, port := range ports {
					if receives[port] || strings.HasPrefix(port, "spanctl-") {
						t.Fatalf("%s, which receives copies, is a source", port)
					}
				}
			}
			tapped := at[first(row.Columns["output_port"])]
			if tapped == nil || tapped.Columns["interface.type"] == nil {
				continue
			}
			// A tunnel whose packets cross the bridge is not copied by what is
			// sent to ports, nor by what its device sends.
			for _, o := range d.Outcomes {
				for _, place := range o.Places {
					if o.State != plan.StateActive || !strings.HasPrefix(place.Port, "spanctl-") {
						continue
					}
					remote := netip.MustParseAddr(strings.Fields(place.Name)[1])
					route, known := snap.Routes[remote]
					if patch, peer := tapped, at[strings.TrimPrefix(tapped.Columns["interface.options"][0], "peer=")]; patch.Tier == plan.TierFlow &&
						slices.ContainsFunc(d.Rows, func(r plan.Row) bool {
							return r.Table == plan.TableFlow && r.Bridge == peer.Bridge && strings.Contains(r.Name, "priority=400,in_port="+peer.Columns["interface.ofport_request"][0]+",") && strings.Contains(r.Name, remote.String())
						}) {
						continue // a guard drops them
					}
					crosses := known && crosses(snap, row.Bridge, route.Devices[0]) || !known && slices.Contains(row.Sessions, o.Name)
					if crosses && sendsIntoTunnel(d, row) && (len(row.Columns["select_dst_port"]) > 0 || slices.Equal(row.Columns["select_all"], plan.Value{"true"}) || known && slices.Contains(row.Columns["select_src_port"], route.Devices[0])) {
						t.Fatalf("mirror %s of bridge %s copies packets of %s again:\n%s", row.Name, row.Bridge, place.Name, renderPlan(plan.Make(snap, intent, noon)))
					}
				}
			}
		}
	})
}

// ruledOutputs are the ports to which rules send what enters a tap bridge by the port with the number.
func ruledOutputs(d *plan.Desired, bridge, number string) plan.Value {
	names := map[string]string{}
	for i := range d.Rows {
		if row := &d.Rows[i]; row.Table == plan.TablePort && row.Bridge == bridge {
			names[first(row.Columns["interface.ofport_request"])] = row.Name
		}
	}
	var outputs plan.Value
	for i := range d.Rows {
		row := &d.Rows[i]
		if row.Table != plan.TableFlow || row.Bridge != bridge || !strings.Contains(row.Name+",", ",in_port="+number+",") {
			continue
		}
		for _, m := range outputAction.FindAllStringSubmatch(row.Columns["actions"][0], -1) {
			if m[1] != "65279" { // see onClone
				outputs = append(outputs, names[m[1]])
			}
		}
	}
	slices.Sort(outputs)
	return slices.Compact(outputs)
}

var outputAction = regexp.MustCompile(`output(?::|\(port=)(\d+)`)

// sendsIntoTunnel reports whether a session of the mirror has a tunnel.
func sendsIntoTunnel(d *plan.Desired, row *plan.Row) bool {
	return slices.ContainsFunc(d.Outcomes, func(o *plan.Outcome) bool {
		return slices.Contains(row.Sessions, o.Name) && slices.ContainsFunc(o.Places, func(p plan.Place) bool { return strings.HasPrefix(p.Port, "spanctl-") })
	})
}

// crosses reports whether packets that leave by the device can enter the bridge:
// it has the device, or patch ports lead to one that has.
func crosses(snap *plan.Snapshot, bridge, device string) bool {
	seen, reach := map[string]bool{}, []string{bridge}
	for len(reach) > 0 {
		b := snap.Bridge(reach[0])
		reach = reach[1:]
		if b == nil || seen[b.Name] {
			continue
		}
		seen[b.Name] = true
		if b.Port(device) != nil {
			return true
		}
		for i := range snap.Bridges {
			for p := range snap.Bridges[i].Ports {
				for q := range b.Ports {
					one, other := snap.Bridges[i].Ports[p].Interfaces[0], b.Ports[q].Interfaces[0]
					if one.Type == "patch" && other.Type == "patch" && (one.Options["peer"] == other.Name || other.Options["peer"] == one.Name) {
						reach = append(reach, snap.Bridges[i].Name)
					}
				}
			}
		}
	}
	return false
}

// first is a value's only atom, empty if it has none.
func first(v plan.Value) string {
	if len(v) == 0 {
		return ""
	}
	return v[0]
}
