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
	// leftOut is whether replication is not copied.
	leftOut bool
	// among is of how many connections one is copied, whole and to one of the receivers; 0 is not asked.
	among int
}

var exampleCases = map[string]exampleCase{
	"guests-to-audit":            {receivers: []string{"audit"}, pairs: [][2]string{{"web", "db"}}},
	"headers-only":               {receivers: []string{"audit"}, pairs: [][2]string{{"web", "db"}}},
	"rspan":                      {receivers: []string{"uplink"}, pairs: [][2]string{{"web", "db"}}},
	"erspan-to-ids":              {receivers: []string{"ids"}, pairs: [][2]string{{"web", "db"}}},
	"several-destinations":       {receivers: []string{"audit", "ids", "recorder"}, pairs: [][2]string{{"web", "db"}}},
	"several-bridges":            {receivers: []string{"audit"}, pairs: [][2]string{{"web", "db"}, {"app", "files"}}},
	"everything-but-replication": {receivers: []string{"audit"}, pairs: [][2]string{{"web", "db"}, {"app", "files"}}, leftOut: true},
	"balance-over-sensors":       {receivers: []string{"audit", "second", "ids"}, among: 1},
	"sample-and-limit":           {receivers: []string{"recorder"}, among: 16},
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
	if err != nil || len(dirs) != len(exampleCases)+len(automation)+1 { // and the unit of systemd
		t.Fatalf("examples are %v; of %d is known what they must do", dirs, len(exampleCases)+len(automation)+1)
	}
	for _, dir := range dirs {
		if name := filepath.Base(dir); automation[name] != nil || name == "systemd" {
			continue // TestExamplesOfAutomation, TestE2EAgentService
		}
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
			if c.among > 0 {
				s.copiesConnections(dir, c)
			} else {
				s.copiesOnce(dir, c)
			}
		})
	}
	// The policy reference's own examples, but for the one whose guests are not here.
	s.sub("reference", func(s *site) {
		for _, shown := range policiesIn(s.T, "../../docs/reference/policy.md") {
			switch shown.name {
			case "headers-only":
				s.copiesOnce(s.writeShown(shown), exampleCase{receivers: []string{"second"}, pairs: [][2]string{{"web", "db"}}, received: "db"})
			case "audit":
				s.copiesOnce(s.writeShown(shown), exampleCases["everything-but-replication"])
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
		left := ovstest.Payload("replication")
		if c.leftOut {
			s.send(from, tcpOf(quiet(from), quiet(to), 40000, 7789, left), tcpOf(six(from), six(to), 7788, 40000, left))
		}
		for name, capture := range captures {
			s.check(capture.Fence(s.ctx, from, to))
			if n := ovstest.CountPayload(capture.Frames(), left); n != 0 {
				s.Errorf("%s has %d copies of replication", name, n)
			}
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

// copiesConnections applies the policy, has two guests talk by connections of
// many ports, and ends it again: of each connection all packets or none are
// copied, to one receiver, and each receiver has some.
func (s *site) copiesConnections(file string, c exampleCase) {
	s.Helper()
	const connections, frames = 100, 4
	web, db := s.guests["web"], s.guests["db"]
	s.greet(web, db)
	s.want(exitOK, "apply", "-f", file)
	defer s.want(exitOK, "delete", "-f", file)
	s.settle()
	captures := map[string]*ovstest.Capture{}
	for _, name := range c.receivers {
		captures[name] = s.capture(s.guests[name])
	}
	talk := func(i int) []ovstest.Sent {
		sent, err := ovstest.Flow{A: web, B: db, APort: 41000 + uint16(i), BPort: 42000}.Exchange(s.ctx, frames/2)
		s.check(err)
		return sent
	}
	copies := func(name string, sent []ovstest.Sent) int {
		n := 0
		for _, one := range sent {
			n += ovstest.CountPayload(captures[name].Frames(), one.Payload)
		}
		return n
	}
	var list [][]ovstest.Sent
	for i := range connections {
		list = append(list, talk(i))
	}
	for _, name := range c.receivers {
		some := -1
		s.await("a connection at "+name, func() bool {
			some = slices.IndexFunc(list, func(sent []ovstest.Sent) bool { return copies(name, sent) > 0 })
			return some >= 0
		})
		s.check(captures[name].WaitPayload(s.ctx, talk(some)[frames-1].Payload, 1)) // it comes after all others
	}
	whole := 0
	for i, sent := range list {
		var at []string
		for _, name := range c.receivers {
			if n := copies(name, sent); n != 0 {
				at = append(at, name)
				if n != frames {
					s.Errorf("%s has %d copies of connection %d, want %d", name, n, i, frames)
				}
			}
		}
		if len(at) > 1 {
			s.Errorf("connection %d is at %s", i, at)
		}
		whole += len(at)
	}
	s.wantShare("copied", whole, connections, 1/float64(c.among))
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
