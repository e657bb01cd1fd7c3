package ovs

import (
	"context"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
)

// Report stores keys of an agent in Open_vSwitch.external_ids, and removes others: leases and reports, which no plan
// rests on. ovs-vswitchd does not look at them.
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
	comment := "spanctl agent reports"
	b.add(ovsdb.Operation{Op: ovsdb.OperationComment, Comment: &comment})
	_, err := c.transact(ctx, b.ops)
	return err
}
