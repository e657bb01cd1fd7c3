package plan

import "slices"

// Without is the plan without the changes that held reports, and without all others that belong together with them: those
// for the same sessions.
func (p *Plan) Without(held func(*Change) bool) *Plan {
	together := p.together(held)
	if len(together) == 0 {
		return p
	}
	return p.only(func(i int) bool { return !together[i] })
}

// Only is what Without leaves out.
func (p *Plan) Only(wanted func(*Change) bool) *Plan {
	together := p.together(wanted)
	return p.only(func(i int) bool { return together[i] })
}

// together are the changes that some reports, and those for the same sessions, by index. What makes running connections
// follow is none: it goes with the changes that are left.
func (p *Plan) together(some func(*Change) bool) map[int]bool {
	sessions := map[string]bool{}
	together := map[int]bool{}
	for more := true; more; {
		more = false
		for i := range p.Changes {
			c := &p.Changes[i]
			shares := slices.ContainsFunc(c.Sessions, func(name string) bool { return sessions[name] })
			if together[i] || c.Reason == ReasonFollow || !shares && !some(c) {
				continue
			}
			together[i], more = true, true
			for _, name := range c.Sessions {
				sessions[name] = true
			}
		}
	}
	return together
}

// only is the plan with these changes, and what makes running connections follow them.
func (p *Plan) only(kept func(i int) bool) *Plan {
	only := *p
	only.Changes = nil
	for i := range p.Changes {
		if kept(i) && p.Changes[i].Reason != ReasonFollow {
			only.Changes = append(only.Changes, p.Changes[i])
		}
	}
	only.Changes = Sort(append(only.Changes, follow(p.Base, only.Changes)...))
	return &only
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
