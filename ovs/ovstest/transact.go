package ovstest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// Transact runs operations (RFC 7047, section 5.2, each as JSON text) on the lab's database in one transaction, for what
// ovs-vsctl cannot say. It returns when ovs-vswitchd has taken the change in; without one (DatabaseOnly) it does not wait. A
// refused operation is an error, with what ovsdb-server says of it, and then none has been done.
func (l *Lab) Transact(ctx context.Context, operations ...string) error {
	request := []any{"Open_vSwitch"}
	for _, op := range operations {
		request = append(request, json.RawMessage(op))
	}
	request = append(request,
		json.RawMessage(`{"op":"mutate","table":"Open_vSwitch","where":[],"mutations":[["next_cfg","+=",1]]}`),
		json.RawMessage(`{"op":"select","table":"Open_vSwitch","where":[],"columns":["next_cfg"]}`))
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("writing a transaction: %w", err)
	}
	out, err := l.run(ctx, "ovsdb-client", toolTimeout(), "transact", l.DB, string(text))
	if err != nil {
		return err
	}
	var results []struct {
		Error, Details string
		Rows           []struct {
			Next int64 `json:"next_cfg"`
		}
	}
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		return fmt.Errorf("reading the results of a transaction: %w", err)
	}
	for i, r := range results {
		if r.Error != "" {
			return fmt.Errorf("operation %d of a transaction: %s: %s", i, r.Error, r.Details)
		}
	}
	if l.cfg.DatabaseOnly {
		return nil
	}
	next := results[len(results)-1].Rows[0].Next
	_, err = l.vsctl(ctx, "wait-until", "Open_vSwitch", ".", "cur_cfg>="+strconv.FormatInt(next, 10))
	return err
}
