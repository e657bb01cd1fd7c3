package main

import "testing"

// Of two sessions that copy the same bridges to different destinations one goes, or changes: the other copies on, and
// no MAC table is flushed, though the patch to the tap bridge that goes is selected by the other's mirror.
func TestE2EHubSessionsComeAndGoWithoutFlushingAddresses(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	const (
		first  = "  first: {sources: [{role: all, bridge: 'br[01]'}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}\n"
		second = "  second: {sources: [{role: all, bridge: 'br[01]'}], destinations: [{gre: {remote: TWO, key: 7}}]}\n"
		third  = "  third: {sources: [{role: all, bridge: 'br[01]'}], destinations: [{vxlan: {remote: ONE, vni: 1}}]}\n"
		fourth = "  third: {sources: [{role: all, bridge: 'br[01]'}], destinations: [{vxlan: {remote: ONE, vni: 2}}]}\n"

		atOne, atTwo = "one: erspan II session 100 index 0", "two: gre key 7"
	)
	s.apply(s.addressed(first + second))
	s.wantCopiedAt(map[string]string{"audit": "abcd", atOne: "abcd", atTwo: "abcd"})
	s.want(exitOK, "delete", "first")
	s.wantCopiedAt(map[string]string{atTwo: "abcd"})
	s.wantNoChanges()
	s.apply(s.addressed(third))
	s.apply(s.addressed(fourth))
	s.wantCopiedAt(map[string]string{"one: vxlan vni 2 port 4789": "abcd", atTwo: "abcd"})
	s.want(exitOK, "delete", "--all")
	s.wantCopiedAt(nil)
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
}
