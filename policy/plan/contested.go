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
// itself is one. It takes time that grows with the number of ports and no faster: the agent asks with each pass.
func (c *Change) NewPorts(base *Snapshot) []string {
	names := map[string]bool{}
	for _, column := range []string{colSelectSrc, colSelectDst, colOutputPort} {
		delta := c.Columns[column]
		old := make(map[string]bool, len(delta.Old))
		for _, name := range delta.Old {
			old[name] = true
		}
		for _, name := range delta.New {
			if !old[name] {
				names[name] = true
			}
		}
	}
	if c.Table == TablePort {
		names[c.Name] = true
	}
	if len(names) == 0 {
		return nil
	}
	var uuids []string
	for b := range base.Bridges {
		for p := range base.Bridges[b].Ports {
			if port := &base.Bridges[b].Ports[p]; names[port.Name] && !port.Managed() {
				uuids = append(uuids, port.UUID)
			}
		}
	}
	slices.Sort(uuids)
	return uuids
}
