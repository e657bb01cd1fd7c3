package ovs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"spanctl/policy/plan"
)

// History is what a database's log, or the journal, tells of spanctl's transactions.
type History struct {
	// Cut is when ovsdb-server last compacted the log: what was before is gone. It is
	// zero if the log is whole.
	Cut time.Time
	// Transactions are in the order in which they were committed, without those by which an
	// agent renews its lease and stores reports.
	Transactions []Transaction
}

// A Transaction is one of spanctl's, as the log has it.
type Transaction struct {
	Time    time.Time
	Comment string
	// Trail is what the comment says, nil if it is not understood.
	Trail *Trail
	// Rows are the rows of ours that it made, changed and removed, by table: those of
	// spanctl, and borrowed ports. A Port counts with its Interfaces. Rules are not in
	// OVSDB.
	Rows []Rows
	// Sessions are all that the comment names, that were stored, changed or deleted, or
	// that the rows serve, sorted by name.
	Sessions []TracedSession
}

// Rows counts what a transaction did to the rows of a table.
type Rows struct {
	Table                     plan.Table
	Created, Changed, Removed int
}

// A TracedSession is what a transaction did for a session. The one without a name
// stands for rows that serve none.
type TracedSession struct {
	Name    string
	Reasons []plan.Reason
	// Intent is what became of the stored session, empty if it stayed as it was.
	Intent plan.Action
	// Why is the reason that the session's policy gives, if Intent is not empty: of a
	// deleted one that which it had.
	Why string
}

// ReadHistory reads the log of an Open_vSwitch database, ovsdb(5), or what journalctl
// -o json --all prints of spanctl's own log, which tells of no rows. A last record that
// is not whole, since it is being written, is left out. With ErrDamaged comes
// what is before the damage.
func ReadHistory(ctx context.Context, log io.Reader) (*History, error) {
	buffered := bufio.NewReader(log)
	if first, err := buffered.Peek(1); err == nil && first[0] == '{' {
		return readJournal(ctx, buffered)
	}
	in, err := newLogReader(buffered)
	if err != nil {
		return nil, err
	}
	h := &History{}
	rows := newLoggedRows()
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading the log: %w; it may take more --timeout", err)
		}
		text, err := in.next()
		if errors.Is(err, io.EOF) {
			return h, nil
		} else if err != nil {
			return h, err
		}
		record, err := parseRecord(text)
		if err != nil {
			return h, in.damaged(err.Error())
		}
		t, err := rows.replay(record)
		if err != nil {
			return h, in.damaged(err.Error())
		}
		// "compacting database online", "compacted by ovsdb-tool VERSION", "converted by …":
		// what there was then, in one record.
		if first && (strings.HasPrefix(record.comment, "compact") || strings.HasPrefix(record.comment, "converted")) {
			h.Cut = record.time
		}
		if strings.HasPrefix(record.comment, "spanctl ") && !keepsBooks(record.comment) {
			h.Transactions = append(h.Transactions, t)
		}
	}
}

// add returns what is known of a session, by the comment and by the rows.
func (t *Transaction) add(name string) *TracedSession {
	at, there := slices.BinarySearchFunc(t.Sessions, name, func(s TracedSession, name string) int { return strings.Compare(s.Name, name) })
	if !there {
		t.Sessions = slices.Insert(t.Sessions, at, TracedSession{Name: name})
	}
	return &t.Sessions[at]
}

// trace reads the comment.
func (t *Transaction) trace() {
	trail, ok := ParseTrail(t.Comment)
	if !ok {
		return
	}
	t.Trail = &trail
	for _, name := range slices.Sorted(maps.Keys(trail.Sessions)) {
		t.add(name).Reasons = trail.Sessions[name]
	}
}
