package ovs

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A record is one transaction of the log.
type record struct {
	time    time.Time
	comment string
	// diff tells that columns of rows that were there before hold what changes of them
	// (since OVS 2.15), else what they are then.
	diff   bool
	tables map[string]map[string]loggedRow // by table and UUID; null for a deleted row
}

// A loggedRow holds columns as they are on the wire, RFC 7047 section 5.1.
type loggedRow map[string]json.RawMessage

func parseRecord(text []byte) (*record, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	r := &record{tables: map[string]map[string]loggedRow{}}
	var date int64
	for name, at := range map[string]any{"_date": &date, "_comment": &r.comment, "_is_diff": &r.diff} {
		if raw, there := members[name]; there {
			if err := json.Unmarshal(raw, at); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if r.time = time.UnixMilli(date).UTC(); date < 1<<32 {
		r.time = time.Unix(date, 0).UTC() // as early versions wrote it, ovsdb(5)
	}
	for name, raw := range members {
		if strings.HasPrefix(name, "_") {
			continue
		}
		var table map[string]loggedRow
		if err := json.Unmarshal(raw, &table); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		r.tables[name] = table
	}
	return r, nil
}
