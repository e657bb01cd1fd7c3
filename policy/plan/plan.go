package plan

import (
	"slices"
	"time"
)

// FormatVersion is the version of a plan's JSON form.
const FormatVersion = 1

// A Plan is the changes that put an intent in force on a snapshot.
type Plan struct {
	// Base is the snapshot that the plan was made from, and holds against.
	Base *Snapshot
	// Changes are sorted; the order is for people, all are made at once.
	Changes  []Change
	Outcomes []*Outcome
	Warnings []string

	now time.Time
}

// Empty reports whether nothing has to be done.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }

// outcome finds the outcome of a session, nil if the intent has none of that
// name.
func (p *Plan) outcome(name string) *Outcome {
	for _, o := range p.Outcomes {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// Refused returns why the named sessions cannot be compiled, nil if they can.
// Its error is a Refusals.
func (p *Plan) Refused(names []string) error {
	var refusals Refusals
	for _, o := range p.Outcomes {
		if slices.Contains(names, o.Name) {
			refusals = append(refusals, o.Refusals...)
		}
	}
	if len(refusals) == 0 {
		return nil
	}
	return refusals
}

// Intent leaves of a plan what it changes of the stored intent: an agent does the rest.
func (p *Plan) Intent() *Plan {
	intent := *p
	intent.Changes = slices.DeleteFunc(slices.Clone(p.Changes), func(c Change) bool { return c.Table != TableIntent })
	return &intent
}

// Make compiles the intent and compares the result with the snapshot.
func Make(snap *Snapshot, intent Intent, now time.Time) *Plan {
	desired := Compile(snap, intent, now)
	changes := postpone(snap, Diff(current(snap, desired.Rows), desired.Rows))
	explain(changes, intent, desired.Outcomes)
	changes = Sort(append(changes, follow(snap, changes)...))
	return &Plan{Base: snap, Changes: changes, Outcomes: desired.Outcomes, Warnings: desired.Warnings, now: now}
}

// current returns the rows of a snapshot that plans may change: the stored
// intent, our tap bridges with their rules, ports (but turns, see follow) and
// mirrors, and of the foreign ports those that desired sets.
func current(snap *Snapshot, desired []Row) []Row {
	var rows []Row
	for name, raw := range snap.Intent {
		rows = append(rows, intentRow(name, raw))
	}
	stays := map[string]bool{} // tap bridges; with one that goes its rules go
	for i := range desired {
		stays[desired[i].Name] = stays[desired[i].Name] || desired[i].Table == TableBridge
	}
	for b := range snap.Bridges {
		bridge := &snap.Bridges[b]
		if bridge.Managed() {
			rows = append(rows, bridgeRow(bridge))
		}
		if stays[bridge.Name] {
			rows = append(rows, rowsOfRules(bridge)...)
		}
		turn := findTurn(bridge)
		for p := range bridge.Ports {
			if port := &bridge.Ports[p]; port.Managed() && port != turn {
				rows = append(rows, ownPortRow(snap, bridge, port))
			}
		}
		for m := range bridge.Mirrors {
			if bridge.Mirrors[m].Managed() {
				rows = append(rows, mirrorRow(snap, bridge, &bridge.Mirrors[m]))
			}
		}
	}
	for i := range desired {
		if want := &desired[i]; want.Table == TablePort {
			if bridge, port := snap.portAnywhere(want.Name); port != nil && !port.Managed() {
				rows = append(rows, borrowedRow(bridge.Name, port))
			}
		}
	}
	sortRows(rows)
	return rows
}
