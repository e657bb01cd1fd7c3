package main

import (
	"strings"
	"testing"
)

// Sessions with the same destinations, however these are named and ordered, share a tap bridge: what both select is copied
// once. One goes, and what it alone selected is copied no more.
func TestE2EHubSessionsThatShareAllDestinationsCopyOnce(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	const (
		one   = "  one: {sources: [{vm: a}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}\n"
		two   = "  two: {sources: [{vm: b, direction: from}, {role: all, bridge: br1}], destinations: [{erspan: {remote: ONE, session: 100}}, {vm: audit}]}\n"
		three = "  three: {sources: [{role: all, bridge: 'br[01]'}], destinations: [{external_ids: {vm-id: audit}}, {erspan: {remote: ONE, session: 100}}]}\n"
	)
	taps := map[string]bool{}
	for _, step := range []struct{ sessions, delete, copied string }{
		{one, "", "ab"},
		{two, "", "abcd"},
		{three, "", "abcd"},
		{"", "three", "abcd"},
		{"", "one", "bcd"},
	} {
		if step.delete != "" {
			s.want(exitOK, "delete", step.delete)
		} else {
			s.apply(s.addressed(step.sessions))
		}
		s.wantCopiedAt(map[string]string{"audit": step.copied, "one: erspan II session 100 index 0": step.copied})
		now := s.taps()
		if taps[now[0]] = true; len(now) != 1 || len(taps) != 1 {
			t.Errorf("%+v: tap bridges are %s, and were %v", step, now, taps)
		}
	}
	s.want(exitOK, "delete", "--all")
	s.wantCopiedAt(nil)
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
}

// What shares some destinations and not all, or all and not the treatment, needs rules, and over a remote connection is
// refused; what shares a tunnel's identity and not the tunnel is refused everywhere; and what stands goes on. Sessions that share nothing but bridges stand beside each other, in either tier.
func TestE2EHubSessionsBesideEachOther(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	s.apply(s.addressed(`
  one: {sources: [{role: all, bridge: "br[01]"}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}
  two: {sources: [{role: all, bridge: "br[01]"}], destinations: [{vxlan: {remote: ONE, vni: 7}}, {gre: {remote: TWO}}]}
  three: {sources: [{role: all, bridge: br1}], destinations: [{vm: second}]}
`))
	copied := map[string]string{
		"audit": "abcd", "one: erspan II session 100 index 0": "abcd", "one: vxlan vni 7 port 4789": "abcd", "two: gre": "abcd", "second": "cd",
	}
	s.wantCopiedAt(copied)
	before := s.database()
	const rules = "which has others or asks for other treatment: that needs OpenFlow rules on the host, and this is a remote connection; run spanctl on the host"
	local, remote := s.lab.DB, s.overTCP()
	for _, refused := range []struct{ session, about string }{
		{"{sources: [{vm: a}], destinations: [{vm: audit}]}", rules},
		{"{sources: [{vm: c}], destinations: [{erspan: {remote: ONE, session: 100}}]}", rules},
		{"{sources: [{vm: c}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}, {gre: {remote: TWO, key: 9}}]}", rules},
		{"{sources: [{vm: c}], destinations: [{vm: second}, {gre: {remote: TWO, key: 9}}]}", rules},
		{"{sources: [{vm: a}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}], strip_vlan: true}", rules},
		{"{sources: [{vm: a}], destinations: [{erspan: {remote: ONE, session: 100, type: III}}]}", "same remote, local and key"},
		{"{sources: [{vm: a}], destinations: [{erspan: {remote: ONE, session: 100, index: 1}}]}", "same remote, local and key"},
		{"{sources: [{vm: a}], destinations: [{gre: {remote: TWO, key: 0}}]}", "same remote, local and key"},
		{"{sources: [{vm: a}], destinations: [{gre: {remote: TWO, key: 1}}, {gre: {remote: TWO, key: 1, seq: true}}]}", "same remote, local and key"},
	} {
		if s.lab.DB = local; refused.about == rules {
			s.lab.DB = remote
		}
		file := s.policy("  four: " + s.addressed(refused.session) + "\n")
		if code, _, stderr := s.spanctl("apply", "-f", file); code != exitRefused || !strings.Contains(stderr, refused.about) {
			t.Errorf("apply of %s exits %d and says %s", refused.session, code, stderr)
		}
	}
	s.lab.DB = local
	s.wantSame("refused", before, s.database(), ofItself)
	s.wantCopiedAt(copied)
}
