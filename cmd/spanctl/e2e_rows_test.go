package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A database is every row: table, UUID, column, and its content as JSON.
type database map[string]map[string]map[string]string

// volatile are the columns that ovs-vswitchd writes as it goes, and the number that every transaction counts up.
var volatile = []string{"statistics", "status", "rstp_status", "rstp_statistics", "link_resets", "cur_cfg", "next_cfg"}

// database reads the whole database.
func (s *site) database() database {
	s.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(s.ctx, "ovsdb-client", "--format=json", "--data=json", "dump", s.lab.DB, "Open_vSwitch")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("ovsdb-client dump: %v: %s", err, stderr.String())
	}
	db := database{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var table struct {
			Caption  string
			Headings []string
			Data     [][]json.RawMessage
		}
		s.check(decoder.Decode(&table))
		rows := map[string]map[string]string{}
		for _, data := range table.Data {
			row := map[string]string{}
			for i, column := range table.Headings {
				if !slices.Contains(volatile, column) {
					row[column] = string(data[i])
				}
			}
			rows[row["_uuid"]] = row
		}
		db[strings.TrimSuffix(table.Caption, " table")] = rows
	}
	return db
}

// wantSame says which rows differ.
func (s *site) wantSame(what string, before, after database) {
	s.Helper()
	for _, table := range slices.Sorted(maps.Keys(before)) {
		for uuid, row := range before[table] {
			for column, old := range row {
				if now := after[table][uuid][column]; now != old {
					s.Errorf("%s: %s %s %s was %s and is %s", what, table, row["name"], column, old, now)
				}
			}
		}
		for uuid, row := range after[table] {
			if before[table][uuid] == nil {
				s.Errorf("%s: %s has a new row %v", what, table, row)
			}
		}
	}
}

// foreign is the database without what is ours: rows that say so, the Interfaces of ports that say so, the keys of
// Open_vSwitch that hold sessions, and the VLAN mode of ports that note the one before.
func (db database) foreign(s *site) database {
	s.Helper()
	rest := database{}
	ours := map[string]bool{}
	for _, table := range []string{"Mirror", "Port"} {
		for uuid, row := range db[table] {
			if pairs(s, row["external_ids"])["spanctl-managed"] == "true" {
				ours[uuid] = true
				if row["interfaces"] != "" {
					ours[row["interfaces"]] = true
				}
			}
		}
	}
	for table, rows := range db {
		rest[table] = map[string]map[string]string{}
		for uuid, row := range rows {
			if ours[uuid] {
				continue
			}
			row = maps.Clone(row)
			for column, value := range row {
				if strings.HasPrefix(value, `["set",`) {
					row[column] = without(s, value, ours)
				}
			}
			if ids, ok := row["external_ids"]; ok {
				kept := pairs(s, ids)
				if mode, saved := kept["spanctl-saved-vlan_mode"]; saved {
					row["vlan_mode"] = strconv.Quote(mode)
					if mode == "" {
						row["vlan_mode"] = `["set",[]]`
					}
				}
				maps.DeleteFunc(kept, func(key, _ string) bool {
					return strings.HasPrefix(key, "spanctl/") || strings.HasPrefix(key, "spanctl-saved-")
				})
				row["external_ids"] = fmt.Sprint(kept)
			}
			rest[table][uuid] = row
		}
	}
	return rest
}

// pairs decodes an OVSDB map of strings.
func pairs(s *site, text string) map[string]string {
	s.Helper()
	var value [2]json.RawMessage
	var list [][2]string
	s.check(json.Unmarshal([]byte(text), &value))
	s.check(json.Unmarshal(value[1], &list))
	m := map[string]string{}
	for _, pair := range list {
		m[pair[0]] = pair[1]
	}
	return m
}

// without is an OVSDB set without some of its members, sorted; of one member it is that member, as OVSDB writes it.
func without(s *site, text string, gone map[string]bool) string {
	s.Helper()
	var value [2]json.RawMessage
	var list []json.RawMessage
	s.check(json.Unmarshal([]byte(text), &value))
	s.check(json.Unmarshal(value[1], &list))
	list = slices.DeleteFunc(list, func(member json.RawMessage) bool { return gone[string(member)] })
	slices.SortFunc(list, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
	if len(list) == 1 {
		return string(list[0])
	}
	return fmt.Sprintf("%s", list)
}

// furnish puts rows and values of others into the database, some of them with names like ours.
func (s *site) furnish() {
	s.Helper()
	s.vsctl("set", "Open_vSwitch", ".", "external_ids:system-id=host-1", "external_ids:spanctl-note=mine", "other_config:vlan-limit=2",
		"--", "set", "Bridge", "br0", "external_ids:bridge-id=br0", "other_config:mac-aging-time=600",
		"--", "set", "Port", "vif-a", "external_ids:owner=x", "other_config:priority-tags=always",
		"--", "set", "Interface", "vif-a", "external_ids:iface-status=active", "external_ids:spanctl-role=guest",
		"--", "add-port", "br0", "patch0", "--", "set", "Interface", "patch0", "type=patch", "options:peer=patch1",
		"--", "add-port", "br0", "nodevice", "external_ids:spanctl-managed=false",
		"--", "--id=@q", "create", "QoS", "type=linux-noop", "--", "set", "Port", "vif-b", "qos=@q")
	s.mirrorByHand("spanctl-audit", "vif-b", "vif-tap") // named like ours
	s.mirrorByHand("ids", "vif-a", "vif-tap")
}

// mirrorByHand adds a mirror of another's making.
func (s *site) mirrorByHand(name, source, output string) {
	s.Helper()
	s.vsctl("--", "--id=@src", "get", "Port", source, "--", "--id=@out", "get", "Port", output,
		"--", "--id=@m", "create", "Mirror", "name="+name, "select_src_port=@src", "output_port=@out", "external_ids:owner=somebody",
		"--", "add", "Bridge", "br0", "mirrors", "@m")
}

func TestE2EOthersRowsAreNeverChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "tap", "audit2")
	s.add(guestConfig("audit", 10))
	s.furnish()
	before := s.database()
	foreign := before.foreign(s)
	for _, step := range []struct {
		args     []string
		sessions string
	}{
		{[]string{"apply"}, everything},
		{[]string{"apply"}, "  two: {sources: [{vm: a, vlans: [10]}], destinations: [{vm: audit2}], snaplen: 100}\n"},
		{[]string{"apply"}, stripped},
		{[]string{"apply"}, "  late: {sources: [{vm: a}], destinations: [{vm: absent}]}\n"},
		{[]string{"delete", "two"}, ""},
		{[]string{"apply", "--prune"}, "  rspan: {sources: [{vm: '[ab]'}], destinations: [{vlan: 999}]}\n"},
	} {
		if step.sessions != "" {
			step.args = append(step.args, "-f", s.policy(step.sessions))
		}
		s.want(exitOK, step.args...)
		s.wantSame(fmt.Sprint(step.args), foreign, s.database().foreign(s))
	}
	s.want(exitOK, "delete", "--all")
	s.wantSame("delete --all", before, s.database())
	s.want(exitOK, "delete", "--all")
	s.wantSame("delete --all of nothing", before, s.database())
}

// transactions is how many transactions the database's file has that spanctl has sent.
func (s *site) transactions() int {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.lab.Dir, "conf.db"))
	s.check(err)
	return bytes.Count(text, []byte(`"_comment":"spanctl `))
}

func TestE2ESecondApplySendsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit2")
	s.add(guestConfig("audit", 10))
	sessions := everything + "  two: {sources: [{vm: '*', vlans: [0, 10]}, {role: host}], destinations: [{vm: audit2}], snaplen: 100}\n" +
		"  late: {sources: [{vm: a}], destinations: [{vm: absent}]}\n"
	s.apply(sessions)
	if n := s.transactions(); n != 1 {
		t.Errorf("the first apply sent %d transactions, want 1", n)
	}
	before, number := s.database(), s.vsctl("get", "Open_vSwitch", ".", "next_cfg")
	for _, args := range [][]string{{"apply", "-f", s.policy(sessions)}, {"apply"}, {"apply", "--prune", "-f", s.policy(sessions)}} {
		if out := s.want(exitOK, args...); !strings.HasPrefix(out, "No changes") {
			t.Errorf("spanctl %s says\n%s", strings.Join(args, " "), out)
		}
	}
	if now := s.vsctl("--no-wait", "get", "Open_vSwitch", ".", "next_cfg"); now != number {
		t.Errorf("next_cfg was %s and is %s", number, now)
	}
	if n := s.transactions(); n != 1 {
		t.Errorf("%d transactions in all, want 1", n)
	}
	s.wantSame("second apply", before, s.database())
	// A change that moves no packet is one transaction, and leaves the mirrors alone.
	s.apply(strings.Replace(sessions, "role: all", "role: all, direction: both", 1))
	s.apply(strings.Replace(sessions, "  audit:", "  audit:\n    description: new words", 1))
	after := s.database()
	s.wantSame("new words", database{"Mirror": before["Mirror"], "Port": before["Port"]}, database{"Mirror": after["Mirror"], "Port": after["Port"]})
}
