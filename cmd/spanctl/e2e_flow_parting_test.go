package main

import "testing"

// Sessions on one tap bridge part, and come together again: the tunnel moves to a tap bridge of its own while the old one
// stays, and back.
func TestE2EFlowTunnelMovesBetweenTapBridges(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	const (
		one    = "  one: {sources: [{vm: '[ab]'}], exclude: [{protocol: tcp}], destinations: [{vm: audit}]}\n"
		shared = "  two: {sources: [{vm: '[cd]'}], exclude: [{protocol: tcp}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}\n"
		apart  = "  two: {sources: [{vm: '[cd]'}], exclude: [{protocol: tcp}], destinations: [{erspan: {remote: ONE, session: 100}}]}\n"
	)
	for range 2 {
		s.apply(s.addressed(one + shared))
		s.wantCopiedAt(map[string]string{"audit": "abcd", "one: erspan II session 100 index 0": "cd"})
		s.apply(s.addressed(one + apart))
		s.wantCopiedAt(map[string]string{"audit": "ab", "one: erspan II session 100 index 0": "cd"})
		s.wantNoChanges()
	}
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
}
