package migrate

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// plainState is a bridge that can be migrated without a word.
func plainState() *State {
	port := func(name string) Port {
		settings := map[string]uint64{}
		for key, value := range plainPort {
			settings[key] = value
		}
		return Port{Link: Link{Name: name, Kind: "veth", MTU: 1500, Up: true}, Settings: settings}
	}
	return &State{
		Bridge:   Link{Name: "br0", Index: 7, Kind: "bridge", MAC: "02:00:00:00:00:01", MTU: 1500, Up: true},
		Settings: map[string]uint64{"ageing_time": defaultAgeing, "forward_delay": 1500, "hello_time": 200, "max_age": 2000, "priority": 32768},
		Ports:    []Port{port("vif1.0"), port("vif2.0")},
		Host:     &Host{},
	}
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*State)
		sw      Switch
		name    string
		refused bool
		text    string // of the only finding; none if it is empty
	}{
		"plain":            {},
		"Docker's":         {change: func(s *State) { s.Around.Owner = "Docker" }, refused: true, text: "belongs to Docker"},
		"a port itself":    {change: func(s *State) { s.Around.Master = "vrf-blue" }, refused: true, text: "a port of vrf-blue"},
		"a VLAN on it":     {change: func(s *State) { s.Around.Uppers = []string{"br0.100 (vlan)"} }, refused: true, text: "br0.100 (vlan)"},
		"a firewall":       {change: func(s *State) { s.Around.Netfilter = []string{"nftables: table bridge filter"} }, text: "table bridge filter"},
		"traffic control":  {change: func(s *State) { s.Around.Qdiscs = []string{"htb"} }, text: "htb"},
		"a DHCP client":    {change: func(s *State) { s.Around.PacketUsers = []string{"dhclient (pid 7)"} }, text: "dhclient (pid 7) listens on it"},
		"permanent groups": {change: func(s *State) { s.Around.MulticastDB = 2 }, refused: true, text: "2 permanent entries"},
		"service tags":     {change: func(s *State) { s.Settings["vlan_protocol"] = 0xa888 }, refused: true, text: "802.1ad"},
		"a hub":            {change: func(s *State) { s.Settings["ageing_time"] = 0 }, refused: true, text: "after 0 s"},
		"STP":              {change: func(s *State) { s.Settings["stp_state"] = 1 }, text: "twice the forward delay (30 s)"},
		"snooping, no querier": {
			change: func(s *State) { s.Settings["mcast_snooping"] = 1 },
			text:   "has no effect",
		},
		"snooping, a querier": {change: func(s *State) { s.Settings["mcast_snooping"], s.Querier = 1, true }},
		"it is the querier": {
			change: func(s *State) { s.Settings["mcast_snooping"], s.Settings["mcast_querier"] = 1, 1 }, refused: true, text: "mcast_querier",
		},
		"reserved addresses":   {change: func(s *State) { s.Settings["group_fwd_mask"] = 0x4000 }, text: "group_fwd_mask 0x4000"},
		"hairpin":              {change: func(s *State) { s.Ports[1].Settings["hairpin"] = 1 }, refused: true, text: "port vif2.0 has hairpin 1"},
		"no learning":          {change: func(s *State) { s.Ports[0].Settings["learning"] = 0 }, refused: true, text: "set it to 1"},
		"isolated":             {change: func(s *State) { s.Ports[0].Settings["isolated"] = 1 }},
		"Open vSwitch's":       {change: func(s *State) { s.Ports[0].Kind = "openvswitch" }, refused: true, text: "a device of Open vSwitch already"},
		"no VLAN":              {change: func(s *State) { filter(s); s.Ports[0].VLANs = nil }, refused: true, text: "port vif1.0: it is in no VLAN"},
		"no VLAN for the host": {change: func(s *State) { filter(s); s.VLANs = nil }, refused: true, text: "the host's VLANs cannot be carried"},
		"VLANs":                {change: filter},
		"a long name":          {name: "a-name-of-16-char", refused: true, text: "1 to 15 characters"},
		"a name with a slash":  {name: "br/0", refused: true, text: "no name of a device"},
		"the bridge is there":  {sw: Switch{Bridges: []string{"br0"}}, refused: true, text: "has a bridge br0 already"},
		"another name":         {sw: Switch{Bridges: []string{"br0"}}, name: "xenbr0"},
		"a port is there":      {sw: Switch{Ports: []string{"vif2.0"}}, refused: true, text: "has a port vif2.0 already"},
		"another namespace":    {sw: Switch{Elsewhere: "elsewhere"}, refused: true, text: "elsewhere"},
		"no kernel datapath":   {sw: Switch{Datapath: "system"}, refused: true, text: "load the module openvswitch"},
	} {
		t.Run(name, func(t *testing.T) {
			s := plainState()
			if c.change != nil {
				c.change(s)
			}
			if c.sw.Datapath == "" {
				c.sw.KernelDatapath = true
			}
			list := Check(s, NewLayout(s, c.name, c.sw.Datapath), &c.sw)
			if c.text == "" {
				if len(list) > 0 {
					t.Errorf("got %+v", list)
				}
				return
			}
			if len(list) != 1 || list[0].Refused != c.refused || !strings.Contains(list[0].Text, c.text) {
				t.Errorf("got %+v, want one with %q, refused: %t", list, c.text, c.refused)
			}
		})
	}
}

// filter makes a bridge heed VLANs, as one does that was just told to.
func filter(s *State) {
	first := []VLAN{{ID: 1, PVID: true, Untagged: true}}
	s.Settings["vlan_filtering"], s.VLANs = 1, first
	for i := range s.Ports {
		s.Ports[i].VLANs = first
	}
}

// TestLibvirt reads what libvirt writes of a network that makes its bridge, of one that uses a bridge, and of a domain.
func TestLibvirt(t *testing.T) {
	state := t.TempDir()
	for name, text := range map[string]string{
		"network/default.xml": `<networkstatus><class_id bitmap='0-2'/><network><name>default</name><forward mode='nat'/><bridge name='virbr9' stp='on'/></network></networkstatus>`,
		"network/lan.xml":     `<networkstatus><network><name>lan</name><forward mode='bridge'/><bridge name='br0'/></network></networkstatus>`,
		"network/broken.xml":  `<networkstatus>`,
		"qemu/web.xml": `<domstatus state='running'><domain type='kvm' id='1'><name>web</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid><devices>` +
			`<interface type='bridge'><source bridge='br0'/><target dev='vnet0'/></interface>` +
			`<interface type='bridge'><mac address='52:54:00:00:00:07'/><source bridge='br0'/><target dev='vnet1'/><filterref filter='clean-traffic'/></interface></devices></domain></domstatus>`,
	} {
		file := filepath.Join(state, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	network, users, guests := askLibvirt(state, "br0")
	ids := map[string]string{"vm-id": "6695eb01-f6a4-8304-79aa-97f2502e193f", "attached-mac": "52:54:00:00:00:07", "iface-status": "active"}
	want := libvirtGuest{"web", "clean-traffic", ids}
	if network != "" || !reflect.DeepEqual(users, []string{"network lan", "domain web"}) || !reflect.DeepEqual(guests["vnet1"], want) {
		t.Errorf("br0: %q %q %v", network, users, guests)
	}
	if network, users, _ = askLibvirt(state, "virbr9"); network != "default" || len(users) > 0 {
		t.Errorf("virbr9: %q %q", network, users)
	}
}

func TestRefusalsComeFirst(t *testing.T) {
	s := plainState()
	s.Settings["stp_state"] = 1
	s.Ports[0].Settings["hairpin"] = 1
	list := Check(s, NewLayout(s, "", ""), nil)
	if len(list) != 2 || !list[0].Refused || list[1].Refused || !reflect.DeepEqual(Refusals(list), []string{list[0].Text}) {
		t.Errorf("got %+v", list)
	}
}

func TestPortVLANs(t *testing.T) {
	untagged := VLAN{ID: 10, PVID: true, Untagged: true}
	for name, c := range map[string]struct {
		vlans  []VLAN
		tag    int
		mode   string
		trunks []int
		err    error
	}{
		"access":                  {vlans: []VLAN{untagged}, tag: 10, mode: "access"},
		"native, untagged":        {vlans: []VLAN{{ID: 30}, untagged, {ID: 20}}, tag: 10, mode: "native-untagged", trunks: []int{10, 20, 30}},
		"native, tagged":          {vlans: []VLAN{{ID: 10, PVID: true}, {ID: 20}}, tag: 10, mode: "native-tagged", trunks: []int{10, 20}},
		"trunk":                   {vlans: []VLAN{{ID: 20}, {ID: 10}}, mode: "trunk", trunks: []int{10, 20}},
		"nothing":                 {err: errNoVLAN},
		"two untagged":            {vlans: []VLAN{untagged, {ID: 20, Untagged: true}}, err: errUntagged},
		"untagged, not the PVID":  {vlans: []VLAN{{ID: 10, PVID: true}, {ID: 20, Untagged: true}}, err: errUntagged},
		"untagged without a PVID": {vlans: []VLAN{{ID: 20, Untagged: true}}, err: errUntagged},
	} {
		tag, mode, trunks, err := portVLANs(c.vlans)
		if tag != c.tag || mode != c.mode || !reflect.DeepEqual(trunks, c.trunks) || err != c.err {
			t.Errorf("%s: %d %s %v %v", name, tag, mode, trunks, err)
		}
	}
}

func TestLayout(t *testing.T) {
	s := plainState()
	filter(s)
	s.Settings["stp_state"], s.Settings["ageing_time"], s.Settings["forward_delay"] = 1, 6000, 400
	s.Ports[0].Settings["cost"], s.Ports[0].Settings["priority"] = 7, 32
	s.Ports[1].Settings["isolated"] = 1
	s.Ports[1].VLANs = []VLAN{{ID: 5, PVID: true, Untagged: true}, {ID: 6}, {ID: 7}, {ID: 9}}
	l := NewLayout(s, "", "netdev")
	got, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"bridge":"br0","new":"br0","parked":"linux-0f1575ab",` +
		`"row":{"name":"br0","datapath_type":"netdev","stp_enable":true,"mcast_snooping_enable":false,` +
		`"other_config":{"hwaddr":"02:00:00:00:00:01","mac-aging-time":"60","stp-forward-delay":"4","stp-hello-time":"2","stp-max-age":"20","stp-priority":"32768"},` +
		`"external_ids":{"spanctl-replaces":"br0"},` +
		`"ports":[{"name":"br0","type":"internal","tag":1,"vlan_mode":"access","protected":false,"mtu_request":1500}]},` +
		`"ports":[{"name":"vif1.0","type":"","tag":1,"vlan_mode":"access","protected":false,"other_config":{"stp-path-cost":"7","stp-port-priority":"128"}},` +
		`{"name":"vif2.0","type":"","tag":5,"trunks":[5,6,7,9],"vlan_mode":"native-untagged","protected":true,"other_config":{"stp-path-cost":"0","stp-port-priority":"0"}}]}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	text := ""
	for _, step := range Steps(l) {
		text += step.Name + ": " + step.Text + "\n"
	}
	const steps = `park: rename the Linux bridge br0 to linux-0f1575ab; it goes on forwarding
create: make bridge br0 in Open vSwitch, without ports: MTU 1500, STP, datapath netdev, hwaddr 02:00:00:00:00:01, mac-aging-time 60, stp-forward-delay 4, stp-hello-time 2, stp-max-age 20, stp-priority 32768, the host in VLAN 1
ready: set device br0 up, with the host's sysctls
ports: let 2 ports change over, in one transaction: vif1.0 in VLAN 1, vif2.0 with VLANs 5-7,9, VLAN 5 native-untagged, protected
host: let the host's addresses, routes, neighbours and rules change over to device br0
verify: wait for ovs-vswitchd, and compare what is there with what was
`
	if text != steps {
		t.Errorf("got\n%s\nwant\n%s", text, steps)
	}
	if other := NewLayout(s, "xenbr0", ""); other.New != "xenbr0" || other.Parked != "br0" || Steps(other)[0].Name != "create" {
		t.Errorf("under another name: %+v", other)
	}
}
