package ovstest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A hub comes in one transaction and goes in one, with its patches and the mirrors into them. Coming never flushes the MAC
// table of production; going does just where another mirror that stays selects the patch, as select_all selects
// every port. (OVS 3.1, mbridge_unregister_bundle: the mirror whose output the port is goes without, others that have
// it as a source flush. Ports go before mirrors.) From hub to direct nothing is flushed and no copy is missed.
func TestHubFlushesMACsOnlyWhereAnotherMirrorSelectsItsPatch(t *testing.T) {
	b := newBench(t)
	ports := b.a.Port() + "," + b.b.Port()
	selections := map[string][]string{
		"everything": {"select_all=true"},
		"ports":      {"select_src_port=" + ports, "select_dst_port=" + ports},
	}
	for _, c := range []struct {
		ours, others string // selections; "" is no such mirror
		flushed      bool
	}{
		{"everything", "", false},
		{"everything", "ports", false},
		{"everything", "everything", true},
		{"ports", "", false},
		{"ports", "ports", false},
		{"ports", "everything", true},
	} {
		if c.others != "" {
			vsctl(b.ctx, t, b.lab, mirrorRows("br0", "others", b.bystander.Port(), selections[c.others]...)...)
		}
		for range 2 {
			b.learn(t)
			vsctl(b.ctx, t, b.lab, hubRows("hub", "br0")...)
			vsctl(b.ctx, t, b.lab, slices.Concat(sourceRows("br0", selections[c.ours]...),
				tapRows("hub"), destinationRows("hub", "tap"))...)
			b.wantLearnt(t, fmt.Sprintf("%+v, hub comes", c), true)
			vsctl(b.ctx, t, b.lab, "--", "--id=@m", "get", "Mirror", "from-br0", "--", "remove", "Bridge", "br0", "mirrors", "@m",
				"--", "del-port", "out-br0", "--", "del-br", "hub")
			b.wantLearnt(t, fmt.Sprintf("%+v, hub goes", c), !c.flushed)
		}
		vsctl(b.ctx, t, b.lab, "clear", "Bridge", "br0", "mirrors")
	}

	for range 2 {
		b.learn(t)
		vsctl(b.ctx, t, b.lab, hubRows("hub", "br0")...)
		vsctl(b.ctx, t, b.lab, slices.Concat(sourceRows("br0"), tapRows("hub"), destinationRows("hub", "tap"))...)
		vsctl(b.ctx, t, b.lab, "--", "--id=@audit", "get", "Port", b.audit.Port(),
			"--", "set", "Mirror", "from-br0", "output_port=@audit", "--", "del-port", "out-br0", "--", "del-br", "hub")
		b.wantLearnt(t, "hub to direct", true)
		copies := capture(b.ctx, t, b.audit)
		payload := ovstest.Payload("direct")
		check(t, b.a.Send(ovstest.UDP(stranger(), b.b, 1, 2, payload)))
		check(t, copies.WaitPayload(b.ctx, payload, 1))
		vsctl(b.ctx, t, b.lab, "clear", "Bridge", "br0", "mirrors")
	}
}

// tapRows makes a port that a hub's copies can go to.
func tapRows(hub string) []string {
	return []string{"--", "add-port", hub, "tap", "--", "set", "Interface", "tap", "type=internal"}
}

// learn makes br0 know where a and b are.
func (b bench) learn(t *testing.T) {
	t.Helper()
	for !b.learnt(t) {
		_, err := ovstest.Exchange(b.ctx, b.a, b.b, 1)
		check(t, err)
	}
}

func (b bench) learnt(t *testing.T) bool {
	t.Helper()
	table := b.appctl(t, "fdb/show", "br0")
	return strings.Contains(table, b.a.HardwareAddr().String()) && strings.Contains(table, b.b.HardwareAddr().String())
}

// wantLearnt says whether br0 still knows them. A flush comes with ovs-vswitchd's next turn, after it has reported the
// change: each question is a turn of its own.
func (b bench) wantLearnt(t *testing.T, what string, want bool) {
	t.Helper()
	for range 3 {
		b.learnt(t)
	}
	if got := b.learnt(t); got != want {
		t.Errorf("%s: addresses known is %v, want %v", what, got, want)
	}
}

// A Port row moves to a hub that the same transaction makes, and back with the hub's end. The new row is named by its
// named-uuid, or by name, also where a mutation looks for its row (RFC 7047, section 5.1). The
// Port, its number and what refers to it stay; copies and the guest's own traffic flow at once.
func TestPortMovesToNewHubAndBackInOneTransaction(t *testing.T) {
	b := newBench(t)
	row := func(table, name string) string {
		return strings.TrimSpace(vsctl(b.ctx, t, b.lab, "get", table, name, "_uuid"))
	}
	uuid := func(table, name string) string { return fmt.Sprintf(`["uuid",%q]`, row(table, name)) }
	port := uuid("Port", b.audit.Port())
	number, err := b.lab.OFPort(b.ctx, b.audit.Port())
	check(t, err)
	mutate := func(table, where, mutations string) string {
		return `{"op":"mutate","table":"` + table + `","where":` + where + `,"mutations":[` + mutations + `]}`
	}
	br0 := `[["name","==","br0"]]`
	wantSame := func(bridge string) {
		t.Helper()
		n, err := b.lab.OFPort(b.ctx, b.audit.Port())
		check(t, err)
		on := strings.TrimSpace(vsctl(b.ctx, t, b.lab, "port-to-br", b.audit.Port()))
		if n != number || on != bridge || uuid("Port", b.audit.Port()) != port {
			t.Errorf("port is number %d on %s, want the same row, number %d on %s", n, on, number, bridge)
		}
	}
	for _, where := range []string{`[["_uuid","==",["named-uuid","hub"]]]`, `[["name","==","hub"]]`} {
		for _, back := range []string{"port named on both bridges", "port named on its new bridge", "hub's row deleted too"} {
			check(t, b.lab.Transact(b.ctx,
				`{"op":"insert","table":"Interface","uuid-name":"i1","row":{"name":"hub","type":"internal"}}`,
				`{"op":"insert","table":"Port","uuid-name":"p1","row":{"name":"hub","interfaces":["named-uuid","i1"]}}`,
				`{"op":"insert","table":"Interface","uuid-name":"i2","row":{"name":"out-br0","type":"patch","options":["map",[["peer","in-br0"]]]}}`,
				`{"op":"insert","table":"Port","uuid-name":"p2","row":{"name":"out-br0","vlan_mode":"trunk","trunks":4095,"interfaces":["named-uuid","i2"]}}`,
				`{"op":"insert","table":"Interface","uuid-name":"i3","row":{"name":"in-br0","type":"patch","options":["map",[["peer","out-br0"]]]}}`,
				`{"op":"insert","table":"Port","uuid-name":"p3","row":{"name":"in-br0","protected":true,"interfaces":["named-uuid","i3"]}}`,
				`{"op":"insert","table":"Mirror","uuid-name":"m1","row":{"name":"to","select_dst_port":["named-uuid","p1"],"output_port":`+port+`}}`,
				`{"op":"insert","table":"Mirror","uuid-name":"m2","row":{"name":"from","select_all":true,"output_port":["named-uuid","p2"]}}`,
				`{"op":"insert","table":"Bridge","uuid-name":"hub","row":{"name":"hub","datapath_type":"netdev","fail_mode":"standalone",
					"mirrors":["named-uuid","m1"],"ports":["set",[["named-uuid","p1"],["named-uuid","p3"]]]}}`,
				mutate("Open_vSwitch", `[]`, `["bridges","insert",["named-uuid","hub"]]`),
				mutate("Bridge", br0, `["ports","delete",`+port+`],["ports","insert",["named-uuid","p2"]],["mirrors","insert",["named-uuid","m2"]]`),
				mutate("Bridge", where, `["ports","insert",`+port+`]`)))
			wantSame("hub")
			copies := capture(b.ctx, t, b.audit)
			payload := ovstest.Payload("moved")
			check(t, b.a.Send(ovstest.UDP(stranger(), b.b, 1, 2, payload)))
			check(t, copies.WaitPayload(b.ctx, payload, 1))

			ops := []string{
				mutate("Open_vSwitch", `[]`, `["bridges","delete",`+uuid("Bridge", "hub")+`]`),
				mutate("Bridge", br0, `["mirrors","delete",`+uuid("Mirror", "from")+`],["ports","delete",`+uuid("Port", "out-br0")+`],["ports","insert",`+port+`]`),
			}
			switch back {
			case "port named on both bridges":
				ops = append(ops, mutate("Bridge", `[["name","==","hub"]]`, `["ports","delete",`+port+`]`))
			case "hub's row deleted too":
				ops = append(ops, `{"op":"delete","table":"Bridge","where":[["name","==","hub"]]}`)
			}
			check(t, b.lab.Transact(b.ctx, ops...))
			wantSame("br0")
			_, err := ovstest.Exchange(b.ctx, b.a, b.audit, 2)
			check(t, err)
		}
	}
}

func TestTransactSaysWhatWasRefused(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{DatabaseOnly: true})
	err := lab.Transact(ctx, `{"op":"insert","table":"Bridge","row":{"name":"br0"}}`, `{"op":"insert","table":"Nowhere","row":{}}`)
	if err == nil || !strings.Contains(err.Error(), "operation 1 of a transaction: ") || !strings.Contains(err.Error(), "Nowhere") {
		t.Errorf("error is %v", err)
	}
}
