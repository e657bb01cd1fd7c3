package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// history is what spanctl history tells of the database's log, a line a transaction.
func (s *site) history(args ...string) (lines []string, compacted string) {
	s.Helper()
	var doc struct {
		Compacted    string
		Transactions []jsonTransaction
	}
	s.check(json.Unmarshal([]byte(s.want(exitOK, append([]string{"history", "-o", "json"}, args...)...)), &doc))
	last := ""
	for _, t := range doc.Transactions {
		if _, err := time.Parse(time.RFC3339, t.Time); err != nil || t.Time < last || !strings.HasSuffix(t.Time, "Z") {
			s.Errorf("%s comes after %s: %v", t.Time, last, err)
		}
		if last = t.Time; t.PID != os.Getpid() || !strings.Contains(t.By, "@") {
			s.Errorf("%s, pid %d", t.By, t.PID)
		}
		line := strings.TrimSpace(t.Verb + " " + t.Step)
		for _, session := range t.Sessions {
			line += fmt.Sprintf("; %s %s %v", session.Name, session.Action, session.Reasons)
		}
		for _, r := range t.Rows {
			line += fmt.Sprintf("; %s +%d ~%d -%d", r.Table, r.Created, r.Changed, r.Removed)
		}
		lines = append(lines, line)
	}
	return lines, doc.Compacted
}

func (s *site) wantHistory(got, want []string) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("history:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Every step of a session's life is in the log, and read back from it.
func TestE2EHistory(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.apply("  audit: {sources: [{vm: a}], destinations: [{vm: audit}]}\n")
	s.apply("  audit: {sources: [{vm: a}], destinations: [{vm: audit}], exclude: [{protocol: udp}]}\n")
	s.apply("  audit: {sources: [{vm: a}], destinations: [{vm: audit}], exclude: [{protocol: tcp}]}\n") // rules alone
	s.vsctl("clear", "Bridge", "br0", "mirrors")
	s.want(exitOK, "apply")
	s.want(exitOK, "delete", "audit")
	s.want(exitOK, "apply") // nothing to do
	want := []string{
		"apply; audit create [session-new]; session +1 ~0 -0; Port +1 ~0 -0; Mirror +1 ~0 -0",
		"apply prepares; audit  [session-changed]; Bridge +1 ~0 -0; Port +2 ~0 -0",
		"apply; audit update [borrow session-changed]; session +0 ~1 -0; Bridge +0 ~1 -0; Port +0 ~2 -0; Mirror +0 ~1 -0",
		"apply prepares", // that rules change
		"apply; audit update [session-changed]; session +0 ~1 -0",
		"apply; audit  [row-missing]; Port +0 ~1 -0; Mirror +1 ~0 -0",
		"delete;   [give-back]; audit delete [session-deleted]; session +0 ~0 -1; Bridge +0 ~0 -1; Port +0 ~2 -2; Mirror +0 ~0 -1",
		"delete;   [running-connections]; Port +0 ~0 -1",
	}
	lines, compacted := s.history()
	s.wantHistory(lines, want)
	if compacted != "" {
		s.Errorf("compacted %s", compacted)
	}
	lines, _ = s.history("audit")
	s.wantHistory(lines, slices.DeleteFunc(want, func(line string) bool { return !strings.Contains(line, "audit") }))

	out, err := exec.CommandContext(s.ctx, "ovs-appctl", "-t", filepath.Join(s.lab.Dir, "ovsdb-server.ctl"), "ovsdb-server/compact").CombinedOutput()
	if err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	s.apply("  two: {sources: [{vm: b}], destinations: [{vm: audit}]}\n")
	lines, compacted = s.history()
	s.wantHistory(lines, []string{"apply; two create [session-new]; session +1 ~0 -0; Port +1 ~0 -0; Mirror +1 ~0 -0"})
	if _, err := time.Parse(time.RFC3339, compacted); err != nil {
		s.Error(err)
	}
}
