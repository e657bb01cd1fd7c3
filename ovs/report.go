package ovs

import (
	"context"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// The comments of transactions that change nothing of what is copied: history leaves them out.
const (
	commentLease  = "spanctl agent: lease"
	commentReport = "spanctl agent reports"
	commentMark   = "spanctl clears the mark of one that was killed"
)

// keepsBooks reports whether a comment is one of these.
func keepsBooks(comment string) bool {
	return comment == commentLease || comment == commentReport || comment == commentMark
}

// Lease puts an agent's lease in the place of the one that was there, both as texts and empty for none. It is ErrConflict
// if another one is there by now.
func (c *Conn) Lease(ctx context.Context, root, before, lease string) error {
	b := &builder{}
	var mutations []ovsdb.Mutation
	pair := func(text string) ovsdb.OvsMap { return ovsdb.OvsMap{GoMap: map[any]any{plan.KeyAgent: text}} }
	if before != "" { // a pair is removed if it is just that (RFC 7047 section 5.1)
		mutations = append(mutations, *ovsdb.NewMutation("external_ids", ovsdb.MutateOperationDelete, pair(before)))
	} else { // what cannot be read is no lease
		mutations = append(mutations, *ovsdb.NewMutation("external_ids", ovsdb.MutateOperationDelete, ovsdb.OvsSet{GoSet: []any{plan.KeyAgent}}))
	}
	if lease != "" { // and is inserted if there is none of that key
		mutations = append(mutations, *ovsdb.NewMutation("external_ids", ovsdb.MutateOperationInsert, pair(lease)))
	}
	b.add(ovsdb.Operation{Op: ovsdb.OperationMutate, Table: vswitchd.OpenvSwitchTable, Where: []ovsdb.Condition{isUUID(root)}, Mutations: mutations})
	if lease != "" {
		b.wait(vswitchd.OpenvSwitchTable, root, ovsdb.NewCondition("external_ids", ovsdb.ConditionIncludes, pair(lease)))
	}
	comment := commentLease
	b.add(ovsdb.Operation{Op: ovsdb.OperationComment, Comment: &comment})
	_, err := c.transact(ctx, b.ops)
	return err
}

// Report stores reports of an agent in Open_vSwitch.external_ids, by key, and removes others. No plan rests on them, and
// ovs-vswitchd does not look at them.
func (c *Conn) Report(ctx context.Context, root string, put map[string]string, remove []string) error {
	b := &builder{}
	values := map[any]any{}
	for key, text := range put {
		remove = append(remove, key)
		values[key] = text
	}
	b.keys(vswitchd.OpenvSwitchTable, root, "external_ids", remove, values)
	if len(b.ops) == 0 {
		return nil
	}
	comment := commentReport
	b.add(ovsdb.Operation{Op: ovsdb.OperationComment, Comment: &comment})
	_, err := c.transact(ctx, b.ops)
	return err
}
