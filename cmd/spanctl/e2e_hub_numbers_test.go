package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// Numbers are decimal in a policy, and the same on the wire. ONE, TWO and SIX stand for collectors.
var numbers = []struct{ destination, tunnel, outer string }{
	{"erspan: {remote: ONE, session: 0}", "erspan II session 0 index 0", "ttl 64 tos 0 df false"},
	{"erspan: {remote: ONE, session: 1, index: 10}", "erspan II session 1 index 10", "ttl 64 tos 0 df false"},
	{"erspan: {remote: ONE, session: 100, index: 100, ttl: 10, tos: 16, df: true}", "erspan II session 100 index 100", "ttl 10 tos 16 df true"},
	{"erspan: {remote: ONE, session: 1023, index: 1048575, type: II, local: 192.0.2.1}", "erspan II session 1023 index 1048575", "ttl 64 tos 0 df false"},
	{"erspan: {remote: TWO, session: 0, type: III}", "erspan III session 0 hwid 0 direction 0", "ttl 64 tos 0 df false"},
	{"erspan: {remote: TWO, session: 10, type: III, hwid: 10, direction: 1, df: false}", "erspan III session 10 hwid 10 direction 1", "ttl 64 tos 0 df false"},
	{"erspan: {remote: TWO, session: 1023, type: III, hwid: 63, direction: 0, df: true}", "erspan III session 1023 hwid 63 direction 0", "ttl 64 tos 0 df true"},
	{"gre: {remote: ONE}", "gre", "ttl 64 tos 0 df false"},
	{"gre: {remote: ONE, local: 192.0.2.1}", "gre", "ttl 64 tos 0 df false"}, // another tunnel
	{"gre: {remote: TWO, key: 0, ttl: 1}", "gre key 0", "ttl 1 tos 0 df false"},
	{"gre: {remote: ONE, key: 7, ttl: 255, tos: 252}", "gre key 7", "ttl 255 tos 252 df false"},
	{"gre: {remote: TWO, key: 10, seq: true, df: true}", "gre key 10 with numbers", "ttl 64 tos 0 df true"},
	{"gre: {remote: ONE, key: 4294967295, seq: true}", "gre key 4294967295 with numbers", "ttl 64 tos 0 df false"},
	{"vxlan: {remote: ONE}", "vxlan vni 0 port 4789", "ttl 64 tos 0 df false"},
	{"vxlan: {remote: ONE, vni: 100, ttl: 100, tos: 100, df: true}", "vxlan vni 100 port 4789", "ttl 100 tos 100 df true"},
	{"vxlan: {remote: ONE, vni: 16777215, port: 10000}", "vxlan vni 16777215 port 10000", "ttl 64 tos 0 df false"},
	{"vxlan: {remote: ONE, port: 65535}", "vxlan vni 0 port 65535", "ttl 64 tos 0 df false"},
	{"geneve: {remote: ONE}", "geneve vni 0 port 6081", "ttl 64 tos 0 df false"},
	{"geneve: {remote: ONE, vni: 100, ttl: 32, tos: 8, df: true}", "geneve vni 100 port 6081", "ttl 32 tos 8 df true"},
	{"geneve: {remote: ONE, vni: 16777215, port: 6082}", "geneve vni 16777215 port 6082", "ttl 64 tos 0 df false"},
	{"erspan: {remote: SIX, session: 1023, index: 1048575, ttl: 10, tos: 16}", "erspan II session 1023 index 1048575", "ttl 10 tos 16"},
	{"erspan: {remote: SIX, session: 100, type: III, hwid: 63, direction: 1}", "erspan III session 100 hwid 63 direction 1", "ttl 64 tos 0"},
	{"gre: {remote: SIX, key: 4294967295, ttl: 255, tos: 252}", "gre key 4294967295", "ttl 255 tos 252"},
	{"gre: {remote: SIX, local: 2001:db8::1, seq: true}", "gre with numbers", "ttl 64 tos 0"},
	{"vxlan: {remote: SIX, vni: 16777215, port: 10000, ttl: 10}", "vxlan vni 16777215 port 10000", "ttl 10 tos 0"},
	{"geneve: {remote: SIX, vni: 10, tos: 40}", "geneve vni 10 port 6081", "ttl 64 tos 40"},
}

// All tunnels are of one session: 26 destinations, each with one copy of each frame.
func TestE2EHubNumbersAreThoseOfThePolicy(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	names := map[string]*ovstest.Guest{"ONE": s.collector("one"), "TWO": s.collector("two"), "SIX": s.addCollector(ovstest.CollectorConfig{
		Name: "six", MTU: 1600, Host: netip.MustParsePrefix("2001:db8::1/64"), IP: netip.MustParsePrefix("2001:db8::10/64"),
	})}
	locals := map[string]string{"ONE": "192.0.2.1", "TWO": "192.0.2.1", "SIX": "2001:db8::1"}
	session := "  audit:\n    sources: [{role: all, bridge: 'br[01]'}]\n    destinations:\n"
	want := map[string][]string{}
	for _, n := range numbers {
		for name, g := range names {
			if strings.Contains(n.destination, name) {
				session += "      - " + strings.Replace(n.destination, name, fmt.Sprintf("%q", g.Addr()), 1) + "\n"
				if s.kernels() { // it numbers ERSPAN alone, as plan says
					n.tunnel = strings.TrimSuffix(n.tunnel, " with numbers")
				}
				want[name] = append(want[name], fmt.Sprintf("%s > %s %s: %s", locals[name], g.Addr(), n.outer, n.tunnel))
			}
		}
	}
	if out := s.apply(session); s.kernels() != strings.Contains(out, "have no sequence numbers") {
		t.Errorf("apply says of sequence numbers:\n%s", out)
	}
	s.settle()
	captures := map[string]*ovstest.Capture{}
	for name, g := range names {
		captures[name] = s.capture(g)
	}
	sent := [][]byte{udp(s.guests["a"], s.guests["b"]), udp(s.guests["c"], s.guests["d"])}
	s.send(s.guests["a"], sent[0])
	s.send(s.guests["c"], sent[1])
	for name, c := range captures {
		s.check(c.Fence(s.ctx, s.guests["a"], s.guests["b"]))
		for _, frame := range sent {
			var got []string
			for _, f := range c.Frames() {
				if a, ok := decode(f.Data); ok && slices.Equal(a.inner, frame) {
					if a.seq != nil && strings.HasPrefix(a.tunnel, "gre") {
						a.tunnel += " with numbers"
					}
					got = append(got, a.outer+": "+a.tunnel)
				}
			}
			slices.Sort(got)
			slices.Sort(want[name])
			if g, w := strings.Join(got, "\n"), strings.Join(want[name], "\n"); g != w {
				s.Errorf("collector %s has copies by\n%s\nwant\n%s", name, g, w)
			}
		}
	}
}
