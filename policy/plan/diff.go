package plan

import (
	"cmp"
	"maps"
	"slices"
)

// An Action is what a change does to a row. Its value is the symbol that
// plans show.
type Action string

// The actions.
const (
	Create Action = "+"
	Update Action = "~"
	Delete Action = "-"
)

// A Delta is the old and the new content of a column.
type Delta struct{ Old, New Value }

// A Change is one step of a plan: a row that is made, changed or removed.
type Change struct {
	Action       Action
	Table        Table
	Bridge, Name string
	// UUID is the row's own; empty for Create and for TableIntent.
	UUID string
	// Columns holds every column of a row that is made or removed, and the
	// changed ones of a row that is changed.
	Columns  map[string]Delta
	Sessions []string
	Tier     Tier
	// Reason names why the change is made, Detail says it for people.
	Reason Reason
	Detail string
}

// Diff returns the changes that make rows of current into those of desired,
// sorted as rows are. Equal inputs need no change. Of several current rows
// with one key those that no desired row is are removed.
func Diff(current, desired []Row) []Change {
	byKey := map[rowKey][]*Row{}
	for i := range current {
		byKey[current[i].key()] = append(byKey[current[i].key()], &current[i])
	}
	var changes []Change
	// A desired row is the current one of its key that is the same row, else one
	// that needs no change, else any.
	match := func(missing []*Row, same func(have, want *Row) bool) []*Row {
		return slices.DeleteFunc(missing, func(want *Row) bool {
			at := slices.IndexFunc(byKey[want.key()], func(have *Row) bool { return same(have, want) })
			if at < 0 {
				return false
			}
			changes = append(changes, update(byKey[want.key()][at], want)...)
			byKey[want.key()] = slices.Delete(byKey[want.key()], at, at+1)
			return true
		})
	}
	missing := make([]*Row, len(desired))
	for i := range desired {
		missing[i] = &desired[i]
	}
	missing = match(missing, func(have, want *Row) bool { return want.UUID != "" && have.UUID == want.UUID })
	missing = match(missing, func(have, want *Row) bool { return len(update(have, want)) == 0 })
	missing = match(missing, func(have, want *Row) bool { return true })
	extra := slices.Concat(slices.Collect(maps.Values(byKey))...)
	slices.SortFunc(extra, func(a, b *Row) int { return cmp.Or(compareRows(a, b), cmp.Compare(a.UUID, b.UUID)) })
	for _, want := range missing {
		at := slices.IndexFunc(extra, func(have *Row) bool { return renamed(have, want) })
		if at < 0 {
			changes = append(changes, create(want))
			continue
		}
		changes = append(changes, update(extra[at], want)...)
		extra = slices.Delete(extra, at, at+1)
	}
	for _, have := range extra {
		changes = append(changes, remove(have))
	}
	return Sort(changes)
}

// renamed reports whether two mirrors do the same under different names, so
// that the row can go on without a gap in copying.
func renamed(have, want *Row) bool {
	if have.Table != TableMirror || want.Table != TableMirror || have.Bridge != want.Bridge {
		return false
	}
	for _, col := range []string{colOutputPort, colOutputVLAN, colSelectVLAN} {
		if !slices.Equal(have.Columns[col], want.Columns[col]) {
			return false
		}
	}
	return true
}

func create(want *Row) Change {
	c := Change{Action: Create, Table: want.Table, Bridge: want.Bridge, Name: want.Name, Sessions: want.Sessions, Tier: want.Tier, Columns: map[string]Delta{}}
	for col, v := range want.Columns {
		c.Columns[col] = Delta{New: v}
	}
	return c
}

func remove(have *Row) Change {
	c := Change{Action: Delete, Table: have.Table, Bridge: have.Bridge, Name: have.Name, UUID: have.UUID, Sessions: have.Sessions, Tier: have.Tier, Columns: map[string]Delta{}}
	for col, v := range have.Columns {
		c.Columns[col] = Delta{Old: v}
	}
	return c
}

// update returns one change, or none if the columns that want sets are equal.
func update(have, want *Row) []Change {
	c := Change{Action: Update, Table: want.Table, Bridge: want.Bridge, Name: want.Name, UUID: have.UUID, Sessions: want.Sessions, Tier: want.Tier, Columns: map[string]Delta{}}
	whole := want.Table.ofRules() && !sameColumns(have, want) // they are made anew
	for col, v := range want.Columns {
		if whole || !slices.Equal(have.Columns[col], v) {
			c.Columns[col] = Delta{Old: have.Columns[col], New: v}
		}
	}
	if have.Name != want.Name {
		c.Columns[colName] = Delta{Old: Value{have.Name}, New: Value{want.Name}}
	}
	if have.Bridge != want.Bridge {
		c.Columns[colBridge] = Delta{Old: Value{have.Bridge}, New: Value{want.Bridge}}
	}
	if len(c.Columns) == 0 {
		return nil
	}
	return []Change{c}
}

func sameColumns(have, want *Row) bool {
	return maps.EqualFunc(have.Columns, want.Columns, func(a, b Value) bool { return slices.Equal(a, b) })
}

// Patch carries changes out on rows: it is what package ovs makes OVSDB do,
// on the model. Diff(rows, x) patches rows into x.
func Patch(rows []Row, changes []Change) []Row {
	result := slices.Clone(rows)
	for _, c := range changes {
		at := slices.IndexFunc(result, func(r Row) bool {
			return r.Table == c.Table && r.Bridge == c.from() && r.UUID == c.UUID && (c.UUID != "" || r.Name == c.Name)
		})
		switch {
		case c.Action == Create:
			row := Row{Table: c.Table, Bridge: c.Bridge, Name: c.Name, Sessions: c.Sessions, Tier: c.Tier, Columns: map[string]Value{}}
			for col, d := range c.Columns {
				row.Columns[col] = d.New
			}
			result = append(result, row)
		case at < 0:
		case c.Action == Delete:
			result = slices.Delete(result, at, at+1)
		default:
			row := &result[at]
			row.Columns = maps.Clone(row.Columns)
			row.Bridge, row.Name, row.Sessions, row.Tier = c.Bridge, c.Name, c.Sessions, c.Tier
			for col, d := range c.Columns {
				if col != colName && col != colBridge {
					row.Columns[col] = d.New
				}
			}
		}
	}
	sortRows(result)
	return result
}

// from is the bridge that the row is on before the change.
func (c *Change) from() string {
	if moved, ok := c.Columns[colBridge]; ok {
		return moved.Old[0]
	}
	return c.Bridge
}

var tableOrder = map[Table]int{TableIntent: 0, TableBridge: 1, TablePort: 2, TableMirror: 3, TableMeter: 4, TableFlow: 5}

func comparePlaces(a, b rowKey) int {
	return cmp.Or(cmp.Compare(tableOrder[a.table], tableOrder[b.table]), cmp.Compare(a.bridge, b.bridge), cmp.Compare(a.name, b.name))
}

func compareRows(a, b *Row) int {
	return comparePlaces(rowKey{a.Table, a.Bridge, a.Name}, rowKey{b.Table, b.Bridge, b.Name})
}

// Sort puts changes in the order in which plans have them.
func Sort(changes []Change) []Change {
	slices.SortStableFunc(changes, func(a, b Change) int {
		return comparePlaces(rowKey{a.Table, a.Bridge, a.Name}, rowKey{b.Table, b.Bridge, b.Name})
	})
	return changes
}

func sortRows(rows []Row) {
	slices.SortStableFunc(rows, func(a, b Row) int { return compareRows(&a, &b) })
}
