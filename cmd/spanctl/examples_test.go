package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
	"spanctl/policy"
)

// An exampleCase is what a policy must do: each packet that the pairs of guests
// exchange comes to each receiver, once.
type exampleCase struct {
	receivers []string
	pairs     [][2]string
	// joined is whether patch ports join xenbr0 and xenbr1.
	joined bool
	// received is the guest for which alone packets are copied, empty for all.
	received string
}

var exampleCases = map[string]exampleCase{
	"guests-to-audit":            {receivers: []string{"audit"}, pairs: [][2]string{{"web", "db"}}},
	"headers-only":               {receivers: []string{"audit"}, pairs: [][2]string{{"web", "db"}}},
	"rspan":                      {receivers: []string{"uplink"}, pairs: [][2]string{{"web", "db"}}},
	"erspan-to-ids":              {receivers: []string{"ids"}, pairs: [][2]string{{"web", "db"}}},
	"several-destinations":       {receivers: []string{"audit", "ids", "recorder"}, pairs: [][2]string{{"web", "db"}}},
	"several-bridges":            {receivers: []string{"audit"}, pairs: [][2]string{{"web", "db"}, {"app", "files"}}},
	"once-across-joined-bridges": {receivers: []string{"audit"}, pairs: [][2]string{{"web", "db"}, {"app", "files"}, {"web", "app"}}, joined: true},
}

// newExampleHost is a site with all that examples and pages name: two bridges
// with guests, two audit guests, an uplink, and an underlay with two collectors.
func newExampleHost(t *testing.T) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: t.Name(), Bridges: []string{"xenbr0", "xenbr1"}})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, ctx: ctx, lab: lab, guests: map[string]*ovstest.Guest{}}
	t.Cleanup(func() { s.check(lab.Close()) })
	for _, g := range []struct{ name, bridge, port, key, value string }{
		{"web", "xenbr0", "vif1.0", "vm-id", "web"},
		{"db", "xenbr0", "vif2.0", "tenant", "blue-1"},
		{"app", "xenbr1", "vif3.0", "vm-id", "app"},
		{"files", "xenbr1", "vif4.0", "vm-id", "files"},
		{"audit", "xenbr0", "vif9.0", "vm-id", "audit"},
		{"second", "xenbr0", "tap104i1", "vm-id", "second"},
		{"uplink", "xenbr0", "uplink0", "spanctl-role", "uplink"},
	} {
		s.add(ovstest.GuestConfig{Name: g.name, Bridge: g.bridge, Port: g.port, ExternalIDs: map[string]string{g.key: g.value}})
	}
	for name, ip := range map[string]string{"ids": "192.0.2.10/24", "recorder": "192.0.2.20/24"} {
		s.addCollector(ovstest.CollectorConfig{Name: name, IP: netip.MustParsePrefix(ip), MTU: 1600})
	}
	return s
}

// TestExamplesAreApplied applies each example on a host with the ports that it
// names, counts the copies, and ends it.
func TestExamplesAreApplied(t *testing.T) {
	t.Parallel()
	s := newExampleHost(t)
	dirs, err := filepath.Glob("../../examples/*")
	if err != nil || len(dirs) != len(exampleCases) {
		t.Fatalf("examples are %v; of %d is known what they must do", dirs, len(exampleCases))
	}
	for _, dir := range dirs {
		s.sub(filepath.Base(dir), func(s *site) {
			c, known := exampleCases[filepath.Base(dir)]
			if !known {
				s.Fatal("what it must do is not known")
			}
			if c.joined {
				s.join("xenbr0", "xenbr1")
				defer s.vsctl("del-port", "join0", "--", "del-port", "join1")
				s.copiesTwice("../../examples/several-bridges")
			}
			s.copiesOnce(dir, c)
		})
	}
	// The policy reference's own example, what of it needs no flow tier.
	s.sub("reference", func(s *site) {
		for _, shown := range policiesIn(s.T, "../../docs/reference/policy.md") {
			if shown.name == "headers-only" {
				s.copiesOnce(s.writeShown(shown), exampleCase{receivers: []string{"second"}, pairs: [][2]string{{"web", "db"}}, received: "db"})
			}
		}
	})
}

// join joins two bridges by patch ports join0 and join1.
func (s *site) join(a, b string) {
	s.Helper()
	s.vsctl("add-port", a, "join0", "--", "set", "Interface", "join0", "type=patch", "options:peer=join1",
		"--", "add-port", b, "join1", "--", "set", "Interface", "join1", "type=patch", "options:peer=join0")
}

// copiesOnce applies the policies, has guests talk, and ends them again.
func (s *site) copiesOnce(file string, c exampleCase) {
	s.Helper()
	for _, pair := range c.pairs {
		s.greet(s.guests[pair[0]], s.guests[pair[1]])
	}
	s.want(exitOK, "apply", "-f", file)
	defer s.want(exitOK, "delete", "-f", file)
	s.settle()
	captures := map[string]*ovstest.Capture{}
	for _, name := range c.receivers {
		captures[name] = s.capture(s.guests[name])
	}
	for _, pair := range c.pairs {
		from, to := s.guests[pair[0]], s.guests[pair[1]]
		sent := s.exchange(from, to, 5)
		for name, capture := range captures {
			s.check(capture.Fence(s.ctx, from, to))
			for _, one := range sent {
				want := 1
				if c.received != "" && one.From.Name() == c.received {
					want = 0
				}
				if n := ovstest.CountPayload(capture.Frames(), one.Payload); n != want {
					s.Errorf("%s has %d copies of a packet that %s sent, want %d", name, n, one.From.Name(), want)
				}
			}
		}
	}
	s.want(exitOK, "status")
	s.wantNoChanges()
}

// copiesTwice holds what examples say of joined bridges: without a direction a
// packet that crosses both is copied on each, and plan warns of it.
func (s *site) copiesTwice(dir string) {
	s.Helper()
	web, app := s.guests["web"], s.guests["app"]
	s.greet(web, app)
	if out := s.want(exitOK, "apply", "-f", dir); !strings.Contains(out, "are joined by patch ports") {
		s.Errorf("apply does not warn of doubles:\n%s", out)
	}
	defer s.want(exitOK, "delete", "-f", dir)
	s.settle()
	atAudit := s.capture(s.guests["audit"])
	for _, one := range s.exchange(web, app, 5) {
		s.check(atAudit.WaitPayload(s.ctx, one.Payload, 2))
	}
}

// blockMark is the beginning or end of a block in Markdown, also within a list.
var blockMark = regexp.MustCompile("(?m)^ *```(.*)$")

// A shownSession is a session of a policy that a page shows.
type shownSession struct {
	name    string
	session *policy.Session
}

// policiesIn are the sessions of all whole policies in a page.
func policiesIn(t *testing.T, page string) []shownSession {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text, sessions := string(data), []shownSession(nil)
	marks := blockMark.FindAllStringSubmatchIndex(text, -1)
	if len(marks)%2 != 0 {
		t.Fatalf("%s: a block does not end", page)
	}
	for block := range slices.Chunk(marks, 2) {
		body := text[block[0][1]:block[1][0]]
		if text[block[0][2]:block[0][3]] != "yaml" || !strings.Contains(body, "version: 1\n") {
			continue
		}
		doc, err := policy.Parse(page, []byte(body))
		if err != nil {
			t.Errorf("%s: %v\n%s", page, err, body)
			continue
		}
		for name, session := range doc.Sessions {
			sessions = append(sessions, shownSession{name, session})
		}
	}
	return sessions
}

// writeShown writes a policy of the session alone to a file.
func (s *site) writeShown(shown shownSession) string {
	s.Helper()
	text, err := policy.Format(&policy.Document{Version: policy.Version, Sessions: map[string]*policy.Session{shown.name: shown.session}})
	s.check(err)
	file := filepath.Join(s.TempDir(), shown.name+".yaml")
	s.check(os.WriteFile(file, text, 0o600))
	return file
}

// TestPoliciesOfPagesArePlanned plans each policy that a page shows.
func TestPoliciesOfPagesArePlanned(t *testing.T) {
	t.Parallel()
	s := newExampleHost(t)
	pages, err := filepath.Glob("../../docs/*/*.md")
	s.check(err)
	planned := 0
	for _, page := range append(pages, "../../README.md") {
		for _, shown := range policiesIn(t, page) {
			planned++
			if code, stdout, stderr := s.spanctl("plan", "-f", s.writeShown(shown)); code != exitOK {
				t.Errorf("%s: plan of session %s exits %d\n%s%s", page, shown.name, code, stdout, stderr)
			}
		}
	}
	if planned < 10 {
		t.Errorf("only %d sessions were found", planned)
	}
}
