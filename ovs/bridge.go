package ovs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// A BridgeRow is a bridge to be made (ovs-vswitchd.conf.db(5)). What is zero is left to the defaults of Open vSwitch.
type BridgeRow struct {
	Name          string            `json:"name"`
	Datapath      string            `json:"datapath_type"`
	STP           bool              `json:"stp_enable"`
	McastSnooping bool              `json:"mcast_snooping_enable"`
	OtherConfig   map[string]string `json:"other_config,omitempty"`
	ExternalIDs   map[string]string `json:"external_ids,omitempty"`
	Ports         []PortRow         `json:"ports"`
}

// A PortRow is a port to be made, with its one interface.
type PortRow struct {
	Name        string            `json:"name"`
	Type        string            `json:"type"`          // of the interface; empty is a network device of the system
	Tag         int               `json:"tag,omitempty"` // 0 is none
	Trunks      []int             `json:"trunks,omitempty"`
	VLANMode    string            `json:"vlan_mode,omitempty"`
	Protected   bool              `json:"protected"`
	MTU         int               `json:"mtu_request,omitempty"` // 0 is none
	OtherConfig map[string]string `json:"other_config,omitempty"`
	ExternalIDs map[string]string `json:"external_ids,omitempty"` // of the interface
}

// AddBridge makes a bridge with its ports in one transaction and returns its configuration number, for
// [Conn.WaitForConfig]. It is ErrConflict if there is a bridge of that name.
func (c *Conn) AddBridge(ctx context.Context, row BridgeRow, comment string) (nextCfg int, err error) {
	snap, err := c.Observe(ctx)
	if err != nil {
		return 0, err
	}
	b := &builder{encoder: &encoder{ports: map[string]string{}}}
	ports := b.insertPorts(row.Ports)
	bridge := ovsdb.Row{
		"name": row.Name, "datapath_type": row.Datapath, "stp_enable": row.STP, "mcast_snooping_enable": row.McastSnooping,
		"other_config": mapOf(row.OtherConfig), "external_ids": mapOf(row.ExternalIDs), "ports": ovsdb.OvsSet{GoSet: ports},
	}
	name := b.name()
	b.add(ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitchd.BridgeTable, UUIDName: name, Row: bridge})
	b.mutate(vswitchd.OpenvSwitchTable, isUUID(snap.Root), "bridges", ovsdb.MutateOperationInsert, ovsdb.UUID{GoUUID: name})
	return c.transactNext(ctx, b, snap.Root, comment)
}

// AddPorts makes ports on a bridge in one transaction, as AddBridge does. It is ErrConflict if one is there already.
func (c *Conn) AddPorts(ctx context.Context, bridge string, ports []PortRow, comment string) (nextCfg int, err error) {
	snap, err := c.Observe(ctx)
	if err != nil {
		return 0, err
	}
	b := &builder{encoder: &encoder{ports: map[string]string{}}}
	at := slices.IndexFunc(snap.Bridges, func(b plan.Bridge) bool { return b.Name == bridge })
	if at < 0 {
		return 0, fmt.Errorf("%w: bridge %s is not there", ErrConflict, bridge)
	}
	uuid := isUUID(snap.Bridges[at].UUID)
	b.add(waitFor(vswitchd.BridgeTable, snap.Bridges[at].UUID, 0))
	b.mutate(vswitchd.BridgeTable, uuid, "ports", ovsdb.MutateOperationInsert, b.insertPorts(ports)...)
	return c.transactNext(ctx, b, snap.Root, comment)
}

// RemoveBridge removes a bridge, if it is there, and ports of those names wherever they are, in one transaction. What has
// gone already is no error: whoever removed it may not have seen ovs-vswitchd take it in, so that there is a number to wait for all
// the same.
func (c *Conn) RemoveBridge(ctx context.Context, bridge string, ports []string, comment string) (nextCfg int, err error) {
	snap, err := c.Observe(ctx)
	if err != nil {
		return 0, err
	}
	b := &builder{encoder: &encoder{ports: map[string]string{}}}
	for i := range snap.Bridges {
		row := &snap.Bridges[i]
		if row.Name == bridge {
			b.mutate(vswitchd.OpenvSwitchTable, isUUID(snap.Root), "bridges", ovsdb.MutateOperationDelete, ovsdb.UUID{GoUUID: row.UUID})
			continue
		}
		for p := range row.Ports {
			if slices.Contains(ports, row.Ports[p].Name) {
				b.mutate(vswitchd.BridgeTable, isUUID(row.UUID), "ports", ovsdb.MutateOperationDelete, ovsdb.UUID{GoUUID: row.Ports[p].UUID})
			}
		}
	}
	return c.transactNext(ctx, b, snap.Root, comment)
}

// WaitForConfig returns when ovs-vswitchd has taken in what has that configuration number, and what Observe then returns shows
// it. Its errors are ErrNotInForce.
func (c *Conn) WaitForConfig(ctx context.Context, nextCfg int) error {
	snap, err := c.Observe(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotInForce, err)
	}
	return c.WaitInForce(ctx, &Applied{Plan: &plan.Plan{Base: snap}, Committed: true, NextCfg: nextCfg})
}

// VSwitchdPID is the process of ovs-vswitchd, if it runs on this host.
func (c *Conn) VSwitchdPID() (int, error) {
	_, pid, err := c.daemon()
	return pid, err
}

// transactNext sends what was built, with comment, and returns the configuration number.
func (c *Conn) transactNext(ctx context.Context, b *builder, root, comment string) (int, error) {
	b.add(ovsdb.Operation{Op: ovsdb.OperationComment, Comment: &comment})
	b.add(ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: vswitchd.OpenvSwitchTable, Where: []ovsdb.Condition{isUUID(root)},
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("next_cfg", ovsdb.MutateOperationAdd, 1)},
	})
	b.add(selectNextCfg(root))
	results, err := c.transact(ctx, b.ops)
	if err != nil {
		return 0, err
	}
	return cfgOf(results[len(b.ops)-1])
}

// insertPorts inserts ports and returns their names in the transaction.
func (b *builder) insertPorts(rows []PortRow) []any {
	names := make([]any, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		iface := ovsdb.Row{"type": r.Type, "external_ids": mapOf(r.ExternalIDs)}
		if r.MTU != 0 {
			iface["mtu_request"] = ovsdb.OvsSet{GoSet: []any{r.MTU}}
		}
		port := ovsdb.Row{"protected": r.Protected, "other_config": mapOf(r.OtherConfig)}
		if r.Tag != 0 {
			port["tag"] = ovsdb.OvsSet{GoSet: []any{r.Tag}}
		}
		if r.VLANMode != "" {
			port["vlan_mode"] = ovsdb.OvsSet{GoSet: []any{r.VLANMode}}
		}
		if len(r.Trunks) > 0 {
			set := make([]any, len(r.Trunks))
			for t, vid := range r.Trunks {
				set[t] = vid
			}
			port["trunks"] = ovsdb.OvsSet{GoSet: set}
		}
		b.ports[r.Name] = "port" + strconv.Itoa(i)
		b.insertPort(r.Name, port, iface)
		names = append(names, ovsdb.UUID{GoUUID: b.ports[r.Name]})
	}
	return names
}

// mutate adds references to a set, or takes them out.
func (b *builder) mutate(table string, where ovsdb.Condition, column string, mutator ovsdb.Mutator, refs ...any) {
	b.add(ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: table, Where: []ovsdb.Condition{where},
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation(column, mutator, ovsdb.OvsSet{GoSet: refs})},
	})
}

// mapOf is a map column's value.
func mapOf(m map[string]string) ovsdb.OvsMap {
	out := ovsdb.OvsMap{GoMap: map[any]any{}}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out.GoMap[key] = m[key]
	}
	return out
}
