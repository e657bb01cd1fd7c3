package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

// timeFormat is RFC 3339 with milliseconds, which OVSDB's log has.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func (v *textView) history(h *ovs.History, file string) error {
	var b bytes.Buffer
	if !h.Cut.IsZero() {
		fmt.Fprintf(&b, "%s was compacted at %s: what was before is gone.\n", file, h.Cut.Format(timeFormat))
	}
	if len(h.Transactions) == 0 {
		b.WriteString("There are no such transactions of spanctl.\n")
	}
	for i := range h.Transactions {
		v.writeTransaction(&b, &h.Transactions[i])
	}
	return v.flush(&b)
}

// writeTransaction writes when and by whom, a line a session, and one for the rows that
// were made, changed and removed.
func (v *textView) writeTransaction(b *bytes.Buffer, t *ovs.Transaction) {
	who := strconv.Quote(t.Comment)
	if t.Trail != nil {
		who = fmt.Sprintf("%s by %s (pid %d) %s", printable(t.Trail.Verb), printable(t.Trail.By), t.Trail.PID, printable(t.Trail.Step))
	}
	fmt.Fprintf(b, "%s  %s\n", t.Time.Format(timeFormat), strings.TrimSpace(who))
	for i := range t.Sessions {
		s := &t.Sessions[i]
		symbol, name := " ", "no session"
		if s.Intent != "" {
			symbol = v.paint(s.Intent)
		}
		if s.Name != "" {
			name = "session " + printable(s.Name)
		}
		var why []string
		for _, reason := range s.Reasons {
			why = append(why, printable(string(reason)))
		}
		fmt.Fprintf(b, "  %s %s", symbol, name)
		if len(why) > 0 {
			fmt.Fprintf(b, "  %s", strings.Join(why, ", "))
		}
		if s.Why != "" {
			fmt.Fprintf(b, "  %s", strconv.Quote(s.Why))
		}
		b.WriteString("\n")
	}
	for _, action := range []plan.Action{plan.Create, plan.Update, plan.Delete} {
		var counts []string
		for _, r := range t.Rows {
			n := map[plan.Action]int{plan.Create: r.Created, plan.Update: r.Changed, plan.Delete: r.Removed}[action]
			if n > 0 && r.Table != plan.TableIntent { // sessions have lines of their own
				counts = append(counts, count(n, strings.ToLower(string(r.Table))))
			}
		}
		if len(counts) > 0 {
			fmt.Fprintf(b, "  %s %s\n", v.paint(action), strings.Join(counts, ", "))
		}
	}
}

// printable is a text of the log, which may be anybody's, quoted if a terminal could take
// it for more than text.
func printable(text string) string {
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` && quoted != `"`+strings.ReplaceAll(text, `\`, `\\`)+`"` {
		return quoted
	}
	return text
}

type jsonTransaction struct {
	Time     string              `json:"time"`
	Verb     string              `json:"verb,omitempty"`
	By       string              `json:"by,omitempty"`
	PID      int                 `json:"pid,omitempty"`
	Step     string              `json:"step,omitempty"`
	Sessions []jsonTracedSession `json:"sessions"`
	Rows     []jsonRows          `json:"rows"`
	Comment  string              `json:"comment"`
}

type jsonTracedSession struct {
	Name         string        `json:"name"`
	Reasons      []plan.Reason `json:"reasons"`
	Action       string        `json:"action,omitempty"` // on the stored session
	PolicyReason string        `json:"policy_reason,omitempty"`
}

type jsonRows struct {
	Table   plan.Table `json:"table"`
	Created int        `json:"created"`
	Changed int        `json:"changed"`
	Removed int        `json:"removed"`
}

func (v *jsonView) history(h *ovs.History, file string) error {
	doc := struct {
		FormatVersion int               `json:"format_version"`
		File          string            `json:"file"`
		Compacted     string            `json:"compacted,omitempty"` // when: what was before is gone
		Transactions  []jsonTransaction `json:"transactions"`
	}{FormatVersion: plan.FormatVersion, File: file, Transactions: []jsonTransaction{}}
	if !h.Cut.IsZero() {
		doc.Compacted = h.Cut.Format(timeFormat)
	}
	for i := range h.Transactions {
		doc.Transactions = append(doc.Transactions, newJSONTransaction(&h.Transactions[i]))
	}
	return v.write(doc)
}

func newJSONTransaction(t *ovs.Transaction) jsonTransaction {
	doc := jsonTransaction{Time: t.Time.Format(timeFormat), Sessions: []jsonTracedSession{}, Rows: []jsonRows{}, Comment: t.Comment}
	if t.Trail != nil {
		doc.Verb, doc.By, doc.PID, doc.Step = t.Trail.Verb, t.Trail.By, t.Trail.PID, t.Trail.Step
	}
	for _, s := range t.Sessions {
		doc.Sessions = append(doc.Sessions, jsonTracedSession{s.Name, append([]plan.Reason{}, s.Reasons...), actionNames[s.Intent], s.Why})
	}
	for _, r := range t.Rows {
		doc.Rows = append(doc.Rows, jsonRows(r))
	}
	return doc
}
