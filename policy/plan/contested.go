package plan

import "slices"

// Without is the plan without the changes that held reports, and without all others that belong together with them: those
// for the same sessions.
func (p *Plan) Without(held func(*Change) bool) *Plan {
	sessions := map[string]bool{}
	left := map[int]bool{}
	for more := true; more; {
		more = false
		for i := range p.Changes {
			c := &p.Changes[i]
			shares := slices.ContainsFunc(c.Sessions, func(name string) bool { return sessions[name] })
			if left[i] || c.Reason == ReasonFollow || !shares && !held(c) {
				continue
			}
			left[i], more = true, true
			for _, name := range c.Sessions {
				sessions[name] = true
			}
		}
	}
	if len(left) == 0 {
		return p
	}
	without := *p
	without.Changes = nil
	for i := range p.Changes {
		if !left[i] && p.Changes[i].Reason != ReasonFollow {
			without.Changes = append(without.Changes, p.Changes[i])
		}
	}
	without.Changes = Sort(append(without.Changes, follow(p.Base, without.Changes)...))
	return &without
}

// NewPorts are the UUIDs of others' ports that are there and that the row did not refer to before the change. A port
// itself is one.
func (c *Change) NewPorts(base *Snapshot) []string {
	var uuids []string
	add := func(name string) {
		if _, port := base.portAnywhere(name); port != nil && !port.Managed() {
			uuids = append(uuids, port.UUID)
		}
	}
	for _, column := range []string{colSelectSrc, colSelectDst, colOutputPort} {
		delta := c.Columns[column]
		for _, name := range delta.New {
			if !slices.Contains(delta.Old, name) {
				add(name)
			}
		}
	}
	if c.Table == TablePort {
		add(c.Name)
	}
	slices.Sort(uuids)
	return slices.Compact(uuids)
}
