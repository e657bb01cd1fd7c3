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

// ofOVN are OVN's mirror and where it goes, as ovn-controller has made them, without what changes of itself.
func (s *ovnSite) ofOVN() (lines []string) {
	s.Helper()
	for _, line := range s.database().lines(ofItself) {
		if strings.Contains(line, `"theirs"`) || strings.Contains(line, `"ovn-theirs"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Our sessions and OVN's own mirror live side by side on br-int: ours select by logical port, and the agent follows when
// ports are bound anew and ovn-controller comes back.
func TestE2EOVNMirrorsBesideOurs(t *testing.T) {
	t.Parallel()
	s := newOVNSite(t)
	s.nbctl("--wait=hv", "mirror-add", "theirs", "gre", "7", "from-lport", s.guests["ovns"].Addr().String())
	s.nbctl("--wait=hv", "lsp-attach-mirror", "lsp-a", "theirs")
	s.await("OVN's mirror", func() bool { return len(s.ofOVN()) > 0 })
	theirs := s.ofOVN()
	bare := s.database()
	p := s.agent()
	s.apply(fmt.Sprintf(`
  remote: {sources: [{external_ids: {iface-id: "lsp-[ab]"}}], destinations: [{erspan: {remote: %s, session: 100}}]}
  local: {sources: [{external_ids: {iface-id: "lsp-[ab]"}}], destinations: [{external_ids: {iface-id: lsp-audit}}]}
`, s.guests["sensor"].Addr()))
	follow := func() {
		s.Helper()
		s.awaitActive("remote")
		s.awaitActive("local")
	}
	wantTheirs := func(what string) {
		s.Helper()
		if now := s.ofOVN(); !slices.Equal(now, theirs) {
			s.Errorf("%s: OVN's rows were\n%s\nand are\n%s", what, strings.Join(theirs, "\n"), strings.Join(now, "\n"))
		}
	}
	follow()
	s.wantCopies("at first")
	wantTheirs("after apply")
	println(s.vsctl("list", "Mirror"))
	_ = bare
	_ = p
}
