package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Adopt plans to take foreign mirrors over as they are: their rows are marked
// and named as ours, and the sessions that say the same are stored. Where a
// mirror is not just as its session would make it, it is refused; the error is
// then Refusals.
func Adopt(snap *Snapshot, imports []Import, now time.Time) (*Plan, error) {
	intent := StoredIntent(snap)
	marked := *snap
	marked.Bridges = slices.Clone(snap.Bridges)
	adopted := map[string]string{} // session by UUID
	var refusals Refusals
	refuse := func(i Import, problem, remedy string) {
		refusals = append(refusals, &Refusal{Session: i.Name, Field: "mirror " + i.Mirror, Problem: "cannot be adopted: " + problem, Remedy: remedy})
	}
	for _, i := range imports {
		if i.Session == nil || len(i.Notes) > 0 {
			refuse(i, strings.Join(i.Notes, "; "), "apply a policy in its place, and remove it")
			continue
		}
		if d := &i.Session.Destinations[0]; d.VLAN == 0 && d.Interface == "" {
			refuse(i, "its output is a tunnel port of the same bridge, and spanctl has tunnels on a tap bridge",
				"remove it and that port, and apply the policy that import prints")
			continue
		}
		if err := intent.Put(i.Name, i.Session); err != nil {
			return nil, err
		}
		adopted[i.UUID] = i.Name
	}
	for b := range marked.Bridges {
		bridge := &marked.Bridges[b]
		bridge.Mirrors = slices.Clone(bridge.Mirrors)
		for m := range bridge.Mirrors {
			if name, ok := adopted[bridge.Mirrors[m].UUID]; ok {
				bridge.Mirrors[m].ExternalIDs = map[string]string{KeyManaged: "true", KeySession: name}
			}
		}
	}
	p := Make(&marked, intent, now)
	p.Base = snap
	refusals = append(refusals, p.unlike(adopted)...)
	if len(refusals) > 0 {
		return nil, refusals
	}
	p.mark(snap, adopted)
	return p, nil
}

// unlike are refusals of mirrors that their sessions would change.
func (p *Plan) unlike(adopted map[string]string) Refusals {
	var refusals Refusals
	for _, name := range slices.Sorted(maps.Values(adopted)) {
		if o := p.outcome(name); o.State != StateActive {
			if refusals = append(refusals, o.Refusals...); o.Refusals == nil {
				refusals = append(refusals, &Refusal{Session: name, Field: "mirror", Problem: fmt.Sprintf("cannot be adopted: its session would be %s (%s)", o.State, o.Reason)})
			}
		}
	}
	names := slices.Collect(maps.Values(adopted))
	for i := range p.Changes {
		c := &p.Changes[i]
		for _, name := range c.Sessions {
			if !slices.Contains(names, name) || c.Table == TableIntent || c.Table == TableMirror && c.Action == Update && !c.movesPackets() {
				continue
			}
			var columns []string
			for column, d := range c.Columns {
				columns = append(columns, fmt.Sprintf("%s %s -> %s", column, d.Old, d.New))
			}
			slices.Sort(columns)
			refusals = append(refusals, &Refusal{
				Session: name, Field: fmt.Sprintf("%s %s", c.Table, c.Name), Problem: "cannot be adopted as it is: its session would change it (" + strings.Join(columns, ", ") + ")",
				Remedy: "apply the policy that import prints, and remove the mirror",
			})
			break
		}
	}
	return refusals
}

// mark adds to the plan that the adopted rows get our marks and names.
func (p *Plan) mark(snap *Snapshot, adopted map[string]string) {
	for b := range snap.Bridges {
		bridge := &snap.Bridges[b]
		for m := range bridge.Mirrors {
			mirror := &bridge.Mirrors[m]
			name, ok := adopted[mirror.UUID]
			if !ok {
				continue
			}
			at := slices.IndexFunc(p.Changes, func(c Change) bool { return c.UUID == mirror.UUID })
			if at < 0 {
				at = len(p.Changes)
				p.Changes = append(p.Changes, Change{
					Action: Update, Table: TableMirror, Bridge: bridge.Name, Name: mirror.Name, UUID: mirror.UUID,
					Sessions: []string{name}, Tier: TierDirect, Columns: map[string]Delta{},
				})
			}
			c := &p.Changes[at]
			c.Columns[colIDs] = Delta{Old: idsValue(mirror.ExternalIDs), New: managedIDs(c.Sessions)}
			c.Reason, c.Detail = ReasonAdopt, "adopted as it is: what is copied does not change"
		}
	}
}
