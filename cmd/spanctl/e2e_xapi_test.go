package main

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// XAPI's networks, as its networkd makes them (xen-api, ocaml/networkd/lib/network_utils.ml, create_bridge): xenbr0 is a
// bridge, xapi0 is VLAN 100 of it, as a fake bridge.
const (
	xapiNetwork     = "5a8b5d39-2a52-4d0e-9a0c-0e6b0b7d5a01" // of xenbr0
	xapiVLANNetwork = "c1f3a9f4-7c0b-4a53-8f0d-2f6d1b7e9b02" // of xapi0
)

// A xapiVIF is one of XAPI's VIFs; what is written of it stays when its guest migrates, but for the domain's number in the
// name of its device.
type xapiVIF struct{ bridge, network, vm, uuid, mac string }

// A xapiSite is a host of a pool of XAPI's with VIFs by the guests' names.
type xapiSite struct {
	*site
	vifs map[string]xapiVIF
}

// newXAPIHost is a host without guests. Its management, by which tunnels leave, is on xenbr0 too, as XAPI has it.
func newXAPIHost(t *testing.T, name string) *xapiSite {
	t.Helper()
	s := &xapiSite{newSiteOf(t, ovstest.Config{Name: name}), map[string]xapiVIF{}}
	s.check(s.lab.AddBridge(s.ctx, "xenbr0"))
	s.vsctl("--", "--may-exist", "add-br", "xapi0", "xenbr0", "100",
		"--", "br-set-external-id", "xenbr0", "xs-network-uuids", xapiNetwork+";"+xapiVLANNetwork,
		"--", "br-set-external-id", "xenbr0", "bridge-id", xapiNetwork, // ovs-xapi-sync
		"--", "set", "Bridge", "xenbr0", "fail_mode=standalone", "other_config:mac-table-size=10000")
	return s
}

// xapiVIFOf is the VIF of the pool's nth guest, on the network of xenbr0.
func xapiVIFOf(n int) xapiVIF {
	return xapiVIF{
		bridge: "xenbr0", network: xapiNetwork,
		vm:   fmt.Sprintf("7d0c5e2e-0000-4000-8000-%012d", n),
		uuid: fmt.Sprintf("e2a7b1c4-0000-4000-8000-%012d", n),
		mac:  fmt.Sprintf("ae:1c:5d:00:00:%02x", n),
	}
}

// newXAPISite is a host with guests web, db and mail on the network of xenbr0, and blue and green on the VLAN's.
func newXAPISite(t *testing.T) *xapiSite {
	t.Helper()
	s := newXAPIHost(t, "")
	for i, guest := range []string{"web", "db", "mail", "blue", "green"} {
		vif := xapiVIFOf(i + 1)
		if i > 2 {
			vif.bridge, vif.network = "xapi0", xapiVLANNetwork
		}
		s.plug(guest, fmt.Sprintf("vif%d.0", i+1), vif)
	}
	s.xapiSync()
	return s
}

// plug plugs a device of a VIF, as xenopsd's setup-vif-rules does (xen-api, ocaml/xenopsd/scripts: add_vswitch_port, with
// the keys of get_external_ids in common.py): by add-port to the network's bridge, which may be a fake one.
func (s *xapiSite) plug(guest, device string, vif xapiVIF) *ovstest.Guest {
	s.Helper()
	mac, err := net.ParseMAC(vif.mac)
	s.check(err)
	s.vifs[guest] = vif
	return s.add(ovstest.GuestConfig{
		Name: guest, Bridge: vif.bridge, Port: device, MAC: mac,
		ExternalIDs: map[string]string{"xs-vm-uuid": vif.vm, "xs-vif-uuid": vif.uuid, "xs-network-uuid": vif.network, "attached-mac": vif.mac},
	})
}

// xapiSync is what the daemon of that name writes into all Interface rows when they have changed, in one transaction (ovs,
// xenserver/usr_share_openvswitch_scripts_ovs-xapi-sync): a vif is inactive beside its tap.
func (s *xapiSite) xapiSync() {
	s.Helper()
	devices := map[string]xapiVIF{}
	for name, vif := range s.vifs {
		device := s.guests[name].Port()
		if out := s.vsctl("--bare", "--columns=name", "find", "Interface", "name="+device); out != "" {
			devices[device] = vif
		}
	}
	var args []string
	for device, vif := range devices {
		status := "active"
		if number, isVIF := strings.CutPrefix(device, "vif"); isVIF {
			if _, both := devices["tap"+number]; both {
				status = "inactive"
			}
		}
		args = append(args, "--", "set", "Interface", device, "external_ids:iface-id="+vif.uuid, "external_ids:vm-id="+vif.vm, "external_ids:iface-status="+status)
	}
	s.vsctl(args...)
}

// migrate takes a guest away, as when it leaves for another host, and has it come back as another domain.
func (s *xapiSite) migrate(guest, device string, meanwhile func()) {
	s.Helper()
	g := s.guests[guest]
	s.check(g.Stop(s.ctx))
	s.xapiSync()
	meanwhile()
	s.check(g.Rename(device))
	s.check(g.Start(s.ctx))
	s.xapiSync()
}

// awaitWaiting returns when a session waits for a source: nothing that is present is not copied, and status exits 0.
func (s *xapiSite) awaitWaiting(session string) {
	s.Helper()
	s.await(session+" to wait", func() bool {
		code, out, _ := s.spanctl("status", session)
		return code == exitOK && strings.Contains(out, "session "+session+": waiting")
	})
}

// xapiCopies are what collectors shall have: by the collector and its tunnel, whose frames ("from web", "to db").
type xapiCopies map[[2]string][]string

// wantMirrored exchanges frames between pairs of guests, and wants the collectors to have exactly those copies.
func (s *xapiSite) wantMirrored(want xapiCopies, pairs ...[2]string) {
	s.Helper()
	s.settle()
	captures := map[string]*ovstest.Capture{}
	for _, name := range []string{"sensor", "other"} {
		s.announce(s.guests[name]) // or the bridge floods the tunnels' packets
	}
	for _, pair := range pairs { // likewise: the switch forgets all places when its mirrors change (OVS 3.1)
		s.exchange(s.guests[pair[0]], s.guests[pair[1]], 1)
	}
	for _, name := range []string{"sensor", "other"} {
		captures[name] = s.capture(s.guests[name])
	}
	sent := map[string][][]byte{}
	for _, pair := range pairs {
		a, b := s.guests[pair[0]], s.guests[pair[1]]
		all := s.exchange(a, b, 5)
		for _, way := range [][2]*ovstest.Guest{{a, b}, {b, a}} {
			from, to := "from "+way[0].Name(), "to "+way[1].Name()
			for _, frame := range frames(all, way[0]) {
				if s.vifs[pair[0]].bridge == "xapi0" {
					frame = ovstest.Tagged(frame, 100) // copies are tagged as packets are on the bridge
				}
				sent[from], sent[to] = append(sent[from], frame), append(sent[to], frame)
			}
		}
	}
	for name, c := range captures {
		s.check(c.FenceFrame(s.ctx, s.guests["mail"], func(payload []byte) []byte {
			return ovstest.Raw(s.guests["mail"], s.guests[name].HardwareAddr(), 0x88b5, payload) // no tunnel's packet
		}))
		got := arrivals(c)
		for place, whose := range want {
			if place[0] != name {
				continue
			}
			var expected, inner [][]byte
			for _, end := range whose {
				expected = append(expected, sent[end]...)
			}
			for _, a := range got[place[1]] {
				inner = append(inner, a.inner)
			}
			s.wantFrames(name+", "+place[1]+": ", inner, expected)
			delete(got, place[1])
		}
		for tunnel, list := range got {
			s.Errorf("%s: %d packets of another tunnel: %s", name, len(list), tunnel)
		}
	}
}

// XAPI's design of port mirroring (xen-api, doc/content/design/port-mirroring.md) as a checklist: VIFs of a network, from or
// to them; ERSPAN types II and III; a VIF that migrates while it is mirrored; a remote address, an id and a set of VIFs
// that change.
func TestE2EXAPIPortMirroring(t *testing.T) {
	t.Parallel()
	s := newXAPISite(t)
	for _, name := range []string{"sensor", "other"} {
		s.addCollector(ovstest.CollectorConfig{Name: name, Bridge: "xenbr0", MTU: 1600})
	}
	s.vsctl("set", "Interface", "xenbr0", "mtu_request=1600")
	all := [][2]string{{"web", "db"}, {"mail", "db"}, {"blue", "green"}}
	bare, _ := s.ours()
	p := s.agent()

	// mirrors are two Mirror objects of XAPI's, each of some VIFs of a network in one direction.
	names := strings.NewReplacer("SENSOR", s.guests["sensor"].Addr().String(), "OTHER", s.guests["other"].Addr().String(),
		"NETWORK", xapiNetwork, "VLAN", xapiVLANNetwork, "WEB", s.vifs["web"].uuid, "DB", s.vifs["db"].uuid, "BLUE", s.vifs["blue"].uuid)
	mirrors := func(from, fromTo, to, toTo string) {
		s.Helper()
		s.apply(names.Replace(fmt.Sprintf(`
  m0: {sources: [%s], destinations: [{erspan: {%s}}]}
  m1: {sources: [%s], destinations: [{erspan: {%s, type: III}}]}
`, from, fromTo, to, toTo)))
		s.awaitActive("m0")
		s.awaitActive("m1")
	}
	const (
		network  = "{external_ids: {xs-network-uuid: NETWORK}, direction: from}"
		toDB     = "{external_ids: {xs-network-uuid: NETWORK, xs-vif-uuid: DB}, direction: to}"
		typeII   = "remote: SENSOR, session: 100, index: 7"
		typeIII  = "remote: SENSOR, session: 101, hwid: 9, direction: 1"
		asII     = "erspan II session 100 index 7"
		asIII    = "erspan III session 101 hwid 9 direction 1"
		atSensor = "sensor"
	)
	fromAll := []string{"from web", "from db", "from mail"}
	mirrors(network, typeII, toDB, typeIII)
	asBefore := xapiCopies{{atSensor, asII}: fromAll, {atSensor, asIII}: {"to db"}}
	s.wantMirrored(asBefore, all...)

	s.migrate("db", "vif12.0", func() {
		s.awaitWaiting("m1")
		s.wantMirrored(xapiCopies{{atSensor, asII}: {"from web", "from mail"}}, [2]string{"web", "mail"}, all[2])
	})
	s.awaitActive("m1")
	s.wantMirrored(asBefore, all...)

	for _, change := range []struct {
		name, from, fromTo, to, toTo string
		want                         xapiCopies
	}{
		{"remote address", network, "remote: OTHER, session: 100, index: 7", toDB, typeIII, xapiCopies{{"other", asII}: fromAll, {atSensor, asIII}: {"to db"}}},
		{"ids", network, "remote: OTHER, session: 100, index: 8", toDB, "remote: SENSOR, session: 101, hwid: 10, direction: 1", xapiCopies{
			{"other", "erspan II session 100 index 8"}: fromAll, {atSensor, "erspan III session 101 hwid 10 direction 1"}: {"to db"},
		}},
		{"VIFs", "{external_ids: {xs-vif-uuid: WEB}, direction: from}", typeII, "{external_ids: {xs-network-uuid: NETWORK}, direction: to}", typeIII, xapiCopies{
			{atSensor, asII}: {"from web"}, {atSensor, asIII}: {"to web", "to db", "to mail"},
		}},
		{"one more, one less", "{external_ids: {xs-vif-uuid: WEB}, direction: from}, {external_ids: {xs-vif-uuid: DB}, direction: from}", typeII, toDB, typeIII, xapiCopies{
			{atSensor, asII}: {"from web", "from db"}, {atSensor, asIII}: {"to db"},
		}},
		{"network of a VLAN", "{external_ids: {xs-network-uuid: VLAN}, direction: from}", typeII, "{external_ids: {xs-network-uuid: VLAN, xs-vif-uuid: BLUE}, direction: to}", typeIII, xapiCopies{
			{atSensor, asII}: {"from blue", "from green"}, {atSensor, asIII}: {"to blue"},
		}},
	} {
		s.sub(change.name, func(part *site) {
			s := &xapiSite{part, s.vifs}
			mirrors(change.from, change.fromTo, change.to, change.toTo)
			s.wantMirrored(change.want, all...)
		})
	}
	s.want(exitOK, "delete", "--all")
	s.terminate(p)
	s.wantMirrored(nil, all...)
	s.migrate("db", "vif2.0", func() {})
	s.wantBare(bare)
}

// greetFrom makes the switch know by which device a guest sends now, untagged and in VLAN 10: what is for it goes there.
func (s *xapiSite) greetFrom(g *ovstest.Guest) {
	s.Helper()
	port, err := s.lab.OFPort(s.ctx, g.Port())
	s.check(err)
	hello := udp(g, ovstest.Broadcast)
	s.send(g, hello, ovstest.Tagged(hello, 10))
	s.await("the switch to know "+g.Port(), func() bool {
		out, err := s.lab.AppCtl(s.ctx, "fdb/show", "xenbr0")
		s.check(err)
		known := 0
		for line := range strings.Lines(out) { // port, VLAN, MAC, age
			if fields := strings.Fields(line); len(fields) == 4 && fields[0] == fmt.Sprint(port) && fields[2] == g.HardwareAddr().String() {
				known++
			}
		}
		return known == 2
	})
	s.settle()
}

// A guest that boots as on hardware has a tap beside its vif until its drivers unplug that. Copies to it are where it looks
// for them, before ovs-xapi-sync has marked the devices and after; what it sends by either is copied once.
func TestE2EXAPIGuestsBootWithTwoDevices(t *testing.T) {
	t.Parallel()
	s := newXAPISite(t)
	web, db, vif := s.guests["web"], s.guests["db"], s.guests["mail"]
	p := s.agent()
	s.apply(fmt.Sprintf("  audit: {sources: [{vm: %s}], destinations: [{vm: %s}]}\n", s.vifs["web"].vm, s.vifs["mail"].vm))
	// wantAt wants copies at one device of the audit guest, and none at the other.
	wantAt := func(device, other, source *ovstest.Guest) {
		s.Helper()
		s.awaitActive("audit")
		s.await("copies by "+device.Port(), func() bool {
			return strings.Contains(s.want(exitOK, "status"), " to "+device.Port()+" of bridge xenbr0")
		})
		s.greetFrom(source)
		s.exchange(source, db, 1)
		s.exchange(source, db, 1, 10)
		var none *ovstest.Capture
		if other != nil {
			none = s.capture(other)
		}
		s.wantCopied(source, db, device, 5)
		if other != nil {
			s.wantExactly(none)
		}
	}
	plugTap := func(guest string) *ovstest.Guest {
		s.Helper()
		g := s.guests[guest]
		return s.plug(guest+"-tap", "tap"+strings.TrimPrefix(g.Port(), "vif"), s.vifs[guest])
	}
	tap := plugTap("mail")
	wantAt(tap, vif, web)
	s.xapiSync()
	wantAt(tap, vif, web)
	sourceTap := plugTap("web")
	s.xapiSync()
	wantAt(tap, vif, sourceTap)
	s.check(tap.Stop(s.ctx))
	s.xapiSync()
	wantAt(vif, nil, sourceTap)
	s.check(sourceTap.Stop(s.ctx))
	s.xapiSync()
	wantAt(vif, nil, web)
	s.terminate(p)
}
