package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A database is every row, by table and UUID, with its columns as they are on the wire.
type database map[string]map[string]map[string]json.RawMessage

// ofItself are the columns that change while nobody does anything: what ovs-vswitchd counts and finds. (The error of a patch
// port without peer comes and goes with each configuration.)
var ofItself = []string{"_version", "statistics", "status", "ifindex", "link_state", "link_resets", "mac_in_use", "error"}

// configuration numbers change with every transaction that ovs-vswitchd shall take in.
var configuration = []string{"next_cfg", "cur_cfg"}

// database reads all tables at one moment, by one transaction as RFC 7047 has it.
func (s *site) database() database {
	s.Helper()
	conn, err := net.Dial("unix", filepath.Join(s.lab.Dir, "db.sock"))
	s.check(err)
	defer conn.Close()
	if deadline, ok := s.ctx.Deadline(); ok {
		s.check(conn.SetDeadline(deadline))
	}
	answers := json.NewDecoder(conn)
	call := func(method string, params []any, result any) {
		s.Helper()
		answer := struct{ Result, Error any }{Result: result}
		s.check(json.NewEncoder(conn).Encode(map[string]any{"method": method, "params": params, "id": 1}))
		s.check(answers.Decode(&answer))
		if answer.Error != nil {
			s.Fatal(answer.Error)
		}
	}
	var schema struct{ Tables map[string]struct{} }
	call("get_schema", []any{"Open_vSwitch"}, &schema)
	params := []any{"Open_vSwitch"}
	var tables []string
	for table := range schema.Tables {
		tables = append(tables, table)
		params = append(params, map[string]any{"op": "select", "table": table, "where": []any{}})
	}
	var selected []struct{ Rows []map[string]json.RawMessage }
	call("transact", params, &selected)
	db := database{}
	for i, table := range tables {
		db[table] = map[string]map[string]json.RawMessage{}
		for _, row := range selected[i].Rows {
			db[table][string(row["_uuid"])] = row
		}
	}
	return db
}

// lines are the columns of all rows, sorted, one a line.
func (db database) lines(without ...[]string) []string {
	omit := slices.Concat(without...)
	var lines []string
	for table, rows := range db {
		for uuid, row := range rows {
			for column, value := range row {
				if !slices.Contains(omit, column) {
					lines = append(lines, fmt.Sprintf("%s %s %s %s %s", table, uuid, row["name"], column, value))
				}
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// wantSame says what the databases differ in, besides some columns.
func (s *site) wantSame(what string, before, after database, without ...[]string) {
	s.Helper()
	was, is := before.lines(without...), after.lines(without...)
	for _, line := range was {
		if _, same := slices.BinarySearch(is, line); !same {
			s.Errorf("%s: was %s", what, line)
		}
	}
	for _, line := range is {
		if _, same := slices.BinarySearch(was, line); !same {
			s.Errorf("%s: is  %s", what, line)
		}
	}
}

// pairs are a map column's, as KEY=VALUE, sorted.
func (s *site) pairs(value json.RawMessage) []string {
	s.Helper()
	var atom [2]any
	s.check(json.Unmarshal(value, &atom))
	var list []string
	for _, pair := range atom[1].([]any) {
		list = append(list, fmt.Sprintf("%v=%v", pair.([]any)...))
	}
	slices.Sort(list)
	return list
}

// ours is what spanctl has made of the database: intent, mirrors and what it borrows; and apart from it the turns, with
// their flag (docs/decisions/0003).
func (s *site) ours() (state, turns string) {
	s.Helper()
	var lines, flags []string
	db := s.database()
	for _, row := range db["Open_vSwitch"] {
		for _, pair := range s.pairs(row["external_ids"]) {
			if strings.HasPrefix(pair, "spanctl/session/") {
				lines = append(lines, pair)
			}
		}
	}
	for table, columns := range map[string][]string{
		"Mirror": {"name", "select_all", "select_src_port", "select_dst_port", "select_vlan", "output_port", "output_vlan", "snaplen", "external_ids"},
		"Port":   {"name", "tag", "trunks", "vlan_mode", "external_ids"},
	} {
		for _, row := range db[table] {
			line := table
			for _, column := range columns {
				line += fmt.Sprintf(" %s=%s", column, row[column])
			}
			if table == "Port" && strings.Contains(string(row["external_ids"]), "spanctl-managed") {
				flags = append(flags, fmt.Sprintf("%s protected=%s", line, row["protected"]))
			} else {
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	slices.Sort(flags)
	return strings.Join(lines, "\n"), strings.Join(flags, "\n")
}

// transactions is how many of the database's transactions are changes of spanctl's, by their comments: neither an agent's
// leases nor its reports, nor marks that are cleared.
func (s *site) transactions() int {
	s.Helper()
	log, err := os.ReadFile(filepath.Join(s.lab.Dir, "conf.db"))
	s.check(err)
	count := func(comment string) int { return bytes.Count(log, []byte(`"_comment":"spanctl `+comment)) }
	return count("") - count("agent: lease") - count("agent reports") - count("clears the mark")
}
