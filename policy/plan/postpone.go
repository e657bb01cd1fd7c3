package plan

import "slices"

// removable reports whether the port may be removed from the bridge now: OVS
// flushes the bridge's MAC table if a port goes that a mirror selects, as
// select_all does, and production floods (ofproto-dpif, mbridge_unregister_bundle).
// A mirror that outputs to the port goes with it, and flushes nothing.
func removable(bridge *Bridge, port string) bool {
	return !slices.ContainsFunc(bridge.Mirrors, func(m Mirror) bool { return m.Managed() && m.SelectAll && m.OutputPort != port })
}

// postpone leaves out the removal of patch ends from source bridges that would
// flush a MAC table. They are parked and pass nothing, and go with a later plan.
func postpone(snap *Snapshot, changes []Change) []Change {
	return slices.DeleteFunc(changes, func(c Change) bool {
		if c.Table != TablePort || c.Action != Delete {
			return false
		}
		bridge := snap.Bridge(c.Bridge)
		return !bridge.Managed() && !removable(bridge, c.Name)
	})
}

// Tidy returns of a plan only what follows from the plan before it: the removal of
// ports that have become superfluous, and another try to add tunnels.
func (p *Plan) Tidy() *Plan {
	tidy := *p
	tidy.Changes = slices.DeleteFunc(slices.Clone(p.Changes), func(c Change) bool {
		return c.Table != TablePort || c.Action != Delete
	})
	if len(tidy.Changes) == 0 {
		tidy.Changes = retry(p.Base)
	}
	return &tidy
}
