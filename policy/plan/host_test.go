package plan_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"spanctl/policy/plan"
)

// fullySeen is a snapshot in which everything is known of the host.
func fullySeen() *plan.Snapshot {
	remote := netip.MustParseAddr("192.0.2.10")
	return &plan.Snapshot{
		Root: "r", Local: true, Daemon: "1", Addresses: []netip.Addr{remote}, BadFiles: map[string]string{"/f": "none"},
		Guests: map[string]string{"u": "web"}, GuestsError: "slow", Deaf: map[string]bool{"vif1.0": true},
		Routes:  map[netip.Addr]plan.Route{remote: {Devices: []string{"eth0"}, MTU: 1500}},
		Devices: map[string]plan.Device{"erspan1": {Kind: "erspan", Remote: remote}},
		Bridges: []plan.Bridge{{Name: "br0", Flows: []plan.Flow{{Match: "in_port=1", Packets: 7, Bytes: 700}}, Meters: []plan.Meter{{ID: 1, Rate: 5, Dropped: 3}}, FlowsError: "x"}},
	}
}

// What can be seen of a host beside OVSDB is compared whole, but for what rules have counted.
func TestSameHost(t *testing.T) {
	t.Parallel()
	seen := fullySeen()
	for name, change := range map[string]func(*plan.Snapshot){
		"Daemon":      func(s *plan.Snapshot) { s.Daemon = "2" },
		"Addresses":   func(s *plan.Snapshot) { s.Addresses = nil },
		"BadFiles":    func(s *plan.Snapshot) { s.BadFiles = nil },
		"Deaf":        func(s *plan.Snapshot) { s.Deaf = nil },
		"Guests":      func(s *plan.Snapshot) { s.Guests = map[string]string{"u": "db"} },
		"GuestsError": func(s *plan.Snapshot) { s.GuestsError = "" },
		"Routes": func(s *plan.Snapshot) {
			s.Routes = map[netip.Addr]plan.Route{s.Addresses[0]: {Devices: []string{"eth1"}, MTU: 1500}}
		},
		"MTU": func(s *plan.Snapshot) {
			s.Routes = map[netip.Addr]plan.Route{s.Addresses[0]: {Devices: []string{"eth0"}, MTU: 9000}}
		},
		"Devices":     func(s *plan.Snapshot) { s.Devices = map[string]plan.Device{"erspan1": {Kind: "erspan"}} },
		"Flows":       func(s *plan.Snapshot) { s.Bridges[0].Flows[0].Actions = "drop" },
		"a rule less": func(s *plan.Snapshot) { s.Bridges[0].Flows = nil },
		"Meters":      func(s *plan.Snapshot) { s.Bridges[0].Meters[0].Rate = 6 },
		"FlowsError":  func(s *plan.Snapshot) { s.Bridges[0].FlowsError = "" },
	} {
		other := fullySeen()
		if change(other); other.SameHost(seen) || seen.SameHost(other) {
			t.Errorf("%s: it is said to be the same host", name)
		}
		if !other.WithoutHost().SameHost(seen.WithoutHost()) {
			t.Errorf("%s is left in what OVSDB says alone", name)
		}
	}
	counted := fullySeen()
	counted.Bridges[0].Flows[0].Packets, counted.Bridges[0].Flows[0].Bytes, counted.Bridges[0].Meters[0].Dropped = 8, 800, 4
	if !counted.SameHost(seen) {
		t.Error("what is counted makes another host")
	}
	if !reflect.DeepEqual(seen, fullySeen()) || seen.WithoutHost().Root != "r" {
		t.Error("the snapshot was changed")
	}
}

// Each field of these is OVSDB's, or compared above.
func TestSameHostKnowsEveryField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of    reflect.Type
		known string
	}{
		{reflect.TypeFor[plan.Snapshot](), "Root OVSVersion Revision MirrorFilter Intent Bridges Local Agent Reports Changing Mark " + // of OVSDB
			"Routes Devices BadFiles Addresses Daemon Guests GuestsError Deaf"},
		{reflect.TypeFor[plan.Bridge](), "UUID Name Ports Mirrors Datapath FailMode FloodVLANs STP OtherConfig ExternalIDs " + // of OVSDB
			"Flows Meters FlowsError"},
		{reflect.TypeFor[plan.Route](), "Devices MTU NextHop Source"},
		{reflect.TypeFor[plan.Device](), "Kind Remote Port"},
	} {
		for _, f := range reflect.VisibleFields(c.of) {
			if !slices.Contains(strings.Fields(c.known), f.Name) {
				t.Errorf("is %s.%s what OVSDB does not tell? Then WithoutHost and SameHost must know it", c.of, f.Name)
			}
		}
	}
}
