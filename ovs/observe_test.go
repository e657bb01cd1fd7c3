package ovs_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// sameSnapshot compares a snapshot without its UUIDs, which must be there.
func sameSnapshot(t *testing.T, got, want *plan.Snapshot) {
	t.Helper()
	needUUID := func(uuid *string, what string) {
		if len(*uuid) != 36 {
			t.Errorf("%s has the UUID %q", what, *uuid)
		}
		*uuid = ""
	}
	needUUID(&got.Root, "the root")
	for b := range got.Bridges {
		bridge := &got.Bridges[b]
		needUUID(&bridge.UUID, "bridge "+bridge.Name)
		for p := range bridge.Ports {
			port := &bridge.Ports[p]
			needUUID(&port.UUID, "port "+port.Name)
			for i := range port.Interfaces {
				needUUID(&port.Interfaces[i].UUID, "interface "+port.Interfaces[i].Name)
			}
		}
		for m := range bridge.Mirrors {
			needUUID(&bridge.Mirrors[m].UUID, "mirror "+bridge.Mirrors[m].Name)
		}
	}
	g, w := describeSnapshot(got), describeSnapshot(want)
	if g != w {
		t.Errorf("snapshot is\n%s\nwant\n%s", g, w)
	}
}

// describeSnapshot writes every field that is not zero, a line each.
func describeSnapshot(s *plan.Snapshot) string {
	var b strings.Builder
	writeValue(&b, "", reflect.ValueOf(s).Elem())
	return b.String()
}

func writeValue(b *strings.Builder, path string, v reflect.Value) {
	switch {
	case v.IsZero(), v.Kind() == reflect.Map && v.Len() == 0:
	case v.Kind() == reflect.Pointer:
		writeValue(b, path+"*", v.Elem())
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			writeValue(b, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			writeValue(b, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	default:
		fmt.Fprintf(b, "%s = %#v\n", path, v.Interface())
	}
}

func ptr[T any](v T) *T { return &v }

func TestObserveEmptyDatabase(t *testing.T) {
	t.Parallel()
	lab := start(t, ovstest.Config{Bridges: []string{}})
	sameSnapshot(t, look(t, lab), &plan.Snapshot{Local: true})
}

// TestObserveEmptyColumns reads rows of which others have set nothing but the
// name.
func TestObserveEmptyColumns(t *testing.T) {
	t.Parallel()
	lab := start(t, ovstest.Config{})
	vsctl(t, lab, "--", "add-port", "br0", "p1", "--", "--id=@m", "create", "Mirror", "name=m", "--", "set", "Bridge", "br0", "mirrors=@m",
		"--", "set", "Bridge", "br0", `datapath_type=""`)
	sameSnapshot(t, look(t, lab), &plan.Snapshot{Local: true, Bridges: []plan.Bridge{{
		Name: "br0",
		Ports: []plan.Port{
			{Name: "br0", Interfaces: []plan.Interface{{Name: "br0", Type: "internal"}}},
			{Name: "p1", Interfaces: []plan.Interface{{Name: "p1"}}},
		},
		Mirrors: []plan.Mirror{{Name: "m"}},
	}}})
}

// TestObserveEveryColumn reads rows of which others have set every column that
// a snapshot has.
func TestObserveEveryColumn(t *testing.T) {
	t.Parallel()
	lab := start(t, ovstest.Config{Bridges: []string{"xenbr1", "br0"}})
	vsctl(t, lab,
		"--", "set", "Open_vSwitch", ".", "ovs_version=3.1.0", "external_ids:spanctl/revision=41", "external_ids:system-id=host1",
		`external_ids:spanctl/session/audit="any text"`, `external_ids:spanctl/session/=""`,
		"--", "set", "Bridge", "xenbr1", "datapath_type=system", "external_ids:bridge-id=xenbr1", "fail_mode=secure", "flood_vlans=7,5,6",
		"other_config:forward-bpdu=true",
		"--", "add-bond", "xenbr1", "bond0", "eth1", "eth0", "tag=7", "vlan_mode=native-untagged", "trunks=12,10,11,4095,0", "external_ids:zone=dmz",
		"--", "set", "Interface", "eth0", "type=dpdk", "status:driver_name=ixgbe", "ofport=3", `mac_in_use="52:54:00:12:34:56"`,
		"link_state=up", "ifindex=17", "options:remote_ip=192.0.2.1", "options:psk=hush", "status:tunnel_egress_iface=eth7",
		"status:tunnel_egress_iface_carrier=up", "external_ids:vm-id=web", "external_ids:attached-mac=02:00:00:00:00:01",
		"--", "set", "Interface", "eth1", "ofport=-1", `error="could not add, \"eth1\""`, "link_state=down",
		"--", "--id=@bond", "get", "Port", "bond0", "--", "--id=@own", "get", "Port", "xenbr1",
		"--", "--id=@b", "create", "Mirror", "name=same", "select_all=true", "select_src_port=@own,@bond", "select_dst_port=@bond", "select_vlan=3,1,2,4095,0",
		"output_port=@bond", "output_vlan=9", "snaplen=64", "external_ids:spanctl-managed=true", "external_ids:spanctl-session=audit",
		"--", "--id=@a", "create", "Mirror", "name=same",
		"--", "--id=@c", "create", "Mirror", `name=""`,
		"--", "set", "Bridge", "xenbr1", "mirrors=@a,@b,@c",
	)
	snap := look(t, lab)
	mirrors := snap.Bridge("xenbr1").Mirrors
	if mirrors[1].UUID > mirrors[2].UUID {
		t.Error("mirrors of one name are not sorted by UUID")
	}
	slices.SortFunc(mirrors, func(a, b plan.Mirror) int { return strings.Compare(a.Name+a.OutputPort, b.Name+b.OutputPort) })
	sameSnapshot(t, snap, &plan.Snapshot{
		Local: true, OVSVersion: "3.1.0", Revision: "41", Intent: map[string]string{"audit": "any text", "": ""},
		Bridges: []plan.Bridge{
			{Name: "br0", Datapath: "netdev", Ports: []plan.Port{{Name: "br0", Interfaces: []plan.Interface{{Name: "br0", Type: "internal"}}}}},
			{
				Name: "xenbr1", Datapath: "system", FailMode: "secure", FloodVLANs: policy.Ranges{{First: 5, Last: 7}},
				OtherConfig: map[string]string{"forward-bpdu": "true"}, ExternalIDs: map[string]string{"bridge-id": "xenbr1"},
				Ports: []plan.Port{
					{
						Name: "bond0", Tag: ptr(7), VLANMode: "native-untagged", ExternalIDs: map[string]string{"zone": "dmz"},
						Trunks: policy.Ranges{{First: 0, Last: 0}, {First: 10, Last: 12}, {First: 4095, Last: 4095}},
						Interfaces: []plan.Interface{
							{
								Name: "eth0", Type: "dpdk", Driver: "ixgbe", OFPort: 3, MACInUse: "52:54:00:12:34:56", LinkState: "up",
								Options: map[string]string{"remote_ip": "192.0.2.1", "psk": plan.Secret}, Egress: "eth7", Carrier: "up",
								ExternalIDs: map[string]string{"vm-id": "web", "attached-mac": "02:00:00:00:00:01"},
							},
							{Name: "eth1", OFPort: -1, Error: `could not add, "eth1"`, LinkState: "down"},
						},
					},
					{Name: "xenbr1", Interfaces: []plan.Interface{{Name: "xenbr1", Type: "internal"}}},
				},
				Mirrors: []plan.Mirror{
					{},
					{Name: "same"},
					{
						Name: "same", SelectAll: true, SelectSrc: []string{"bond0", "xenbr1"}, SelectDst: []string{"bond0"},
						SelectVLANs: policy.Ranges{{First: 0, Last: 3}, {First: 4095, Last: 4095}}, OutputPort: "bond0", OutputVLAN: ptr(9), Snaplen: 64,
						ExternalIDs: map[string]string{"spanctl-managed": "true", "spanctl-session": "audit"},
					},
				},
			},
		},
	})
}

// TestObserveFollowsOthers reads what others change after the first Observe.
func TestObserveFollowsOthers(t *testing.T) {
	t.Parallel()
	lab := start(t, ovstest.Config{})
	vsctl(t, lab, "--", "add-port", "br0", "p1", "--", "add-port", "br0", "p2", "--", "add-port", "br0", "p3",
		"--", "--id=@p1", "get", "Port", "p1", "--", "--id=@p2", "get", "Port", "p2", "--", "--id=@p3", "get", "Port", "p3",
		"--", "--id=@m", "create", "Mirror", "name=m", "select_src_port=@p1,@p2", "select_dst_port=@p1", "output_port=@p3", "--", "set", "Bridge", "br0", "mirrors=@m")
	conn := dial(t, lab.DB)
	before := observe(t, conn).Bridges[0].Mirrors[0]
	if !slices.Equal(before.SelectSrc, []string{"p1", "p2"}) || !slices.Equal(before.SelectDst, []string{"p1"}) || before.OutputPort != "p3" {
		t.Errorf("before: %+v", before)
	}
	// A guest's restart: the weak references are purged, and the new row is
	// another port of the same name.
	vsctl(t, lab, "--", "del-port", "br0", "p1", "--", "del-port", "br0", "p3", "--", "add-port", "br0", "p4", "tag=3")
	vsctl(t, lab, "--", "add-port", "br0", "p1", "--", "set", "Interface", "p1", "external_ids:vm-id=new")
	after := await(t, conn, "p1 to be back", func(s *plan.Snapshot) bool {
		p := s.Bridges[0].Port("p1")
		return p != nil && len(p.Interfaces) == 1 && p.Interfaces[0].ExternalIDs["vm-id"] == "new"
	})
	bridge := after.Bridges[0]
	m := bridge.Mirrors[0]
	if !slices.Equal(m.SelectSrc, []string{"p2"}) || m.SelectDst != nil || m.OutputPort != "" || m.UUID != before.UUID {
		t.Errorf("after: %+v", m)
	}
	if bridge.Port("p3") != nil || *bridge.Port("p4").Tag != 3 {
		t.Errorf("after: %+v", bridge)
	}
	vsctl(t, lab, "del-br", "br0")
	await(t, conn, "the bridge to be gone", func(s *plan.Snapshot) bool { return len(s.Bridges) == 0 })
}
