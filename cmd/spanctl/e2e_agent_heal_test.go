package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"spanctl/policy/plan"
)

// Whatever is killed, started anew or cleared: the agent puts rows and rules back, and production has its own all the time.
func TestE2EAgentHeals(t *testing.T) {
	t.Parallel()
	f := newFlowSite(t)
	bare, _ := f.ours()
	p := f.agent()
	f.apply(flowSession) // with the agent beside it
	f.awaitActive("audit")
	f.settle()
	f.wantProduction("at first", "everything")
	rules := f.rules(f.tap())
	for round := range soak(t, 2) {
		for _, harm := range []struct {
			name string
			do   func()
		}{
			{"ovs-vswitchd killed", func() {
				f.lab.KillVSwitchd()
				f.check(f.lab.StartVSwitchd(f.ctx))
				f.greet(f.a, f.b)
			}},
			{"ovsdb-server killed", func() {
				f.lab.KillDB()
				f.check(f.lab.StartDB(f.ctx))
				f.vsctl("show") // ovs-vswitchd is there again
			}},
			{"both killed", func() {
				f.lab.KillVSwitchd()
				f.lab.KillDB()
				f.check(f.lab.StartDB(f.ctx))
				f.check(f.lab.StartVSwitchd(f.ctx))
				f.greet(f.a, f.b)
			}},
			{"emer-reset", func() { f.vsctl("emer-reset") }},
			{"rules deleted", func() { f.ofctl(f.tap(), "del-flows") }},
			{"tap bridge deleted", func() {
				f.vsctl("--if-exists", "del-port", f.tap(), "vif-audit", "--", "del-br", f.tap())
				f.restart(f.audit)
			}},
		} {
			f.sub(fmt.Sprintf("%s %d", harm.name, round), func(s *site) {
				harm.do()
				f.awaitActive("audit")
				f.settle()
				f.wantProduction(harm.name, "everything")
				if now := f.rules(f.tap()); now != rules {
					s.Errorf("rules were\n%s\nand are\n%s", rules, now)
				}
			})
		}
	}
	f.want(exitOK, "delete", "--all")
	f.terminate(p)
	f.wantBare(bare)
}

// A session ends when it expires, with nobody about but the agent, and a port joins when somebody tags it.
func TestE2EAgentExpiryAndTags(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.agent()
	s.apply(fmt.Sprintf("  audit: {sources: [{vm: a}], destinations: [{vm: audit}]}\n  brief: {expires: %s, sources: [{vm: b}], destinations: [{vm: audit}]}\n",
		time.Now().Add(4*time.Second).UTC().Format(time.RFC3339Nano)))
	sources := func(session string, state plan.State, n int) func() bool {
		return func() bool {
			p := s.planned()
			return p.Empty && slices.ContainsFunc(p.Sessions, func(o jsonSession) bool { return o.Name == session && o.State == state && o.Sources == n })
		}
	}
	s.await("the end of brief", sources("brief", plan.StateExpired, 0))
	s.vsctl("set", "Interface", "vif-b", "external_ids:spanctl=audit")
	s.await("the tagged port", sources("audit", plan.StateActive, 2))
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 5)
}

// Killed at any moment while guests come and go, and started again: in the end the rows are those that a single apply makes.
func TestE2EAgentKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	session := "  audit: {sources: [{role: all}], exclude: [{protocol: udp, port: 7788}], destinations: [{vm: audit}]}\n"
	bare, _ := s.ours()
	s.apply(session)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range soak(t, 8) {
		p := s.start(s.lab.DB, "agent", "--listen", "")
		var restarted []string
		for _, name := range []string{"a", "audit", "b"} {
			if random.IntN(2) == 0 {
				restarted = append(restarted, name)
			}
		}
		var churn sync.WaitGroup
		churn.Go(func() {
			for _, name := range restarted {
				s.restart(s.guests[name])
			}
		})
		timer := time.NewTimer(time.Duration(random.IntN(300)) * time.Millisecond)
		select {
		case <-timer.C:
		case <-p.done:
			t.Errorf("the agent ends by itself: %s", p.said.String())
		}
		p.kill()
		churn.Wait()
	}
	p := s.agent()
	s.awaitActive("audit")
	s.greet(s.guests["a"], s.guests["b"])
	s.terminate(p)
	s.wantRulesAsFromNothing()
	s.wantBare(bare)
}

// terminate ends an agent as systemd does.
func (s *site) terminate(p *process) {
	s.Helper()
	s.check(p.cmd.Process.Signal(syscall.SIGTERM))
	s.wantExit(p, exitOK)
}

// wantBare wants nothing of ours in the database.
func (s *site) wantBare(bare string) {
	s.Helper()
	if left, turns := s.ours(); left != bare || turns != "" {
		s.Errorf("left over:\n%s\n%s\nwas:\n%s", left, turns, bare)
	}
	if ids := s.vsctl("get", "Open_vSwitch", ".", "external_ids"); strings.Contains(ids, "spanctl") {
		s.Errorf("left over: %s", ids)
	}
}

// A rival is somebody who keeps changing or deleting what is ours.
type rival struct {
	session string
	does    func(r rivalry)
	// after mends what cannot be told from somebody else's by itself; nil is nothing.
	after func(r rivalry)
}

// rivalry is a rival on a site.
type rivalry struct {
	*site
	ctx context.Context
}

// try runs ovs-vsctl, which fails where what it names has gone.
func (r rivalry) try(args ...string) string {
	out, _ := r.lab.VSCtl(r.ctx, append([]string{"--no-wait", "--bare"}, args...)...)
	return strings.TrimSpace(out)
}

// each changes each of the rows with such a name.
func (r rivalry) each(table, verb string, change ...string) {
	for row := range strings.SplitSeq(r.try("--columns=_uuid,name", "find", table), "\n\n") {
		if uuid, name, _ := strings.Cut(row, "\n"); strings.HasPrefix(name, "spanctl-") {
			r.try(append([]string{verb, table, uuid}, change...)...)
		}
	}
}

func (r rivalry) tap() string {
	return r.try("--columns=name", "find", "Bridge", "external_ids:spanctl-managed=true")
}

var agentRivals = func() map[string]rival {
	const direct = "  audit: {sources: [{vm: a}], destinations: [{vm: audit}]}\n"
	const hub = "  audit: {sources: [{vm: a}], destinations: [{vm: audit}, {vm: d}]}\n"
	each := func(table, verb string, change ...string) func(rivalry) {
		return func(r rivalry) { r.each(table, verb, change...) }
	}
	return map[string]rival{
		"mirrors deleted":         {session: direct, does: func(r rivalry) { r.try("clear", "Bridge", "br0", "mirrors") }},
		"mirror's session":        {session: direct, does: each("Mirror", "set", "external_ids:spanctl-session=other")},
		"mirror disowned":         {session: direct, does: each("Mirror", "clear", "external_ids")},
		"mirror's output":         {session: direct, does: each("Mirror", "clear", "output_port")},
		"tap bridge's session":    {session: hub, does: each("Bridge", "set", "external_ids:spanctl-session=other")},
		"tap bridge disowned":     {hub, each("Bridge", "clear", "external_ids"), each("Bridge", "set", "external_ids:spanctl-managed=true")},
		"ports' session":          {session: hub, does: each("Port", "set", "external_ids:spanctl-session=other")},
		"ports disowned":          {hub, each("Port", "clear", "external_ids"), each("Port", "set", "external_ids:spanctl-managed=true")},
		"destination's own place": {session: hub, does: func(r rivalry) { r.try("remove", "Port", "vif-audit", "external_ids", "spanctl-saved-bridge") }},
		"destination taken": {session: hub, does: func(r rivalry) {
			if port := r.try("--columns=_uuid", "find", "Port", "name=vif-audit"); port != "" {
				r.try("--", "remove", "Bridge", r.tap(), "ports", port, "--", "add", "Bridge", "br0", "ports", port)
			}
		}},
		"tap bridge deleted": {
			hub, func(r rivalry) { r.try("--if-exists", "del-br", r.tap()) },
			func(r rivalry) { r.restart(r.guests["audit"]); r.restart(r.guests["d"]) },
		},
	}
}()

// A rival is not fought in a hot loop, whatever it does; what it does is reported, and when it is gone all is well again.
func TestE2EAgentIsContested(t *testing.T) {
	t.Parallel()
	for name, c := range agentRivals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "a", "b", "c", "d", "audit", "ids")
			s.agent()
			s.apply(c.session)
			s.awaitActive("audit")
			before := s.transactions()
			ctx, stop := context.WithCancel(s.ctx)
			defer stop()
			var rounds atomic.Int64
			done := make(chan struct{})
			go func() {
				defer close(done)
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for ; ctx.Err() == nil; rounds.Add(1) {
					c.does(rivalry{s, ctx})
					select {
					case <-tick.C:
					case <-ctx.Done():
					}
				}
			}()
			s.await("the report", func() bool {
				r := s.report("audit")
				return r != nil && (len(r.Contested) > 0 || r.State == plan.StateRefused || r.State == plan.StateWaiting)
			})
			// What is not contested goes on.
			s.apply("  other: {sources: [{vm: c}], destinations: [{vm: ids}]}\n", "--no-wait")
			const many = 60
			s.await("the rival", func() bool { return rounds.Load() > many })
			if sent := s.transactions() - before; sent > many*3/4 {
				t.Errorf("%d transactions against a rival who did %d", sent, rounds.Load())
			}
			stop()
			<-done
			if c.after != nil {
				c.after(rivalry{s, s.ctx})
			}
			s.awaitActive("audit")
			s.awaitActive("other")
			s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 5)
		})
	}
}

// unquote is the string that ovs-vsctl shows.
func unquote(text string) string {
	text = strings.TrimSpace(text)
	var unquoted string
	if json.Unmarshal([]byte(text), &unquoted) != nil { // a word, which is not quoted
		return text
	}
	return unquoted
}

// report is what the agent has stored about a session, nil if that is nothing.
func (s *site) report(session string) *plan.Report {
	s.Helper()
	return plan.ParseReport(unquote(s.vsctl("--no-wait", "--if-exists", "get", "Open_vSwitch", ".", `external_ids:"`+plan.KeyReportPrefix+session+`"`)))
}

// awaitNothingFor returns when nothing is left to do for the session, while there is for others.
func (s *site) awaitNothingFor(session string) {
	s.Helper()
	s.await("session "+session, func() bool {
		p := s.planned()
		return !p.Empty && !slices.ContainsFunc(p.Changes, func(c jsonChange) bool { return slices.Contains(c.Sessions, session) })
	})
}

// Where rules cannot be made the other sessions go on, and are mended.
func TestE2EAgentWithoutRules(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit", "ids")
	s.apply("  direct: {sources: [{vm: a}], destinations: [{vm: ids}]}\n  ruled: {sources: [{vm: b}], max_rate: 1Gbps, destinations: [{vm: audit}]}\n")
	p := s.startWith([]string{"PATH=/nowhere"}, s.lab.DB, "agent", "--listen", "")
	for range 2 {
		s.restart(s.guests["b"])
		s.restart(s.guests["a"])
		s.awaitNothingFor("direct")
		s.wantCopied(s.guests["a"], s.guests["b"], s.guests["ids"], 3)
	}
	s.terminate(p)
	if !strings.Contains(p.said.String(), "ovs-ofctl") {
		t.Errorf("the agent says %s", p.said.String())
	}
	s.agent()
	s.awaitActive("ruled")
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
}

// The mark of a spanctl that was killed between steps holds the agent up until it is old, and then goes.
func TestE2EAgentClearsMarks(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	p := s.agent()
	until := time.Now().Add(2 * time.Second).UTC()
	s.vsctl("set", "Open_vSwitch", ".", `external_ids:"`+plan.KeyChanging+`"="`+until.Format(time.RFC3339Nano)+` killed"`)
	s.vsctl("set", "Open_vSwitch", ".", `external_ids:"spanctl/session/audit"="{\"version\":1,\"sources\":[{\"vm\":\"[ab]\"}],\"destinations\":[{\"vm\":\"audit\"}]}"`)
	s.await("the mark to go", func() bool {
		return !strings.Contains(s.vsctl("--no-wait", "get", "Open_vSwitch", ".", "external_ids"), plan.KeyChanging)
	})
	if now := time.Now(); now.Before(until) {
		t.Errorf("the mark has gone %v early", until.Sub(now))
	}
	s.awaitActive("audit")
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
	if out := s.want(exitOK, "history"); strings.Contains(out, `"`) || strings.Count(out, "session audit") != 1 {
		t.Errorf("history has more than what the agent has made:\n%s", out)
	}
	s.terminate(p)
}

// What the database refuses for one session is reported and tried again, and hurts no other: here a schema that knows no
// such snaplen, until it does.
func TestE2EAgentIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit", "ids")
	limit := func(from, to string) {
		s.convert(func(schema *ovsSchema) {
			snaplen := string(schema.Tables["Mirror"].Columns["snaplen"])
			if !strings.Contains(snaplen, `"maxInteger":`+from) {
				t.Fatalf("the schema has %s", snaplen)
			}
			schema.Tables["Mirror"].Columns["snaplen"] = json.RawMessage(strings.Replace(snaplen, `"maxInteger":`+from, `"maxInteger":`+to, 1))
		})
	}
	limit("65535", "1000")
	for name, text := range map[string]string{
		"good":  `{"version":1,"sources":[{"vm":"a"}],"destinations":[{"vm":"audit"}]}`,
		"large": `{"version":1,"sources":[{"vm":"b"}],"destinations":[{"vm":"ids"}],"snaplen":2000}`,
	} {
		s.vsctl("set", "Open_vSwitch", ".", `external_ids:"spanctl/session/`+name+`"=`+strconv.Quote(text))
	}
	if code, out, stderr := s.spanctl("agent", "--once"); code != exitDegraded || !strings.Contains(out, "session good: active") {
		t.Errorf("agent --once exits %d and says %s %s", code, out, stderr)
	}
	p := s.agent()
	for range 2 {
		s.await("the report", func() bool {
			r := s.report("large")
			return r != nil && r.State == plan.StateDegraded && strings.Contains(r.Failed, "2000 is not in the valid range")
		})
		s.restart(s.guests["a"])
		s.awaitNothingFor("good")
		s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
	}
	if out := s.want(exitDegraded, "status"); !strings.Contains(out, "the agent tries again now and then: OVSDB refused the transaction: insert of Mirror: constraint violation: 2000") {
		t.Errorf("status says %s", out)
	}
	limit("1000", "65535")
	s.awaitActive("large")
	s.await("the report", func() bool { r := s.report("large"); return r != nil && r.Failed == "" })
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["ids"], 3)
	s.terminate(p)
}

// While the database is frozen for longer than the agent waits, it tries again; what was under way then is done once, and all
// is well when the database goes on. Production has its own meanwhile.
func TestE2EAgentWaitsForASlowDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	p := s.agent("--timeout", "500ms", "--check", "100ms")
	s.apply(auditA)
	s.awaitActive("audit")
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range soak(t, 4) {
		complaints := strings.Count(p.said.String(), "tries again")
		s.vsctl("--no-wait", "clear", "Bridge", "br0", "mirrors")
		// The agent's answer comes some 20 ms after that.
		timer := time.NewTimer(time.Duration(random.IntN(50)) * time.Millisecond)
		<-timer.C
		s.check(s.lab.FreezeDB())
		s.wantProduction(s.guests["a"], s.guests["b"], 3)
		s.await("the agent's complaint", func() bool { return strings.Count(p.said.String(), "tries again") > complaints })
		s.check(s.lab.ThawDB())
		s.restart(s.guests["a"])
		s.awaitActive("audit")
		s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
	}
	s.terminate(p)
}
