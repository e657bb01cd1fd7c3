package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// oracleVariable is an environment variable: how many packets TestOracle asks about.
const oracleVariable = "SPANCTL_ORACLE"

// TestOracle draws hosts, policies and packets, and wants the switch to make exactly the copies that the oracle decides.
// It goes on until every kind of decision was made. A case that fails is written such that it can be a golden one.
func TestOracle(t *testing.T) {
	packets := 3000
	if text := os.Getenv(oracleVariable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s=%s: give a number of packets", oracleVariable, text)
		}
		packets = n
	}
	s := newOracleSwitch(t)
	counts, asked := oracleCounts{}, 0
	var failed *oracleCase
	t.Cleanup(func() {
		if failed != nil {
			s.report(t, failed)
		}
	})
	setFlag(t, "rapid.checks", "10")
	setFlag(t, "rapid.shrinktime", "10s") // the rest is done by report
	for asked < packets || counts.missing() != nil && asked < 20*packets {
		rapid.Check(t, func(rt *rapid.T) {
			c := drawCase(rt)
			wrong, n := s.compare(c, counts)
			asked += n
			if wrong != "" {
				failed = c
				rt.Fatal(wrong)
			}
		})
	}
	t.Logf("%d packets asked about\n%s", asked, counts.text())
	if missing := counts.missing(); missing != nil {
		t.Errorf("no decision was made of these kinds: %s", strings.Join(missing, "; "))
	}
}

// setFlag sets a command line flag for the rest of the test.
func setFlag(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	before := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(before) }) // it had it
}

// drawCase draws a whole case.
func drawCase(t *rapid.T) *oracleCase {
	c := &oracleCase{}
	audits := drawHost(t, c)
	drawSessions(t, c, audits)
	var matches []oracleMatch
	for _, name := range slices.Sorted(maps.Keys(c.Sessions)) { // what is drawn may not depend on chance
		s := c.Sessions[name]
		matches = append(append(matches, s.Treatment.Include...), s.Treatment.Exclude...)
	}
	packet := rapid.Custom(func(t *rapid.T) oraclePacket {
		c.Packets = append(c.Packets, drawPacket(t, c, matches, c.Packets))
		return c.Packets[len(c.Packets)-1]
	})
	rapid.SliceOfN(packet, 50, 150).Draw(t, "packets")
	return c
}

// compare makes the switch the case's, has spanctl apply its policy, and asks about its packets until something is wrong. It
// says what, and how many were asked about.
func (s *oracleSwitch) compare(c *oracleCase, counts oracleCounts) (wrong string, asked int) {
	if err := s.build(c); err != nil {
		return "building the host: " + err.Error(), 0
	}
	code, said, err := s.apply(c)
	switch {
	case err != nil:
		return "looking at the host: " + err.Error(), 0
	case code == exitRefused && c.failsOpen():
		counts.of("applied", false)
		return "", 0
	case code != exitOK && code != exitDegraded:
		return fmt.Sprintf("apply exits %d: %s", code, said), 0
	}
	counts.of("applied", true)
	o := newOracle(c, counts)
	for i := range c.Packets {
		wrong, err := o.ask(s, &c.Packets[i])
		if err != nil {
			return "asking about a packet: " + err.Error(), i
		}
		if wrong != "" {
			return fmt.Sprintf("packet %d: %s\n%s", i, wrong, said), i + 1
		}
	}
	return "", len(c.Packets)
}

// failsOpen tells whether a session has fail: open, which cannot always be had.
func (c *oracleCase) failsOpen() bool {
	for _, sessions := range []map[string]oracleSession{c.Before, c.Sessions} {
		for _, s := range sessions {
			if s.Treatment.Fail == "open" {
				return true
			}
		}
	}
	return false
}

// report reduces a case that fails, and writes what is left.
func (s *oracleSwitch) report(t *testing.T, c *oracleCase) {
	t.Helper()
	kind := func(wrong string) string {
		first, _, _ := strings.Cut(wrong, ": ")
		if strings.HasPrefix(first, "packet ") {
			return "packet"
		}
		return first
	}
	// Some things depend on the order in which the switch has mirrors, which is chance.
	fails := func(c *oracleCase) (string, int) {
		for range 6 {
			if wrong, asked := s.compare(c, nil); wrong != "" {
				return wrong, asked
			}
		}
		return "", 0
	}
	whole, asked := fails(c)
	if whole == "" {
		t.Logf("the case fails no more:\n%s", c.text())
		return
	}
	if asked > 0 {
		c.Packets = c.Packets[:asked]
	}
	alike := c.alike()
	least := reduced(c, time.Now().Add(time.Minute), func(c *oracleCase) (failing bool) {
		defer func() {
			if recover() != nil { // what was left out is needed
				failing = false
			}
		}()
		for pair, same := range c.alike() {
			if same != alike[pair] {
				return false // sessions that were one are no more, or the other way around
			}
		}
		if !c.sound() {
			return false
		}
		wrong, _ := fails(c)
		return wrong != "" && kind(wrong) == kind(whole)
	})
	wrong, _ := fails(least)
	t.Logf("the case, reduced:\n%s\n%s", least.text(), wrong)
}

// alike tells of each two sessions whether they ask for the same treatment.
func (c *oracleCase) alike() map[[2]string]bool {
	pairs := map[[2]string]bool{}
	for a, one := range c.Sessions {
		for b, other := range c.Sessions {
			pairs[[2]string{a, b}] = one.Treatment.key() == other.Treatment.key()
		}
	}
	return pairs
}

// sound tells whether ports that need a VLAN have one, and packets arrive where there is a port, with addresses of their
// kind.
func (c *oracleCase) sound() bool {
	ports := map[string]bool{}
	for _, b := range c.Bridges {
		ports[b.Name] = true
		for _, p := range b.Ports {
			if p.Mode != "" && p.Tag == 0 {
				return false
			}
			for _, iface := range p.interfaces() {
				ports[iface] = true
			}
		}
	}
	return !slices.ContainsFunc(c.Packets, func(p oraclePacket) bool {
		six := p.Kind == "ipv6"
		return !ports[p.In] || strings.Contains(p.Src, ":") != six || strings.Contains(p.Dst, ":") != six
	})
}
