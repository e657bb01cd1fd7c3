package ovs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// planOps builds the one transaction that carries a plan out: guards first,
// then the changes, next_cfg last. The index of the select that reads next_cfg
// back is returned with it.
func planOps(p *plan.Plan, comment string) (ops []ovsdb.Operation, nextCfg int, err error) {
	b := &builder{plan: p, encoder: newEncoder(p.Base), bridges: map[string]string{}}
	for i := range p.Base.Bridges {
		b.bridges[p.Base.Bridges[i].Name] = p.Base.Bridges[i].UUID
	}
	b.guards()
	b.nameRows()
	for i := range p.Changes {
		if err := b.change(&p.Changes[i]); err != nil {
			return nil, 0, fmt.Errorf("%s %s: %w", p.Changes[i].Table, p.Changes[i].Name, err)
		}
	}
	b.root()
	b.add(ovsdb.Operation{Op: ovsdb.OperationComment, Comment: &comment})
	root := []ovsdb.Condition{isUUID(p.Base.Root)}
	b.add(ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: vswitchd.OpenvSwitchTable, Where: root,
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("next_cfg", ovsdb.MutateOperationAdd, 1)},
	})
	b.add(selectNextCfg(p.Base.Root))
	return b.ops, len(b.ops) - 1, nil
}

func selectNextCfg(root string) ovsdb.Operation {
	return ovsdb.Operation{
		Op: ovsdb.OperationSelect, Table: vswitchd.OpenvSwitchTable, Where: []ovsdb.Condition{isUUID(root)}, Columns: []string{"next_cfg"},
	}
}

type builder struct {
	*encoder
	plan    *plan.Plan
	ops     []ovsdb.Operation
	named   int
	bridges map[string]string // UUID by name, or the name of a row that the transaction inserts
}

func (b *builder) add(op ovsdb.Operation) { b.ops = append(b.ops, op) }

// name makes a name for a row that the transaction inserts.
func (b *builder) name() string {
	b.named++
	return "row" + strconv.Itoa(b.named)
}

// nameRows names the bridges and ports that the transaction inserts, so that
// what it writes can refer to them.
func (b *builder) nameRows() {
	for i := range b.plan.Changes {
		switch c := &b.plan.Changes[i]; {
		case c.Action == plan.Create && c.Table == plan.TableBridge:
			b.bridges[c.Name], b.ports[c.Name] = b.name(), b.name()
		case c.Action == plan.Create && c.Table == plan.TablePort:
			b.ports[c.Name] = b.name()
		}
	}
}

func (b *builder) change(c *plan.Change) error {
	switch c.Table {
	case plan.TableIntent:
		return nil // see root
	case plan.TableBridge:
		return b.bridge(c)
	case plan.TableMirror:
		return b.mirror(c)
	case plan.TablePort:
		return b.port(c)
	}
	return fmt.Errorf("cannot be written")
}

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

// bridge makes a tap bridge with its internal port, as ovs-vsctl add-br does.
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
	b.insertPort(c.Name, ovsdb.Row{}, ovsdb.Row{"type": "internal"})
	row["name"], row["ports"] = c.Name, ovsdb.UUID{GoUUID: b.ports[c.Name]}
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

// row holds the new content of the columns whose name has the prefix, and of
// those without one if it is empty.
func (b *builder) row(c *plan.Change, prefix string) (ovsdb.Row, error) {
	row := ovsdb.Row{}
	for column, delta := range c.Columns {
		name, ok := strings.CutPrefix(column, prefix)
		if !ok || strings.Contains(name, ".") || column == "bridge" {
			continue
		}
		v, err := b.value(column, delta.New)
		if err != nil {
			return nil, err
		}
		row[name] = v
	}
	if options, ok := row["options"].(ovsdb.OvsMap); ok && options.GoMap["psk"] == plan.Secret {
		secret, err := readSecret(b.secretFile(c))
		if err != nil {
			return nil, err
		}
		options.GoMap["psk"] = secret
	}
	return row, nil
}

// secretFile names the file with the key of the tunnel that a change is about.
func (b *builder) secretFile(c *plan.Change) string {
	if ids, changed := c.Columns["interface.external_ids"]; changed {
		name, _ := pairs(ids.New)[plan.KeyPSKFile].(string)
		return name
	}
	return b.plan.Base.Bridge(c.Bridge).Port(c.Name).Interfaces[0].ExternalIDs[plan.KeyPSKFile]
}

// update sets the changed columns of an existing row, and of maps only the keys
// that are ours. A prefix stands for a Port's Interface.
func (b *builder) update(table string, c *plan.Change, prefix string) error {
	row, err := b.row(c, prefix)
	if err != nil {
		return err
	}
	uuid := c.UUID
	if prefix != "" {
		if len(row) == 0 {
			return nil
		}
		uuid = b.plan.Base.Bridge(c.Bridge).Port(c.Name).Interfaces[0].UUID
	}
	if mode, ok := c.Columns["vlan_mode"]; ok && prefix == "" {
		// The old mode is kept in external_ids: it must still be the old one.
		old, err := b.value("vlan_mode", mode.Old)
		if err != nil {
			return err
		}
		b.wait(table, uuid, ovsdb.NewCondition("vlan_mode", ovsdb.ConditionEqual, old))
	} else {
		b.exists(table, uuid)
	}
	for _, column := range slices.Sorted(maps.Keys(row)) {
		if kinds[prefix+column] == kindMap {
			delta := c.Columns[prefix+column]
			delete(row, column)
			b.keys(table, uuid, column, slices.Concat(keysOf(delta.Old), keysOf(delta.New)), pairs(delta.New))
		}
	}
	if len(row) > 0 {
		b.add(ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: table, Where: []ovsdb.Condition{isUUID(uuid)}, Row: row})
	}
	return nil
}

// keys removes keys from a row's map and then puts pairs in: other keys may be
// changed by others in the same moment.
func (b *builder) keys(table, uuid, column string, remove []string, put map[any]any) {
	var mutations []ovsdb.Mutation
	slices.Sort(remove)
	remove = slices.Compact(remove) // a set with duplicates is refused
	if len(remove) > 0 {
		set := make([]any, len(remove))
		for i, key := range remove {
			set[i] = key
		}
		mutations = append(mutations, *ovsdb.NewMutation(column, ovsdb.MutateOperationDelete, ovsdb.OvsSet{GoSet: set}))
	}
	if len(put) > 0 {
		mutations = append(mutations, *ovsdb.NewMutation(column, ovsdb.MutateOperationInsert, ovsdb.OvsMap{GoMap: put}))
	}
	if len(mutations) > 0 {
		b.add(ovsdb.Operation{Op: ovsdb.OperationMutate, Table: table, Where: []ovsdb.Condition{isUUID(uuid)}, Mutations: mutations})
	}
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

// root writes the changed intent and raises the revision. Both go when nothing
// of ours is left.
func (b *builder) root() {
	remove := []string{plan.KeyRevision}
	put := map[any]any{}
	for i := range b.plan.Changes {
		c := &b.plan.Changes[i]
		if c.Table != plan.TableIntent {
			continue
		}
		key := plan.KeyIntentPrefix + c.Name
		remove = append(remove, key)
		if c.Action != plan.Delete {
			put[key] = c.Columns["intent"].New[0]
		}
	}
	if len(b.plan.Outcomes) > 0 {
		n, _ := strconv.Atoi(b.plan.Base.Revision) // what is no number starts anew
		put[plan.KeyRevision] = strconv.Itoa(n + 1)
	}
	b.keys(vswitchd.OpenvSwitchTable, b.plan.Base.Root, "external_ids", remove, put)
}

func isUUID(uuid string) ovsdb.Condition {
	return ovsdb.NewCondition("_uuid", ovsdb.ConditionEqual, ovsdb.UUID{GoUUID: uuid})
}

func pairs(v plan.Value) map[any]any {
	m := map[any]any{}
	for _, atom := range v {
		key, value, _ := strings.Cut(atom, "=")
		m[key] = value
	}
	return m
}

func keysOf(v plan.Value) []string {
	var keys []string
	for key := range pairs(v) {
		keys = append(keys, key.(string))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// guards make the transaction fail if what the plan rests on has changed:
// another spanctl's writing, intent, the destinations' places. They name only
// what is used, so that a port that somebody adds meanwhile is no conflict.
func (b *builder) guards() {
	base := b.plan.Base
	revision := base.Revision
	if revision == "" {
		// An insert into a map leaves a key that is there alone (RFC 7047
		// section 5.1): of two writers that both saw no revision the second
		// does not find its own here.
		revision = "0"
		b.keys(vswitchd.OpenvSwitchTable, base.Root, "external_ids", nil, map[any]any{plan.KeyRevision: revision})
	}
	ids := map[any]any{plan.KeyRevision: revision}
	for name, raw := range base.Intent {
		ids[plan.KeyIntentPrefix+name] = raw
	}
	b.wait(vswitchd.OpenvSwitchTable, base.Root, ovsdb.NewCondition("external_ids", ovsdb.ConditionIncludes, ovsdb.OvsMap{GoMap: ids}))
	// Where ports are, those that mirrors output to and those that move; and the
	// bridges that get something.
	used := map[string]bool{}
	for i := range b.plan.Changes {
		c := &b.plan.Changes[i]
		for _, name := range c.Columns["output_port"].New {
			used[name] = true
		}
		if _, moves := c.Columns["bridge"]; moves {
			used[c.Name] = true
		}
		if c.Action == plan.Create && c.Bridge != "" && base.Bridge(c.Bridge) != nil {
			b.exists(vswitchd.BridgeTable, base.Bridge(c.Bridge).UUID)
		}
	}
	for i := range base.Bridges {
		for p := range base.Bridges[i].Ports {
			if port := &base.Bridges[i].Ports[p]; used[port.Name] {
				b.wait(vswitchd.BridgeTable, base.Bridges[i].UUID, ovsdb.NewCondition("ports", ovsdb.ConditionIncludes, ovsdb.UUID{GoUUID: port.UUID}))
			}
		}
	}
}

// exists makes the transaction fail if the row is gone.
func (b *builder) exists(table, uuid string) { b.wait(table, uuid) }

// wait makes the transaction fail at once unless the row fulfils the
// conditions. Its error is "timed out", RFC 7047 section 5.2.6.
func (b *builder) wait(table, uuid string, conditions ...ovsdb.Condition) {
	b.add(waitFor(table, uuid, 0, conditions...))
}

func waitFor(table, uuid string, milliseconds int, conditions ...ovsdb.Condition) ovsdb.Operation {
	return ovsdb.Operation{
		Op: ovsdb.OperationWait, Table: table, Timeout: &milliseconds, Until: string(ovsdb.WaitConditionEqual),
		Where:   append([]ovsdb.Condition{isUUID(uuid)}, conditions...),
		Columns: []string{"_uuid"},
		Rows:    []ovsdb.Row{{"_uuid": ovsdb.UUID{GoUUID: uuid}}},
	}
}
