package ovs

import (
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

func (b *builder) mirror(c *plan.Change) error {
	switch c.Action {
	case plan.Delete:
		// Mirror is no root table: taken out of its bridge, the row goes.
		b.inBridge(c.Bridge, "mirrors", ovsdb.MutateOperationDelete, c.UUID)
		return nil
	case plan.Update:
		return b.update(vswitchd.MirrorTable, c, "")
	}
	row, err := b.row(c, "")
	if err != nil {
		return err
	}
	row["name"] = c.Name
	name := b.name()
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitchd.MirrorTable, UUIDName: name, Row: row})
	b.inBridge(c.Bridge, "mirrors", ovsdb.MutateOperationInsert, name)
	return nil
}

// bridge makes a tap bridge, without a port of its own name.
func (b *builder) bridge(c *plan.Change) error {
	root := func(mutator ovsdb.Mutator) {
		b.add(ovsdb.Operation{
			Op: ovsdb.OperationMutate, Table: vswitchd.OpenvSwitchTable, Where: []ovsdb.Condition{isUUID(b.plan.Base.Root)},
			Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("bridges", mutator, ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: b.bridges[c.Name]}}})},
		})
	}
	switch c.Action {
	case plan.Delete:
		root(ovsdb.MutateOperationDelete)
		return nil
	case plan.Update:
		return b.update(vswitchd.BridgeTable, c, "")
	}
	row, err := b.row(c, "")
	if err != nil {
		return err
	}
	row["name"] = c.Name
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitchd.BridgeTable, UUIDName: b.bridges[c.Name], Row: row})
	root(ovsdb.MutateOperationInsert)
	return nil
}

func (b *builder) port(c *plan.Change) error {
	switch c.Action {
	case plan.Delete:
		b.inBridge(c.Bridge, "ports", ovsdb.MutateOperationDelete, c.UUID)
		return nil
	case plan.Update:
		if moved, ok := c.Columns["bridge"]; ok {
			b.inBridge(moved.Old[0], "ports", ovsdb.MutateOperationDelete, c.UUID)
			b.inBridge(moved.New[0], "ports", ovsdb.MutateOperationInsert, c.UUID)
		}
		if err := b.update(vswitchd.PortTable, c, ""); err != nil {
			return err
		}
		return b.update(vswitchd.InterfaceTable, c, "interface.")
	}
	iface, err := b.row(c, "interface.")
	if err != nil {
		return err
	}
	port, err := b.row(c, "")
	if err != nil {
		return err
	}
	b.insertPort(c.Name, port, iface)
	b.inBridge(c.Bridge, "ports", ovsdb.MutateOperationInsert, b.ports[c.Name])
	return nil
}

// insertPort inserts a Port with its one Interface; it is not on a bridge yet.
func (b *builder) insertPort(name string, port, iface ovsdb.Row) {
	ifaceName := b.name()
	iface["name"], port["name"] = name, name
	port["interfaces"] = ovsdb.UUID{GoUUID: ifaceName}
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitchd.InterfaceTable, UUIDName: ifaceName, Row: iface})
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitchd.PortTable, UUIDName: b.ports[name], Row: port})
}

// inBridge adds or removes one reference in a set of a bridge, which others
// change too.
func (b *builder) inBridge(bridge, column string, mutator ovsdb.Mutator, uuid string) {
	b.add(ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: vswitchd.BridgeTable,
		Where:     []ovsdb.Condition{isUUID(b.bridges[bridge])},
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation(column, mutator, ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: uuid}}})},
	})
}
