package ovs

import (
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

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
