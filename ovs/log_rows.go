package ovs

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// loggedRows are the rows that a log has told of so far, as far as it matters whose
// they are: their external_ids.
type loggedRows struct {
	ids    map[string]map[string]string // by UUID, of all tables
	portOf map[string]string            // by UUID of an Interface
}

func newLoggedRows() *loggedRows {
	return &loggedRows{ids: map[string]map[string]string{}, portOf: map[string]string{}}
}

// replay takes a transaction in, and tells what it did to rows of ours.
func (l *loggedRows) replay(r *record) (Transaction, error) {
	t := Transaction{Time: r.time, Comment: r.comment}
	t.trace()
	rows := map[plan.Table]map[string]plan.Action{plan.TableIntent: {}, plan.TableBridge: {}, plan.TablePort: {}, plan.TableMirror: {}}
	for _, name := range []string{vswitchd.OpenvSwitchTable, vswitchd.BridgeTable, vswitchd.PortTable, vswitchd.MirrorTable} {
		for uuid, row := range r.tables[name] {
			before, after, err := l.change(uuid, row, r.diff)
			if err != nil {
				return t, fmt.Errorf("table %s: row %s: %w", name, uuid, err)
			}
			switch {
			case name == vswitchd.OpenvSwitchTable:
				intents(&t, rows[plan.TableIntent], before, after)
			case ours(before) || ours(after):
				rows[plan.Table(name)][uuid] = action(before != nil, after != nil)
				t.serves(before, after)
			}
		}
	}
	for uuid := range r.tables[vswitchd.InterfaceTable] {
		port := l.portOf[uuid]
		if _, counted := rows[plan.TablePort][port]; !counted && ours(l.ids[port]) {
			rows[plan.TablePort][port] = plan.Update
			t.serves(l.ids[port])
		}
	}
	for _, table := range []plan.Table{plan.TableIntent, plan.TableBridge, plan.TablePort, plan.TableMirror} {
		count := Rows{Table: table}
		for _, a := range rows[table] {
			switch a {
			case plan.Create:
				count.Created++
			case plan.Update:
				count.Changed++
			case plan.Delete:
				count.Removed++
			}
		}
		if len(rows[table]) > 0 {
			t.Rows = append(t.Rows, count)
		}
	}
	return t, nil
}

// serves adds the sessions of rows with these external_ids.
func (t *Transaction) serves(rows ...map[string]string) {
	for _, ids := range rows {
		for session := range strings.SplitSeq(ids[plan.KeySession], ",") {
			if session != "" {
				t.add(session)
			}
		}
	}
}

// ours reports whether a row with these external_ids is ours or, a Port, borrowed.
func ours(ids map[string]string) bool {
	for key := range ids {
		if strings.HasPrefix(key, plan.KeySavedPrefix) {
			return true
		}
	}
	return ids[plan.KeyManaged] == "true"
}

func action(before, after bool) plan.Action {
	switch {
	case !before:
		return plan.Create
	case !after:
		return plan.Delete
	}
	return plan.Update
}

// change takes in what becomes of a row, and returns its external_ids before and after:
// nil if there is no row.
func (l *loggedRows) change(uuid string, row loggedRow, diff bool) (before, after map[string]string, err error) {
	before = l.ids[uuid]
	if row == nil {
		delete(l.ids, uuid)
		return before, nil, nil
	}
	after = maps.Clone(before)
	if after == nil {
		after = map[string]string{}
	}
	if raw, changed := row["external_ids"]; changed {
		ids, err := decodeMap(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("external_ids: %w", err)
		}
		if before != nil && diff {
			patch(after, ids)
		} else {
			after = ids
		}
	}
	if raw, changed := row["interfaces"]; changed { // of a Port
		uuids, err := decodeUUIDs(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("interfaces: %w", err)
		}
		for _, iface := range uuids {
			l.portOf[iface] = uuid
		}
	}
	l.ids[uuid] = after
	return before, after, nil
}

// patch applies the difference of a map as ovsdb-server writes it: a pair that is there
// goes, any other is there then.
func patch(m, diff map[string]string) {
	for key, value := range diff {
		if old, there := m[key]; there && old == value {
			delete(m, key)
		} else {
			m[key] = value
		}
	}
}

// intents tells which sessions were stored, changed or deleted.
func intents(t *Transaction, rows map[string]plan.Action, before, after map[string]string) {
	for _, ids := range []map[string]string{before, after} {
		for key := range ids {
			name, ok := strings.CutPrefix(key, plan.KeyIntentPrefix)
			if !ok {
				continue
			}
			old, was := before[key]
			text, is := after[key]
			if was && is && old == text {
				continue
			}
			if !is {
				text = old
			}
			var session struct{ Reason string }
			_ = json.Unmarshal([]byte(text), &session) // what others wrote badly has no reason
			s := t.add(name)
			s.Intent, s.Why = action(was, is), session.Reason
			rows[name] = s.Intent
		}
	}
}
