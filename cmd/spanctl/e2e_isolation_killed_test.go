package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// orders are what is asked of spanctl one after another: the hub, in two shapes, and what comes before and after it.
func (e *enclosure) orders() [][]string {
	narrow := `
  audit: {sources: [{vm: "[ac]", direction: from}], destinations: [{vm: audit}, {gre: {remote: ` + e.sensor.Addr().String() + `, key: 7}}], strip_vlan: true}
`
	return [][]string{
		{"apply", "-f", e.policy(e.watching("gre"))},
		{"apply", "-f", e.policy(narrow)},
		{"apply", "-f", e.policy("  audit: {sources: [{role: all, bridge: br9}], destinations: [{vm: audit}]}\n")}, // no hub
		{"delete", "--all"},
	}
}

// Wherever spanctl is killed in the middle of its work, between its transactions too, nothing leaks, production has all
// its frames, and the next run ends as it should have.
func TestE2EIsolationWhenSpanctlIsKilled(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br9")
	orders := e.orders()
	meter := e.meter()
	states, messages := make([]string, len(orders)), make([]int, len(orders))
	for range 2 { // the second time from the state that it is in later on, too
		for i, order := range orders {
			e.wantExit(meter.start(e.site, 0, "", order...), exitOK)
			if i == 0 {
				e.learnTunnels("gre")
			}
			states[i], messages[i] = e.made(), meter.passed
		}
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	killed, between := 0, 0
	for round := range soak(t, 8) {
		i := round % len(orders)
		at, part := 1+random.IntN(messages[i]), []string{"nothing", "half", "all"}[random.IntN(3)]
		before := e.made()
		if meter.start(e.site, at, part, orders[i]...).exit() == -1 {
			killed++
		}
		if now := e.made(); now != before && now != states[i] { // between two transactions
			between++
			e.want(exitPending, "plan", "--detailed-exitcode")
		}
		e.storm()
		e.wantIsolated("killed")
		e.wantArrived("killed")
		e.want(exitOK, "apply")
		e.want(exitOK, "plan", "--detailed-exitcode")
		e.want(exitOK, orders[i]...)
		if state := e.made(); state != states[i] {
			t.Fatalf("seed %d, round %d: %q killed at message %d of %d, %s of which passed, and done again: the state should be\n%s\nand is\n%s",
				seed, round, orders[i], at, messages[i], part, states[i], state)
		}
		if i == 0 {
			e.wantCopied("done again", 1)
		}
	}
	if killed == 0 {
		t.Errorf("seed %d: nothing was killed", seed)
	}
	t.Logf("seed %d: of %v messages, %d killed, %d between two transactions", seed, messages, killed, between)
	e.want(exitOK, "delete", "--all")
	e.wantGone("in the end")
}

// made is what spanctl has made, without what differs from one time to another: rows' UUIDs and turns' flags.
func (s *site) made() string {
	s.Helper()
	db := s.database()
	named := func(value json.RawMessage) string {
		text := revision.ReplaceAllString(string(value), "")
		for table, rows := range db {
			for uuid, row := range rows {
				if name := string(row["name"]); table != "Interface" && name != "" {
					text = strings.ReplaceAll(text, uuid, name)
				}
			}
		}
		if len(text) > 300 { // trunks of hub ends
			text = fmt.Sprintf("%.20s... %d", text, len(text))
		}
		return text
	}
	var lines []string
	for table, columns := range map[string][]string{
		"Open_vSwitch": {"external_ids"},
		"Bridge":       {"name", "external_ids", "flood_vlans", "other_config"},
		"Port":         {"name", "vlan_mode", "trunks", "external_ids"},
		"Interface":    {"name", "options"},
		"Mirror":       {"name", "select_all", "select_src_port", "select_dst_port", "output_port", "external_ids"},
	} {
		for _, row := range db[table] {
			line := table
			for _, column := range columns {
				line += " " + column + "=" + named(row[column])
			}
			if strings.Contains(line, "spanctl") {
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(append(lines, "audit guest on "+s.vsctl("port-to-br", s.guests["audit"].Port())), "\n")
}

// revision is what each transaction raises, and the mark of one that was killed, which counts for nothing after some seconds.
var revision = regexp.MustCompile(`\["spanctl/(?:revision|changing)","[^"]*"\],?`)

// ovs-vswitchd is killed while spanctl works, or before, and started: nothing leaks meanwhile, and then all is as it should
// be, at the latest by the next apply.
func TestE2EIsolationWhenOVSVSwitchdIsKilled(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br9")
	orders := e.orders()
	e.want(exitOK, orders[0]...)
	e.learnTunnels("gre")
	for _, c := range []struct {
		order  int
		moment string
	}{{3, "while"}, {0, "before"}, {3, "after"}, {0, "while"}, {3, "while"}, {0, "after"}} {
		when := strings.Join(orders[c.order], " ") + ", ovs-vswitchd killed " + c.moment
		e.hostless = true // the host's devices come and go
		pause := e.churn()
		remote, killed := e.killer(c.moment)
		if c.moment != "before" {
			e.wantExit(e.start(remote, append(orders[c.order], "--no-wait")...), exitOK)
		} else {
			e.wantExit(e.start(remote, append(orders[c.order], "--timeout", "2s")...), exitDegraded)
			if code, _, said := e.spanctl("status"); code != exitDegraded || !strings.Contains(said, "ovs-vswitchd") {
				t.Errorf("%s: status exits %d and says %s", when, code, said)
			}
		}
		e.await("ovs-vswitchd's end", killed)
		e.check(e.lab.StartVSwitchd(e.ctx))
		e.sniffHosts()
		e.want(exitOK, "apply")
		pause()
		e.wantIsolated(when)
		e.hostless, e.passages = false, nil // what was sent meanwhile is lost
		if c.order == 0 {
			e.check(fire(e.invasion()))
			e.wantCopied(when, 1)
		} else {
			e.wantGone(when)
		}
	}
}

// killer is a remote that kills ovs-vswitchd once: before the first transaction of spanctl's reaches the server, when it
// has reached it, or after the answer.
func (s *site) killer(moment string) (remote string, done func() bool) {
	s.Helper()
	var sent, killing, killed atomic.Bool
	kill := func() {
		if !killing.Swap(true) {
			s.lab.KillVSwitchd()
			killed.Store(true)
		}
	}
	return s.relay("killer", func(message []byte, to io.Writer) bool {
		first := bytes.Contains(message, []byte(`"op":"comment"`))
		if first && moment == "before" {
			kill()
		}
		_, err := to.Write(message)
		switch {
		case first && moment == "while":
			kill()
		case first:
			sent.Store(true)
		case sent.Load() && bytes.Contains(message, []byte(`"result"`)):
			kill()
		}
		return err == nil
	}), killed.Load
}
