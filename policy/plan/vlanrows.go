package plan

import (
	"cmp"
	"slices"
)

// A vlanRow is the ports of one Mirror row: those whose packets are copied in
// exactly these VLANs, by direction.
type vlanRow struct {
	vlans    *vlanSet
	from, to []int32
}

// vlanRows divides sources by their VLAN sets into as few rows as it finds:
// one a set, less the sets that are the union of others.
func (c *compiler) vlanRows(list []source) []*vlanRow {
	bySet := map[*vlanSet]*vlanRow{}
	var rows []*vlanRow
	row := func(v *vlanSet) *vlanRow {
		r, ok := bySet[v]
		if !ok {
			r = &vlanRow{vlans: v}
			bySet[v] = r
			rows = append(rows, r)
		}
		return r
	}
	for _, s := range list {
		if s.from != nil {
			r := row(s.from)
			r.from = append(r.from, s.port)
		}
		if s.to != nil {
			r := row(s.to)
			r.to = append(r.to, s.port)
		}
	}
	slices.SortFunc(rows, func(a, b *vlanRow) int {
		if a.vlans.all() || b.vlans.all() {
			return cmp.Compare(btoi(b.vlans.all()), btoi(a.vlans.all()))
		}
		return cmp.Compare(a.vlans.ranges.String(), b.vlans.ranges.String())
	})
	return c.dissolve(rows)
}

// dissolve removes the rows whose VLAN set is the union of other rows' sets,
// by adding their ports to those. It leaves alone what is far over the limit of
// mirrors anyway.
func (c *compiler) dissolve(rows []*vlanRow) []*vlanRow {
	for i := 0; i < len(rows) && len(rows) <= 4*MirrorLimit; {
		whole := rows[i]
		var parts []*vlanRow
		var union *vlanSet
		for _, r := range rows {
			if r != whole && c.vlans.covers(whole.vlans, r.vlans) {
				parts = append(parts, r)
				union = c.vlans.union(union, r.vlans)
			}
		}
		if union != whole.vlans {
			i++
			continue
		}
		for _, r := range parts {
			r.from = mergePorts(r.from, whole.from)
			r.to = mergePorts(r.to, whole.to)
		}
		rows = slices.Delete(rows, i, i+1)
	}
	return rows
}

func mergePorts(a, b []int32) []int32 {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
