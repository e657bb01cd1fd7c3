package plan

import "spanctl/policy"

// A vlanSet is a set of VLAN ids, 0 standing for untagged. Sets are interned:
// equal sets of one compilation are the same pointer, nil is the empty set.
type vlanSet struct {
	ranges policy.Ranges // nil means every VLAN
}

func (v *vlanSet) all() bool { return v.ranges == nil }

// vlanSets interns the sets of one compilation.
type vlanSets struct {
	byKey map[string]*vlanSet
	every *vlanSet
}

func newVLANSets() *vlanSets {
	every := &vlanSet{}
	return &vlanSets{byKey: map[string]*vlanSet{"": every}, every: every}
}

// of returns the set of the given VLANs; none given means every VLAN.
func (vs *vlanSets) of(ranges policy.Ranges) *vlanSet {
	if len(ranges) == 1 && ranges[0].First == 0 && ranges[0].Last >= maxVLAN {
		ranges = nil
	}
	if ranges == nil {
		return vs.every
	}
	key := ranges.String()
	if v, ok := vs.byKey[key]; ok {
		return v
	}
	v := &vlanSet{ranges: ranges}
	vs.byKey[key] = v
	return v
}

func (vs *vlanSets) union(a, b *vlanSet) *vlanSet {
	switch {
	case a == b || b == nil:
		return a
	case a == nil:
		return b
	case a.all() || b.all():
		return vs.every
	}
	return vs.of(a.ranges.Union(b.ranges))
}

// subtract returns the VLANs of a that are not in b.
func (vs *vlanSets) subtract(a, b *vlanSet) *vlanSet {
	if a == nil || b == nil {
		return a
	}
	if b.all() {
		return nil
	}
	rest := policy.Ranges{}
	inA, inB := a.contains, b.contains
	for id := 0; id <= maxVLAN; id++ {
		if !inA(uint16(id)) || inB(uint16(id)) {
			continue
		}
		if n := len(rest); n > 0 && int(rest[n-1].Last) == id-1 {
			rest[n-1].Last = uint16(id)
		} else {
			rest = append(rest, policy.Range{First: uint16(id), Last: uint16(id)})
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return vs.of(rest)
}

// covers reports whether every VLAN of b is in a.
func (vs *vlanSets) covers(a, b *vlanSet) bool { return vs.union(a, b) == a }

func (v *vlanSet) contains(id uint16) bool { return v.all() || v.ranges.Contains(id) }

// maxVLAN is the largest id that Mirror.select_vlan takes (ovs-vswitchd.conf.db(5)).
const maxVLAN = 4095
