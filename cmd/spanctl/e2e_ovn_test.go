package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// An ovnSite is a host of OVN's: br-int is OVN's own, and guests are bound to logical ports of the same names.
type ovnSite struct {
	*site
	ovn *ovstest.OVN
}

// newOVNSite is a host with guests a, b and audit on one logical switch, and two collectors.
func newOVNSite(t *testing.T) *ovnSite {
	t.Helper()
	s := &ovnSite{site: newSite(t)}
	s.collector("sensor")
	s.collector("ovns")
	var err error
	s.ovn, err = s.lab.StartOVN(s.ctx)
	s.check(err)
	s.nbctl("ls-add", "sw0")
	for _, name := range []string{"a", "b", "audit"} {
		g := s.add(ovstest.GuestConfig{Name: name, Bridge: "br-int", ExternalIDs: map[string]string{"iface-id": "lsp-" + name}})
		s.nbctl("lsp-add", "sw0", "lsp-"+name, "--", "lsp-set-addresses", "lsp-"+name, g.HardwareAddr().String()+" "+g.Addr().String())
	}
	s.check(s.ovn.Sync(s.ctx))
	return s
}

func (s *ovnSite) nbctl(args ...string) {
	s.Helper()
	_, err := s.ovn.NBCtl(s.ctx, args...)
	s.check(err)
}

// wantCopies exchanges frames between a and b, and wants each to have its own, the audit guest and the sensor all of them
// by our sessions, and the other collector what a sent, by OVN's mirror.
func (s *ovnSite) wantCopies(what string) {
	s.Helper()
	s.settle()
	a, b := s.guests["a"], s.guests["b"]
	captures := map[string]*ovstest.Capture{}
	for _, name := range []string{"sensor", "ovns"} {
		s.announce(s.guests[name])
	}
	for _, name := range []string{"a", "b", "audit", "sensor", "ovns"} {
		captures[name] = s.capture(s.guests[name])
	}
	sent := s.exchange(a, b, 5)
	for _, name := range []string{"audit", "sensor", "ovns"} {
		s.check(captures[name].Fence(s.ctx, a, b)) // a marker is copied to each of them
	}
	s.wantFrames(what+", a: ", data(captures["a"]), frames(sent, b))
	s.wantFrames(what+", b: ", data(captures["b"]), frames(sent, a))
	s.wantFrames(what+", audit: ", data(captures["audit"]), frames(sent, a, b))
	for name, want := range map[string]struct {
		tunnel string
		frames [][]byte
	}{"sensor": {"erspan II session 100 index 0", frames(sent, a, b)}, "ovns": {"gre key 7", frames(sent, a)}} {
		s.sub(what+", "+name, func(s *site) { s.wantTunnels(captures[name], []string{want.tunnel}, want.frames...) })
	}
}

func data(c *ovstest.Capture) (list [][]byte) {
	for _, f := range c.Frames() {
		list = append(list, f.Data)
	}
	return list
}

// ofOVN are OVN's mirror and the port that it goes to, as ovn-controller has made them: which rows, and what is in them.
func (s *ovnSite) ofOVN() (rows, values []string) {
	s.Helper()
	db := s.database()
	for _, table := range []string{"Mirror", "Port", "Interface"} {
		for uuid, row := range db[table] {
			if name := string(row["name"]); name != `"theirs"` && name != `"ovn-theirs"` {
				continue
			}
			rows = append(rows, table+" "+uuid)
			for column, value := range row {
				refers := []string{"_uuid", "interfaces", "output_port", "select_src_port", "ofport", "ifindex", "mac"} // to rows and numbers of the moment
				if !slices.Contains(ofItself, column) && !slices.Contains(refers, column) {
					values = append(values, fmt.Sprintf("%s %s %s", table, column, value))
				}
			}
		}
	}
	slices.Sort(rows)
	slices.Sort(values)
	return rows, values
}

// awaitTheirs returns when OVN's mirror selects a port.
func (s *ovnSite) awaitTheirs() {
	s.Helper()
	s.await("OVN's mirror", func() bool {
		out := s.vsctl("--bare", "--columns=select_src_port,output_port", "find", "Mirror", "name=theirs")
		return len(strings.Fields(out)) == 2
	})
}

// rebind takes a guest's interface away and adds it again under another name, with the same iface-id; it returns when OVN
// has bound the logical port to it.
func (s *ovnSite) rebind(name, port string) {
	s.Helper()
	g, lsp := s.guests[name], "lsp-"+name
	s.check(g.Stop(s.ctx))
	s.nbctl("wait-until", "Logical_Switch_Port", lsp, "up=false")
	s.check(g.Rename(port))
	s.check(g.Start(s.ctx))
	s.nbctl("wait-until", "Logical_Switch_Port", lsp, "up=true")
	s.check(s.ovn.Sync(s.ctx))
}

// Our sessions and OVN's own mirror live side by side on br-int: ours select by logical port, and the agent follows when
// ports are bound anew and while ovn-controller goes and comes.
func TestE2EOVNMirrorsBesideOurs(t *testing.T) {
	t.Parallel()
	s := newOVNSite(t)
	s.nbctl("--wait=hv", "mirror-add", "theirs", "gre", "7", "from-lport", s.guests["ovns"].Addr().String())
	s.nbctl("--wait=hv", "lsp-attach-mirror", "lsp-a", "theirs")
	s.awaitTheirs()
	rows, values := s.ofOVN()
	// wantTheirs wants OVN's rows to be what they were, and those that they were unless ovn-controller has made them anew.
	wantTheirs := func(what string, same bool) {
		s.Helper()
		s.awaitTheirs()
		nowRows, nowValues := s.ofOVN()
		if same && !slices.Equal(nowRows, rows) {
			s.Errorf("%s: OVN's rows were\n%s\nand are\n%s", what, strings.Join(rows, "\n"), strings.Join(nowRows, "\n"))
		}
		if !slices.Equal(nowValues, values) {
			s.Errorf("%s: in OVN's rows was\n%s\nand is\n%s", what, strings.Join(values, "\n"), strings.Join(nowValues, "\n"))
		}
		rows = nowRows
	}
	p := s.agent()
	s.apply(fmt.Sprintf(`
  remote: {sources: [{external_ids: {iface-id: "lsp-[ab]"}}], destinations: [{erspan: {remote: %s, session: 100}}]}
  local: {sources: [{external_ids: {iface-id: "lsp-[ab]"}}], destinations: [{external_ids: {iface-id: lsp-audit}}]}
`, s.guests["sensor"].Addr()))
	// follows wants all to be copied, by ours and by OVN's.
	follows := func(what string, same bool) {
		s.Helper()
		s.awaitActive("remote")
		s.awaitActive("local")
		wantTheirs(what, same)
		s.wantCopies(what)
	}
	follows("applied", true)

	s.ovn.KillController()
	follows("ovn-controller killed", true)
	s.check(s.ovn.StartController(s.ctx))
	follows("ovn-controller back", false) // it has made its mirror anew (OVN 23.03)

	s.rebind("b", "tap-b2")
	follows("b bound anew", true)
	s.rebind("audit", "tap-audit2")
	follows("audit bound anew", true)
	s.rebind("a", "tap-a2")
	follows("a bound anew", false)

	s.check(s.ovn.StopController())
	s.check(s.ovn.StartController(s.ctx))
	for _, name := range []string{"a", "b", "audit"} {
		s.nbctl("wait-until", "Logical_Switch_Port", "lsp-"+name, "up=true")
	}
	s.check(s.ovn.Sync(s.ctx))
	follows("ovn-controller ended and started", false)

	s.want(exitOK, "delete", "--all")
	s.terminate(p)
	wantTheirs("deleted", true)
	s.settle()
	s.announce(s.guests["ovns"])
	atTheirs, atOurs := s.capture(s.guests["ovns"]), s.capture(s.guests["sensor"])
	sent := s.exchange(s.guests["a"], s.guests["b"], 5)
	s.check(atTheirs.Fence(s.ctx, s.guests["a"], s.guests["b"]))
	s.wantTunnels(atTheirs, []string{"gre key 7"}, frames(sent, s.guests["a"])...)
	s.wantTunnels(atOurs, nil)
	for table, rows := range s.database() {
		for _, row := range rows {
			if ids := string(row["external_ids"]); strings.Contains(ids, `"spanctl`) {
				s.Errorf("left over: %s %s %s", table, row["name"], ids)
			}
		}
	}
}
