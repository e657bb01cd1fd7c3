package plan

import (
	"slices"
	"strconv"
)

// follow returns the changes that make running connections follow the mirror
// changes of the same transaction. By itself OVS lets their flows go on as they
// are when a mirror is deleted (all releases up to 3.7), and before 2.17.12,
// 3.0.8, 3.1.6, 3.2.4, 3.3.3 and 3.4.0 also when one is made or changed.
//
// Each bridge with mirrors of ours therefore has one inert patch port, the turn:
// that it is added, or that its protected flag is turned, revalidates every
// flow. The flag of a port that passes nothing means nothing, and no row of
// anybody else is touched. It also makes ovs-vswitchd look at its configuration once
// more, see retry.
//
// The turn is removed only when the bridge has no mirror of ours any more, by a
// later plan than the one that removes the last; see removable.
func follow(snap *Snapshot, changes []Change) []Change {
	var result []Change
	moves := func(on string) bool {
		return slices.ContainsFunc(changes, func(c Change) bool { return c.Table == TableMirror && c.Bridge == on && c.movesPackets() })
	}
	// What crosses a tap bridge entered by a source bridge.
	tapMoved := slices.ContainsFunc(snap.Bridges, func(b Bridge) bool { return b.Managed() && moves(b.Name) })
	for b := range snap.Bridges {
		bridge := &snap.Bridges[b]
		if bridge.Managed() {
			continue
		}
		mirrored := slices.ContainsFunc(bridge.Mirrors, func(m Mirror) bool { return m.Managed() })
		moved := moves(bridge.Name) || tapMoved && mirrored
		turn := findTurn(bridge)
		row := Row{Table: TablePort, Bridge: bridge.Name, Name: turnName(bridge), Tier: TierDirect}
		var step []Change
		switch {
		case moved && turn == nil && bridge.Port(row.Name) != nil:
			// Somebody else's port has the name; nothing can be done about it.
		case moved && turn == nil:
			row.Columns = turnColumns(row.Name)
			step = []Change{create(&row)}
		case moved:
			step = []Change{turnChange(bridge, turn)}
		case turn != nil && !mirrored:
			row.UUID = turn.UUID
			step = []Change{remove(&row)}
		}
		for i := range step {
			step[i].Reason, step[i].Detail = ReasonFollow, "inert port: makes running connections follow the mirrors"
		}
		result = append(result, step...)
	}
	return result
}

// retry is the change that makes ovs-vswitchd look at its configuration again, if it
// could not add a tunnel of ours. One that moves from a tap bridge that stays finds
// itself in its own way, and is added the next time (before OVS 2.17.10, 3.0.7, 3.1.5,
// 3.2.3 and 3.3.1).
func retry(snap *Snapshot) []Change {
	if !slices.ContainsFunc(snap.Bridges, failedTunnel) {
		return nil
	}
	for b := range snap.Bridges {
		bridge := &snap.Bridges[b]
		if turn := findTurn(bridge); turn != nil {
			c := turnChange(bridge, turn)
			c.Reason, c.Detail = ReasonFollow, "inert port: makes ovs-vswitchd try again to add a tunnel that it could not add"
			return []Change{c}
		}
	}
	return nil
}

// turnChange turns the flag of a bridge's turn.
func turnChange(bridge *Bridge, turn *Port) Change {
	have := Row{Table: TablePort, Bridge: bridge.Name, Name: turn.Name, UUID: turn.UUID, Tier: TierDirect, Columns: map[string]Value{colProtected: boolValue(turn.Protected)}}
	want := have
	want.Columns = map[string]Value{colProtected: boolValue(!turn.Protected)}
	return update(&have, &want)[0]
}

// failedTunnel reports whether a tunnel of ours could not be added to the tap bridge.
func failedTunnel(tap Bridge) bool {
	return tap.Managed() && slices.ContainsFunc(tap.Ports, func(p Port) bool {
		return p.Managed() && len(p.Interfaces) == 1 && p.Interfaces[0].Error != "" &&
			tunnelIdentity(p.Interfaces[0].Type, p.Interfaces[0].Options) != ""
	})
}

// movesPackets reports whether a mirror change changes what is copied where.
func (c *Change) movesPackets() bool {
	for col := range c.Columns {
		if c.Action != Update || col != colName && col != colIDs {
			return true
		}
	}
	return false
}

// findTurn returns the bridge's turn, nil if it has none.
func findTurn(bridge *Bridge) *Port {
	if p := bridge.Port(turnName(bridge)); p != nil && p.Managed() && isPatch(p) {
		return p
	}
	return nil
}

func turnName(bridge *Bridge) string { return shortName(bridge.Name) }

// turnColumns describe a patch port that passes nothing: it has no peer, and
// it is parked, so that nothing is flooded to it.
func turnColumns(name string) map[string]Value {
	return map[string]Value{
		colType:     {"patch"},
		colOptions:  {"peer=" + name + "-"},
		colVLANMode: {"trunk"},
		colTrunks:   {strconv.Itoa(maxVLAN)},
		colOther:    noSpanningTree(),
		colIDs:      managedIDs(nil),
	}
}
