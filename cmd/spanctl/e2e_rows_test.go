package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// What is in the database, to the byte, before and after spanctl.

// steps are the states of a session that sends to the guest audit, and what apply and delete do to it.
var steps = []struct{ name, session string }{
	{"apply", `  audit: {sources: [{role: all}], destinations: [{vm: audit}]}`},
	{"narrow", `  audit: {sources: [{vm: a, vlans: [10]}], destinations: [{vm: audit}]}`},
	{"strip", `  audit: {sources: [{role: guest, direction: from}], destinations: [{vm: audit}], strip_vlan: true, snaplen: 100}`},
	{"disable", `  audit: {sources: [{role: all}], destinations: [{vm: audit}], enabled: false}`},
	{"enable", `  audit: {sources: [{role: all}], destinations: [{vm: audit}]}`},
	{"second", "  more: {sources: [{vm: b}], destinations: [{vm: audit}]}\n  rspan: {sources: [{vm: a}], destinations: [{vlan: 999}]}"},
	{"words", "  audit: {description: new words, sources: [{role: all}], destinations: [{vm: audit}]}"},
	{"awaited", "  late: {sources: [{vm: a}], destinations: [{vm: absent}]}"},
}

func TestE2EDeleteLeavesEveryRowAsItWas(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "ids")
	s.add(ovstest.GuestConfig{Name: "audit", Tag: 10})
	s.add(ovstest.GuestConfig{Name: "tagged", Tag: 20, Trunks: []int{20, 30}, PortColumns: []string{"vlan_mode=native-untagged", "protected=true"}})
	s.uplink("up") // has a spanctl-role
	s.vsctl("set", "Interface", "vif-b", "external_ids:spanctl-role=host")
	s.vsctl("create", "QoS", "type=linux-noop", "--", "create", "Queue", "dscp=3")
	s.vsctl("--", "--id=@f", "create", "NetFlow", `targets="127.0.0.1:9"`, "--", "set", "Bridge", "br0", "netflow=@f")
	s.foreignMirror("theirs", "select_all=true")
	s.foreignMirror("theirs-2", "select_vlan=7,8", "snaplen=60")
	s.foreignMirror("spanctl-audit", "select_vlan=9") // named like ours
	s.vsctl("add-port", "br0", "patch0", "--", "set", "Interface", "patch0", "type=patch", "options:peer=patch1",
		"--", "add-port", "br0", "spanctl-123456", "external_ids:spanctl-managed=false", "--", "set", "Interface", "spanctl-123456", "type=internal",
		"--", "set", "Open_vSwitch", ".", "external_ids:spanctl-note=theirs", "other_config:vlan-limit=2")
	for table, rows := range s.database() {
		for uuid, row := range rows {
			if row["external_ids"] != nil {
				s.vsctl("set", table, uuid[len(`["uuid","`):len(uuid)-len(`"]`)], "external_ids:theirs=1", `external_ids:"odd key"="ünïcode, \"quoted\""`)
			}
		}
	}
	before := s.database()
	s.wantSame("at rest", before, s.database(), ofItself)
	for range 2 {
		for _, step := range steps {
			s.apply(step.session + "\n")
			s.wantForeign(step.name, before)
			s.wantNoChanges()
		}
		s.want(exitOK, "delete", "audit")
		s.wantForeign("delete audit", before)
		s.want(exitOK, "delete", "--all")
		s.wantSame("after delete", before, s.database(), ofItself, configuration)
	}
}

// foreignMirror makes a mirror of somebody else's, to the guest ids.
func (s *site) foreignMirror(name string, columns ...string) {
	s.Helper()
	s.vsctl(slices.Concat(
		[]string{"--", "--id=@ids", "get", "Port", "vif-ids", "--", "--id=@m", "create", "Mirror", "name=" + name, "output_port=@ids"}, columns,
		[]string{"--", "add", "Bridge", "br0", "mirrors", "@m"})...)
}

// wantForeign wants the rows of before as they were, but for what spanctl says it adds to them: rows in br0, keys of its
// own, and the mode of the borrowed port with a note of the old one.
func (s *site) wantForeign(step string, before database) {
	s.Helper()
	now := s.database()
	for table, rows := range before {
		for uuid, was := range rows {
			for column, value := range was {
				is := now[table][uuid][column]
				if string(is) == string(value) || slices.Contains(slices.Concat(ofItself, configuration), column) {
					continue
				}
				change := fmt.Sprintf("%s %s", table, column)
				if strings.HasSuffix(change, " external_ids") {
					left := slices.DeleteFunc(s.pairs(is), func(pair string) bool {
						return table == "Open_vSwitch" && strings.HasPrefix(pair, "spanctl/") ||
							string(was["name"]) == `"vif-audit"` && strings.HasPrefix(pair, "spanctl-saved-vlan_mode=")
					})
					if slices.Equal(left, s.pairs(value)) {
						continue
					}
				}
				borrowed := change == "Port vlan_mode" && string(was["name"]) == `"vif-audit"`
				if !borrowed && change != "Bridge ports" && change != "Bridge mirrors" || len(is) == 0 {
					s.Errorf("%s: %s %s %s was %s and is %s", step, table, was["name"], column, value, is)
				}
			}
		}
	}
}

func TestE2ESecondApplySendsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	for _, step := range steps {
		file := s.policy(step.session + "\n")
		s.want(exitOK, "apply", "-f", file)
		before, sent := s.database(), s.transactions()
		for _, again := range [][]string{{"apply", "-f", file}, {"apply"}, {"apply", "-f", file, "--no-wait"}} {
			if out := s.want(exitOK, again...); !strings.HasPrefix(out, "No changes") {
				t.Errorf("%s: %q says\n%s", step.name, again, out)
			}
		}
		s.wantSame(step.name, before, s.database(), ofItself) // next_cfg as well
		if now := s.transactions(); now != sent {
			t.Errorf("%s: %d more transactions", step.name, now-sent)
		}
	}
	s.want(exitOK, "delete", "--all")
	sent := s.transactions()
	s.want(exitOK, "delete", "--all")
	s.want(exitOK, "apply")
	if now := s.transactions(); now != sent {
		t.Errorf("deleting nothing: %d more transactions", now-sent)
	}
}

func TestE2ENoMACTableIsFlushed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.greet(s.guests["a"], s.guests["b"], s.uplink("up"))
	known := s.stations("br0")
	if len(known) != 9 {
		t.Fatalf("the switch knows\n%s", strings.Join(known, "\n"))
	}
	check := func(step string) {
		t.Helper()
		if now := s.stations("br0"); !slices.Equal(now, known) {
			t.Errorf("%s: the switch knew\n%s\nand knows\n%s", step, strings.Join(known, "\n"), strings.Join(now, "\n"))
		}
	}
	for range 20 {
		for _, step := range []int{0, 1, 0, 3} {
			s.apply(steps[step].session + "\n")
			check(steps[step].name)
		}
		s.apply(steps[0].session + "\n")
		s.want(exitOK, "delete", "--all")
		check("delete")
	}
}

// stations are the entries of a bridge's MAC table: port, VLAN and address.
func (s *site) stations(bridge string) []string {
	s.Helper()
	out, err := s.lab.AppCtl(s.ctx, "fdb/show", bridge)
	s.check(err)
	var list []string
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if fields := strings.Fields(line); i > 0 && len(fields) == 4 {
			list = append(list, strings.Join(fields[:3], " "))
		}
	}
	slices.Sort(list)
	return list
}

func TestE2EMirrorLimitCountsForeignMirrors(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit", "ids")
	a, b := s.guests["a"], s.guests["b"]
	for i := range 31 {
		s.foreignMirror(fmt.Sprintf("theirs-%d", i), fmt.Sprintf("select_vlan=%d", 100+i))
	}
	s.apply(everything)
	s.settle()
	atAudit := s.capture(s.guests["audit"])
	sent := s.exchange(a, b, 5)
	s.check(atAudit.Fence(s.ctx, a, b))
	s.wantExactly(atAudit, frames(sent, a, b)...)
	s.status(exitOK)
	s.want(exitOK, "delete", "--all")

	s.foreignMirror("theirs-31", "select_vlan=131")
	before := s.database()
	file := s.policy(everything)
	code, _, stderr := s.spanctl("apply", "-f", file)
	if code != exitRefused || !strings.Contains(stderr, "32") {
		t.Errorf("apply exits %d, want %d\n%s", code, exitRefused, stderr)
	}
	s.want(exitRefused, "plan", "-f", file)
	s.wantSame("refused", before, s.database(), ofItself)
}

func TestE2EStatusSaysThatTheAuditGuestIsAwaited(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.apply(everything)
	s.status(exitOK)
	s.check(s.guests["audit"].Stop(s.ctx))
	if h := s.status(exitDegraded)["audit"]; h.State != "waiting" {
		t.Errorf("status is %+v", h)
	}
	if code, stdout, _ := s.spanctl("status"); code != exitDegraded || !strings.Contains(stdout, "waiting") {
		t.Errorf("status exits %d and says\n%s", code, stdout)
	}
	s.want(exitOK, "apply")
	if h := s.status(exitDegraded)["audit"]; h.State != "waiting" {
		t.Errorf("status after apply is %+v", h)
	}
	s.check(s.guests["audit"].Start(s.ctx))
	s.want(exitOK, "apply")
	if h := s.status(exitOK)["audit"]; h.State != "active" {
		t.Errorf("status with the guest back is %+v", h)
	}
}
