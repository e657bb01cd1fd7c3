package main

import (
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A stage is a policy and who has copies of whose frames under it. ONE and TWO stand for collectors.
type stage struct {
	name, policy string
	at           map[string]string // senders by guest, or by collector and tunnel
}

// Connections that run on follow every change between one tier and another, and no MAC table is flushed by any.
func TestE2EHubRunningConnectionsFollowBetweenTiers(t *testing.T) {
	t.Parallel()
	newWatchedSite(t).follows([]stage{
		{
			"one bridge to one guest", `{sources: [{role: all, bridge: br0}], destinations: [{vm: audit}]}`,
			map[string]string{"audit": "ab"},
		},
		{
			"another bridge", `{sources: [{role: all, bridge: "br[01]"}], destinations: [{vm: audit}]}`,
			map[string]string{"audit": "abcd"},
		},
		{
			"a tunnel", `{sources: [{role: all, bridge: "br[01]"}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}`,
			map[string]string{"audit": "abcd", "one: erspan II session 100 index 0": "abcd"},
		},
		{
			"one bridge to the guest again", `{sources: [{role: all, bridge: br0}], destinations: [{vm: audit}]}`,
			map[string]string{"audit": "ab"},
		},
		{
			"the other bridge", `{sources: [{role: all, bridge: br1}], destinations: [{vm: audit}]}`,
			map[string]string{"audit": "cd"},
		},
		{
			"disabled", `{enabled: false, sources: [{role: all, bridge: br1}], destinations: [{vm: audit}]}`,
			nil,
		},
		{
			"enabled, to the other guest", `{sources: [{role: all, bridge: br1}], destinations: [{vm: second}]}`,
			map[string]string{"second": "cd"},
		},
	})
}

// Likewise of changes of destinations and sources within the hub.
func TestE2EHubRunningConnectionsFollowToNewDestinations(t *testing.T) {
	t.Parallel()
	newWatchedSite(t).follows([]stage{
		{
			"a guest and a tunnel", `{sources: [{role: all, bridge: "br[01]"}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}`,
			map[string]string{"audit": "abcd", "one: erspan II session 100 index 0": "abcd"},
		},
		{
			"another number", `{sources: [{role: all, bridge: "br[01]"}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 200}}]}`,
			map[string]string{"audit": "abcd", "one: erspan II session 200 index 0": "abcd"},
		},
		{
			"another remote", `{sources: [{role: all, bridge: "br[01]"}], destinations: [{vm: audit}, {erspan: {remote: TWO, session: 200}}]}`,
			map[string]string{"audit": "abcd", "two: erspan II session 200 index 0": "abcd"},
		},
		{
			"another type", `{sources: [{vm: "[abcd]"}], destinations: [{vm: audit}, {erspan: {remote: TWO, session: 200, type: III, hwid: 7}}]}`,
			map[string]string{"audit": "abcd", "two: erspan III session 200 hwid 7 direction 0": "abcd"},
		},
		{
			"no guest", `{sources: [{vm: "[abcd]"}], destinations: [{erspan: {remote: TWO, session: 200, type: III, hwid: 7}}]}`,
			map[string]string{"two: erspan III session 200 hwid 7 direction 0": "abcd"},
		},
		{
			"two guests and two tunnels", `{sources: [{vm: "[abcd]"}], destinations: [{vm: second}, {vxlan: {remote: ONE}}, {vm: audit}, {gre: {remote: TWO, key: 7}}]}`,
			map[string]string{"audit": "abcd", "second": "abcd", "one: vxlan vni 0 port 4789": "abcd", "two: gre key 7": "abcd"},
		},
		{
			"narrower", `{sources: [{vm: a, direction: from}, {vm: c, direction: to}], destinations: [{vm: second}, {vxlan: {remote: ONE}}, {vm: audit}, {gre: {remote: TWO, key: 7}}]}`,
			map[string]string{"audit": "ad", "second": "ad", "one: vxlan vni 0 port 4789": "ad", "two: gre key 7": "ad"},
		},
	})
}

// A watchedSite is a hub site with another guest for audits on br1, and two collectors.
type watchedSite struct {
	*site
	before database
	known  map[string][]string // stations by bridge
}

func newWatchedSite(t *testing.T) *watchedSite {
	t.Helper()
	s := newHubSite(t)
	s.add(ovstest.GuestConfig{Name: "second", Bridge: "br1"})
	s.collector("one")
	s.collector("two")
	s.add(ovstest.GuestConfig{Name: "beside", Bridge: "br-ext", MTU: 1600})
	return &watchedSite{s, s.database(), map[string][]string{"br0": s.stations("br0"), "br1": s.stations("br1")}}
}

// addressed is the text with the collectors' addresses in place of ONE and TWO.
func (s *watchedSite) addressed(text string) string {
	return strings.NewReplacer("ONE", s.guests["one"].Addr().String(), "TWO", s.guests["two"].Addr().String()).Replace(text)
}

// part runs a part of the test on the same site.
func (s *watchedSite) part(name string, f func(s *watchedSite)) {
	s.Helper()
	s.sub(name, func(part *site) { f(&watchedSite{part, s.before, s.known}) })
}

// follows applies policy after policy while connections run on both bridges, and wants them to be copied as each says,
// and then to be no more when the session is deleted.
func (s *watchedSite) follows(stages []stage) {
	s.Helper()
	s.exchangeBoth(3)
	for _, stage := range stages {
		s.part(stage.name, func(s *watchedSite) {
			s.apply("  audit: " + s.addressed(stage.policy) + "\n")
			s.wantCopiedAt(stage.at)
		})
	}
	s.part("deleted", func(s *watchedSite) {
		s.want(exitOK, "delete", "audit")
		s.wantCopiedAt(nil)
		s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
	})
}

// wantCopiedAt wants copies of the connections that run on at the guests audit and second and at the collectors one and
// two, as a stage says, and nothing else; and the bridges to know all stations as ever.
func (s *watchedSite) wantCopiedAt(at map[string]string) {
	s.Helper()
	s.settle()
	captures := map[string]*ovstest.Capture{}
	for _, name := range []string{"audit", "second", "one", "two"} {
		captures[name] = s.capture(s.guests[name])
	}
	sent := s.exchangeBoth(10)
	want, tunnels := map[string][][]byte{}, map[string][]string{}
	for where, senders := range at {
		name, tunnel, _ := strings.Cut(where, ": ")
		want[name] = nil // the same for each tunnel
		for _, sender := range senders {
			want[name] = append(want[name], frames(sent, s.guests[string(sender)])...)
		}
		if tunnel != "" {
			tunnels[name] = append(tunnels[name], tunnel)
		}
	}
	for name, c := range captures {
		g, from := s.guests[name], s.guests[map[string]string{"br0": "a", "br1": "d", "br-ext": "beside"}[s.guests[name].Bridge()]]
		if senders := at[name]; senders != "" { // they alone are heard
			from = s.guests[senders[:1]]
		}
		s.check(c.FenceFrame(s.ctx, from, func(payload []byte) []byte {
			return ovstest.Raw(from, ovstest.Broadcast.HardwareAddr(), 0x88b5, payload)
		}))
		if g.Bridge() == "br-ext" {
			s.wantTunnels(c, tunnels[name], want[name]...)
		} else {
			s.wantExactly(c, want[name]...)
		}
	}
	for bridge, stations := range s.known {
		if now := s.stations(bridge); !slices.Equal(now, stations) {
			s.Errorf("%s knew\n%s\nand knows\n%s", bridge, strings.Join(stations, "\n"), strings.Join(now, "\n"))
		}
	}
}

// exchangeBoth is n frames each way of two connections that run on, one on each bridge.
func (s *site) exchangeBoth(n int) []ovstest.Sent {
	s.Helper()
	return append(s.exchange(s.guests["a"], s.guests["b"], n), s.exchange(s.guests["c"], s.guests["d"], n)...)
}
