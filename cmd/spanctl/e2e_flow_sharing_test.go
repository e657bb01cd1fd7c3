package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A share is a session of several that have destinations in common.
type share struct {
	name, sources, treatment string
	to                       []string // keys of shared
	kind                     string   // a key of treatments
}

// shared are the destinations. ONE and TWO stand for collectors.
var shared = map[string]string{
	"audit": "{vm: audit}", "second": "{vm: second}", "one": "{erspan: {remote: ONE, session: 100}}", "two": "{gre: {remote: TWO, key: 7}}",
}

// treatments are what becomes of a frame: nil if it is not copied.
var treatments = map[string]func(frame []byte) []byte{
	"whole": func(frame []byte) []byte { return frame },
	"web": func(frame []byte) []byte {
		if !isWeb(frame) {
			return nil
		}
		return frame
	},
	"no web": func(frame []byte) []byte {
		if isWeb(frame) {
			return nil
		}
		return frame
	},
	"cut": func(frame []byte) []byte { return frame[:min(64, len(frame))] },
	"bare": func(frame []byte) []byte {
		if binary.BigEndian.Uint16(frame[12:]) != 0x8100 {
			return frame
		}
		return slices.Concat(frame[:12], frame[16:])
	},
}

// isWeb tells whether it is a TCP segment to port 80, under a tag or none.
func isWeb(frame []byte) bool {
	ip := frame[14:]
	if binary.BigEndian.Uint16(frame[12:]) == 0x8100 {
		ip = frame[18:]
	}
	return ip[9] == 6 && binary.BigEndian.Uint16(ip[22:]) == 80
}

var shares = []share{
	{"one", "ab", "", []string{"audit", "second"}, "whole"},
	{"two", "bc", "", []string{"one", "second"}, "whole"},
	{"web", "ac", ", include: [{protocol: tcp, dst_port: 80}]", []string{"two", "audit"}, "web"},
	{"no-web", "bd", ", exclude: [{protocol: tcp, dst_port: 80}]", []string{"one", "two"}, "no web"},
	{"more-web", "cd", ", include: [{dst_port: 80, protocol: tcp}]", []string{"audit"}, "web"},
	{"bare", "ad", ", strip_vlan: true", []string{"one", "second"}, "bare"},
	{"cut", "abcd", ", snaplen: 64", []string{"second"}, "cut"},
	{"three", "cd", "", []string{"second", "audit", "two", "one"}, "whole"},
}

// Sessions that share destinations, and ask for the same treatment or for another: each destination has what each treatment
// leaves of what its sessions select, once, however many of them select it. Sessions go one after the other.
func TestE2EFlowSessionsShareDestinations(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	var policy string
	for _, h := range shares {
		var to []string
		for _, name := range h.to {
			to = append(to, shared[name])
		}
		policy += fmt.Sprintf("  %s: {sources: [{vm: '[%s]', direction: from}], destinations: [%s]%s}\n", h.name, h.sources, s.addressed(strings.Join(to, ", ")), h.treatment)
	}
	if out := s.apply(policy); !strings.Contains(out, "different treatment of copies to vif-second") {
		t.Errorf("apply says nothing of what arrives twice:\n%s", out)
	}
	s.wantShares("all", shares)
	if taps := s.taps(); len(taps) != 1 {
		t.Errorf("tap bridges are %s", taps)
	}
	for i, h := range shares[:len(shares)-1] {
		if s.want(exitOK, "delete", h.name); i%2 == 0 {
			s.wantShares("without "+h.name, shares[i+1:])
		}
	}
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
	s.wantCopiedAt(nil)
}

// wantShares lets everybody send frames of several kinds, and wants at each destination what the sessions say.
func (s *watchedSite) wantShares(when string, list []share) {
	s.Helper()
	s.part(when, func(s *watchedSite) {
		s.wantNoChanges()
		s.settle()
		captures := map[string]*ovstest.Capture{}
		for name := range shared {
			captures[name] = s.capture(s.guests[name])
		}
		sent := map[string][][]byte{}
		for from, to := range map[string]string{"a": "b", "b": "a", "c": "d", "d": "c"} {
			x, y := s.guests[from], s.guests[to]
			long := ovstest.UDP(x, y, 1000, 2000, append(ovstest.Payload("long"), make([]byte, 400)...))
			page := tcp(quiet(x), quiet(y), 1000, 80)
			sent[from] = [][]byte{udp(x, y), ovstest.Tagged(udp(x, y), 10), long, ovstest.Tagged(long, 10), page, ovstest.Tagged(page, 10)}
			atY := s.capture(y)
			s.send(x, sent[from]...)
			s.check(atY.Fence(s.ctx, x, y))
			s.wantExactly(atY, sent[from]...)
		}
		for name, c := range captures {
			s.fenceShare(c, name, list)
			tunnels := []string{map[string]string{"one": "erspan II session 100 index 0", "two": "gre key 7"}[name]}
			if want := copiesAt(name, list, sent); tunnels[0] == "" {
				s.wantExactly(c, want...)
			} else if len(want) > 0 {
				s.wantTunnels(c, tunnels, want...)
			} else {
				s.wantTunnels(c, nil)
			}
		}
	})
}

// copiesAt are the copies that a destination is to have of what everybody has sent: of each frame one for each treatment.
func copiesAt(name string, list []share, sent map[string][][]byte) (copies [][]byte) {
	for kind, treat := range treatments {
		selected := ""
		for _, h := range list {
			if h.kind == kind && slices.Contains(h.to, name) {
				selected += h.sources
			}
		}
		for sender, frames := range sent {
			for _, frame := range frames {
				if left := treat(frame); left != nil && strings.Contains(selected, sender) {
					copies = append(copies, left)
				}
			}
		}
	}
	return copies
}

// fenceShare is a fence at a destination by a frame that one of its sessions copies whole. If it has none there is none.
func (s *watchedSite) fenceShare(c *ovstest.Capture, name string, list []share) {
	s.Helper()
	for _, h := range list {
		if h.kind == "cut" || !slices.Contains(h.to, name) {
			continue
		}
		x, y := s.guests[h.sources[:1]], s.guests[map[string]string{"a": "b", "b": "a", "c": "d", "d": "c"}[h.sources[:1]]]
		s.check(c.FenceFrame(s.ctx, x, func(payload []byte) []byte {
			if h.kind == "web" {
				return tcpOf(quiet(x), quiet(y), 9, 80, payload)
			}
			return ovstest.UDP(x, y, 9, 9, payload)
		}))
		return
	}
}
