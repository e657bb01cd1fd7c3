package ovs

import (
	"fmt"
	"strconv"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// planOps builds the one transaction that carries a plan out: guards first,
// then the changes, next_cfg last. The index of the select that reads next_cfg
// back is returned with it. If the plan is a step of a change, changing says of
// which, and until when it must be done.
func planOps(p *plan.Plan, comment, changing string) (ops []ovsdb.Operation, nextCfg int, err error) {
	b := &builder{plan: p, encoder: newEncoder(p.Base), bridges: map[string]string{}, changing: changing}
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

	changing string
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
			b.bridges[c.Name] = b.name()
		case c.Action == plan.Create && c.Table == plan.TablePort:
			b.ports[c.Name] = b.name()
		}
	}
}

func (b *builder) change(c *plan.Change) error {
	switch c.Table {
	case plan.TableIntent, plan.TableFlow, plan.TableMeter:
		return nil // see root; rules are not in OVSDB
	case plan.TableBridge:
		return b.bridge(c)
	case plan.TableMirror:
		return b.mirror(c)
	case plan.TablePort:
		return b.port(c)
	}
	return fmt.Errorf("cannot be written")
}

// root writes the changed intent and raises the revision. Both go when nothing
// of ours is left.
func (b *builder) root() {
	remove := []string{plan.KeyRevision, plan.KeyChanging}
	put := map[any]any{}
	if b.changing != "" {
		put[plan.KeyChanging] = b.changing
	}
	for i := range b.plan.Changes {
		c := &b.plan.Changes[i]
		if c.Table != plan.TableIntent {
			continue
		}
		key := plan.KeyIntentPrefix + c.Name
		remove = append(remove, key)
		if c.Action != plan.Delete {
			put[key] = c.Columns["intent"].New[0]
		} else {
			remove = append(remove, plan.KeyReportPrefix+c.Name)
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
