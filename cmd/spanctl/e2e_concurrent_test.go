package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"spanctl/ovs/ovstest"
)

// Who writes at the same time, spanctl or somebody else, loses nothing.

// rivals are two commands that run at once, after another has prepared the place, and the sessions that may be stored in
// the end: either list.
var rivals = []struct {
	name           string
	before         string
	one, two       []string // with a policy's sessions in place of its file
	either, orElse string
}{
	{
		"different sessions to one guest", "",
		[]string{"apply", "-f", "  one: {sources: [{vm: a}], destinations: [{vm: audit}]}\n"},
		[]string{"apply", "-f", "  two: {sources: [{vm: b, vlans: [10]}], destinations: [{vm: audit}]}\n"},
		"one two", "one two",
	},
	{
		"different sessions to two guests", "",
		[]string{"apply", "-f", everything},
		[]string{"apply", "-f", "  two: {sources: [{vm: b, vlans: [10]}], destinations: [{vm: audit2}], snaplen: 64}\n"},
		"audit two", "audit two",
	},
	{"the same session", "", []string{"apply", "-f", everything}, []string{"apply", "-f", everything}, "audit", "audit"},
	{
		"the same session, differently", everything,
		[]string{"apply", "-f", "  audit: {sources: [{vm: a}], destinations: [{vm: audit}]}\n"},
		[]string{"apply", "-f", "  audit: {sources: [{vm: b}], destinations: [{vm: audit2}]}\n"},
		"audit", "audit",
	},
	{
		"apply and delete of another", "  two: {sources: [{vm: b}], destinations: [{vm: audit}]}\n",
		[]string{"apply", "-f", everything},
		[]string{"delete", "two"},
		"audit", "audit",
	},
	{"apply and delete of the same", everything, []string{"apply", "-f", stripped}, []string{"delete", "audit"}, "audit", ""},
	{"apply and delete of all", everything, []string{"apply", "-f", "  two: {sources: [{vm: b}], destinations: [{vm: audit}]}\n"}, []string{"delete", "--all"}, "two", ""},
	{"two deletes of all", everything, []string{"delete", "--all"}, []string{"delete", "--all"}, "", ""},
	{"apply of what is stored, and delete", everything, []string{"apply"}, []string{"delete", "audit"}, "", ""},
}

func TestE2ETwoSpanctlAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit2")
	s.add(ovstest.GuestConfig{Name: "audit", Tag: 10})
	bare, _ := s.ours()
	for _, c := range rivals {
		s.sub(c.name, func(s *site) {
			for round := range 3 {
				if c.before != "" {
					s.apply(c.before)
				}
				for _, p := range s.race(s.filed(c.one), s.filed(c.two)) {
					s.wantExit(p, exitOK)
				}
				// A turn that nobody needs may be left: the next apply takes it away.
				s.want(exitOK, "apply")
				s.want(exitOK, "plan", "--detailed-exitcode")
				if stored := strings.Join(s.stored(), " "); stored != c.either && stored != c.orElse {
					s.Errorf("round %d: sessions %s are stored", round, stored)
				}
				if round < 2 {
					s.want(exitOK, "delete", "--all")
				}
			}
			s.wantAsFromNothing(bare)
		})
	}
}

// filed is a rival's command, with the policy in a file.
func (s *site) filed(args []string) []string {
	s.Helper()
	if args = slices.Clone(args); len(args) == 3 {
		args[2] = s.policy(args[2])
	}
	return args
}

// race runs two commands, both of which make their plan before the transaction of either is carried out.
func (s *site) race(commands ...[]string) (processes []*process) {
	s.Helper()
	ready := make([]chan struct{}, len(commands)) // closed when a command has sent its plan, or has ended without
	readied := make([]sync.Once, len(commands))
	for i := range commands {
		ready[i] = make(chan struct{})
	}
	for i, args := range commands {
		remote := s.relay(fmt.Sprintf("race%d", i), func(message []byte, to io.Writer) bool {
			if bytes.Contains(message, []byte(`"op":"comment"`)) {
				readied[i].Do(func() { close(ready[i]) })
				for _, r := range ready {
					<-r
				}
			}
			_, err := to.Write(message)
			return err == nil
		})
		p := s.start(remote, args...)
		processes = append(processes, p)
		go func() {
			p.exit()
			readied[i].Do(func() { close(ready[i]) })
		}()
	}
	return processes
}

// stored are the names of the stored sessions, sorted.
func (s *site) stored() []string {
	s.Helper()
	state, _ := s.ours()
	var names []string
	for line := range strings.Lines(state) {
		if rest, ok := strings.CutPrefix(line, "spanctl/session/"); ok {
			name, _, _ := strings.Cut(rest, "=")
			names = append(names, name)
		}
	}
	return names
}

// wantAsFromNothing wants the rows that the stored sessions make where there are none, and removes them.
func (s *site) wantAsFromNothing(bare string) {
	s.Helper()
	state, _ := s.ours()
	policy := s.want(exitOK, "get")
	names := s.stored()
	s.want(exitOK, "delete", "--all")
	if left, turns := s.ours(); left != bare || turns != "" {
		s.Errorf("left over:\n%s\n%s\nwas:\n%s", left, turns, bare)
	}
	if len(names) == 0 {
		if state != bare {
			s.Errorf("without sessions there are\n%s\nnot\n%s", state, bare)
		}
		return
	}
	file := filepath.Join(s.TempDir(), "stored.yaml")
	s.check(os.WriteFile(file, []byte(policy), 0o600))
	s.want(exitOK, "apply", "-f", file)
	if fresh, _ := s.ours(); fresh != state {
		s.Errorf("the rows were\n%s\nand from nothing are\n%s", state, fresh)
	}
	s.want(exitOK, "delete", "--all")
}

func TestE2EAnotherWriterLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "ids", "audit2")
	s.add(ovstest.GuestConfig{Name: "audit", Tag: 10})
	writing, stop := context.WithCancel(s.ctx)
	var other sync.WaitGroup
	var last int
	var failed error
	other.Go(func() {
		for writing.Err() == nil && failed == nil {
			last++
			failed = s.write(last)
		}
	})
	defer func() {
		stop()
		other.Wait()
	}()
	for range 3 {
		for _, step := range steps {
			s.wantExit(s.start(s.lab.DB, "apply", "-f", s.policy(step.session+"\n")), exitOK)
		}
		s.wantExit(s.start(s.lab.DB, "delete", "--all"), exitOK)
	}
	stop()
	other.Wait()
	s.check(failed)
	if last < 5 {
		t.Errorf("the other has written %d times only", last)
	}
	s.wantWritten(last)
}

// kept is how many mirrors the other writer keeps.
const kept = 3

// write is one round of another writer: a port, keys in four tables, a mirror more, and one mirror less.
func (s *site) write(n int) error {
	key := fmt.Sprintf("external_ids:theirs-%d=%d", n, n)
	for _, args := range [][]string{
		{"add-port", "br0", fmt.Sprintf("their-%d", n), "tag=20", "--", "set", "Interface", fmt.Sprintf("their-%d", n), "type=internal", key},
		{"set", "Open_vSwitch", ".", key, "--", "set", "Bridge", "br0", key},
		{"set", "Port", "vif-audit", key, "--", "set", "Interface", "vif-audit", key},
		{
			"--", "--id=@a", "get", "Port", "vif-a", "--", "--id=@ids", "get", "Port", "vif-ids", "--", "--id=@m", "create", "Mirror",
			fmt.Sprintf("name=theirs-%d", n), "select_src_port=@a", "output_port=@ids", key, "--", "add", "Bridge", "br0", "mirrors", "@m",
		},
	} {
		if _, err := s.lab.VSCtl(s.ctx, args...); err != nil {
			return err
		}
	}
	if n <= kept {
		return nil
	}
	_, err := s.lab.VSCtl(s.ctx, "--", "--id=@m", "get", "Mirror", fmt.Sprintf("theirs-%d", n-kept), "--", "remove", "Bridge", "br0", "mirrors", "@m")
	return err
}

// wantWritten wants everything that n rounds of write have written, and nothing of ours.
func (s *site) wantWritten(n int) {
	s.Helper()
	var pairs, ports, mirrors []string
	for i := 1; i <= n; i++ {
		pairs = append(pairs, fmt.Sprintf("theirs-%d=%d", i, i))
		ports = append(ports, fmt.Sprintf(`"their-%d"`, i))
		if i > n-kept {
			mirrors = append(mirrors, fmt.Sprintf(`"theirs-%d"`, i))
		}
	}
	db := s.database()
	theirs := func(table, name string) {
		s.Helper()
		for _, row := range db[table] {
			if row["name"] != nil && string(row["name"]) != name {
				continue
			}
			for _, pair := range pairs {
				if !slices.Contains(s.pairs(row["external_ids"]), pair) {
					s.Errorf("%s %s has lost %s: %s", table, name, pair, row["external_ids"])
				}
			}
			if strings.Contains(string(row["external_ids"]), "spanctl") {
				s.Errorf("%s %s has %s", table, name, row["external_ids"])
			}
		}
	}
	theirs("Open_vSwitch", "")
	theirs("Bridge", `"br0"`)
	theirs("Port", `"vif-audit"`)
	theirs("Interface", `"vif-audit"`)
	for table, want := range map[string][]string{"Mirror": mirrors, "Port": ports} {
		var have []string
		for _, row := range db[table] {
			name := string(row["name"])
			have = append(have, name)
			if strings.Contains(name, "their-") && string(row["tag"]) != "20" ||
				table == "Mirror" && !strings.HasPrefix(string(row["output_port"]), `["uuid"`) {
				s.Errorf("%s is now %s", name, row)
			}
		}
		for _, name := range want {
			if !slices.Contains(have, name) {
				s.Errorf("%s %s is lost", table, name)
			}
		}
		if table == "Mirror" && len(have) != len(want) {
			s.Errorf("mirrors are %s, want %s", have, want)
		}
	}
}

func TestE2EAnAgentBesidePeople(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit2")
	s.add(ovstest.GuestConfig{Name: "audit", Tag: 10})
	bare, _ := s.ours()
	working, stop := context.WithCancel(s.ctx)
	var agent sync.WaitGroup
	agent.Go(func() {
		for working.Err() == nil {
			s.wantExit(s.start(s.lab.DB, "apply"), exitOK)
		}
	})
	defer func() {
		stop()
		agent.Wait()
	}()
	for range 3 {
		for _, step := range steps {
			s.wantExit(s.start(s.lab.DB, "apply", "-f", s.policy(step.session+"\n")), exitOK)
			s.want(exitOK, "plan", "--detailed-exitcode")
		}
		s.wantExit(s.start(s.lab.DB, "delete", "--all"), exitOK)
	}
	s.apply(steps[0].session + "\n")
	stop()
	agent.Wait()
	s.wantNoChanges()
	s.wantAsFromNothing(bare)
}
