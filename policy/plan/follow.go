package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Releases of OVS before these do not revalidate the flows of running
// connections when a Mirror changes (ofproto-dpif, mirror_set: fixed in
// 2.17.12, 3.0.8, 3.1.6, 3.2.4, 3.3.3 and 3.4.0).
var followsFrom = map[[2]int]int{{2, 17}: 12, {3, 0}: 8, {3, 1}: 6, {3, 2}: 4, {3, 3}: 3}

// followsMirrors reports whether that release of OVS makes running connections
// follow a change of mirrors by itself. A version that cannot be read does not.
func followsMirrors(version string) bool {
	parts := strings.SplitN(version, ".", 3)
	var n [3]int
	for i, part := range parts {
		digits := part
		if at := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' }); at >= 0 {
			digits = part[:at]
		}
		var err error
		if n[i], err = strconv.Atoi(digits); err != nil {
			return false
		}
	}
	if len(parts) < 3 {
		return false
	}
	if fixed, ok := followsFrom[[2]int{n[0], n[1]}]; ok {
		return n[2] >= fixed
	}
	return n[0] > 3 || n[0] == 3 && n[1] >= 4
}

// follow returns the changes that make running connections follow the mirror
// changes of the same transaction, on releases that need it: adding or
// removing any port revalidates every flow, so each bridge with mirrors of
// ours has one inert patch port, the turn, that is replaced by one of another
// name whenever they change. No row of anybody else is touched for it.
func follow(snap *Snapshot, changes []Change, desired []Row) []Change {
	var result []Change
	for b := range snap.Bridges {
		bridge := &snap.Bridges[b]
		old, name := turns(bridge)
		wanted, changed := false, false
		for i := range desired {
			wanted = wanted || desired[i].Table == TableMirror && desired[i].Bridge == bridge.Name
		}
		for i := range changes {
			if c := &changes[i]; c.Table == TableMirror && c.Bridge == bridge.Name && c.movesPackets() {
				changed = true
			}
		}
		wanted = wanted && !followsMirrors(snap.OVSVersion)
		if wanted && !changed {
			continue
		}
		for _, p := range old {
			c := remove(&Row{Table: TablePort, Bridge: bridge.Name, Name: p.Name, UUID: p.UUID, Tier: TierDirect})
			c.Reason, c.Detail = ReasonFollow, followDetail(snap)
			result = append(result, c)
		}
		if wanted {
			c := create(&Row{Table: TablePort, Bridge: bridge.Name, Name: name, Tier: TierDirect, Columns: turnColumns(name)})
			c.Reason, c.Detail = ReasonFollow, followDetail(snap)
			result = append(result, c)
		}
	}
	return result
}

func followDetail(snap *Snapshot) string {
	version := snap.OVSVersion
	if version == "" {
		version = "of unknown version"
	}
	return fmt.Sprintf("inert port: makes running connections follow mirrors on OVS %s", version)
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

// turns returns the bridge's present turns, and a name for the next.
func turns(bridge *Bridge) (old []*Port, next string) {
	for i := range bridge.Ports {
		if p := &bridge.Ports[i]; p.Managed() && isPatch(p) {
			old = append(old, p)
		}
	}
	for _, side := range []string{"a", "b"} {
		sum := sha256.Sum256([]byte(bridge.Name + side))
		next = "spanctl-" + hex.EncodeToString(sum[:3])
		if bridge.Port(next) == nil {
			return old, next
		}
	}
	return old, next
}

// turnColumns describe a patch port that passes nothing: it has no peer, and
// it is parked, so that nothing is flooded to it.
func turnColumns(name string) map[string]Value {
	return map[string]Value{
		colType:     {"patch"},
		colOptions:  {"peer=" + name + "-"},
		colVLANMode: {"trunk"},
		colTrunks:   {strconv.Itoa(maxVLAN)},
		colIDs:      managedIDs(nil),
	}
}
