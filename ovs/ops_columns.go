package ovs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/policy/plan"
)

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

// interfaceOf is the only Interface of a port that is there, nil if it has none.
func (b *builder) interfaceOf(port string) *plan.Interface {
	for i := range b.plan.Base.Bridges {
		if p := b.plan.Base.Bridges[i].Port(port); p != nil && len(p.Interfaces) > 0 {
			return &p.Interfaces[0]
		}
	}
	return nil
}

// secretFile names the file with the key of the tunnel that a change is about.
func (b *builder) secretFile(c *plan.Change) string {
	if ids, changed := c.Columns["interface.external_ids"]; changed {
		name, _ := pairs(ids.New)[plan.KeyPSKFile].(string)
		return name
	}
	if iface := b.interfaceOf(c.Name); iface != nil {
		return iface.ExternalIDs[plan.KeyPSKFile]
	}
	return ""
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
		iface := b.interfaceOf(c.Name)
		if iface == nil {
			return fmt.Errorf("its Interface is not there")
		}
		uuid = iface.UUID
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
