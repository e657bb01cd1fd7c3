package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"spanctl/policy"
)

// A tap bridge, in the hub tier, is the mirror hub: it takes the copies of any
// number of source bridges to any number of destinations, by OVSDB alone.
//
//	source bridge          tap bridge
//	  Mirror -> patch ===== patch --- NORMAL floods ---> sink
//	                                  Mirror select_dst_port=sink -> destination
//	                                  Mirror select_dst_port=sink -> destination
//
// flood_vlans keeps it from learning addresses, so that it floods everything.
// The hub ends of patches are protected, so that nothing is flooded from one to
// another, and destinations are reserved by their mirrors, so that nothing is
// flooded to them and what they send dies. Every copy is flooded to the sink,
// once, and from there mirrored to each destination. The sink is a patch port
// without peer: ofproto mirrors what would leave by it, and sends it nowhere, so
// that the datapath has no more to do than for a mirror by itself (xlate's
// compose_output_action, OVS 3.1 and 3.5). The bridge has no port of its own name:
// no device appears on the host.
//
// Patch ends on source bridges are parked: they trunk VLAN 4095 alone, which
// mirrors do not heed and the hub ends do not pass. So if the mirror is taken away
// from under them, nothing leaks either way.
const keyForwardBPDU = "forward-bpdu"

// Keys of Port.other_config. A port that takes part in spanning tree makes the
// others listen anew when it comes or goes (OVS 3.1): ours do not.
const (
	keyRSTP = "rstp-enable"
	keySTP  = "stp-enable"
)

func noSpanningTree() Value { return Value{keyRSTP + "=false", keySTP + "=false"} }

// shortName is "spanctl-" and six characters of a hash: names of ports and
// bridges have 15 characters at most, and do not shift when something else goes.
func shortName(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\n")))
	return "spanctl-" + hex.EncodeToString(sum[:3])
}

// sink names the port of a tap bridge that every copy is flooded to.
func (d *delivery) sink() string { return d.name + "s" }

// patch names the ends of the patch between a source bridge and a tap bridge.
func (d *delivery) patch(bridge string) (outer, inner string) {
	name := shortName("patch", d.name, bridge)
	return name, name + "h"
}

// tapRows are the rows of the delivery's tap bridge: the bridge, a patch pair
// for each source bridge, tunnels, and a mirror for each destination. Borrowed
// ports are for portRows.
func (c *compiler) tapRows(d *delivery, groups []*group) []Row {
	var names []string
	for _, o := range d.sessions {
		names = append(names, o.Name)
	}
	for _, g := range groups {
		if g.delivery == d && len(g.rows) > 0 {
			names = append(names, g.rows[0].Sessions...) // broken ones too
		}
	}
	if tap := c.snap.Bridge(d.name); tap != nil {
		for m := range tap.Mirrors {
			names = append(names, c.brokenSessions(&tap.Mirrors[m])...)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	rows := []Row{{
		Table: TableBridge, Name: d.name, Sessions: names, Tier: TierHub,
		Columns: map[string]Value{
			colDatapath:   textValue(d.datapath),
			colFailMode:   {"standalone"},
			colFloodVLANs: rangesValue(policy.Ranges{{First: 0, Last: maxVLAN}}),
			colOther:      {keyForwardBPDU + "=true"},
			colIDs:        managedIDs(names),
		},
	}}
	rows = append(rows, patchEnd(d.name, d.sink(), d.sink()+"-", nil, false, names))
	for _, g := range groups {
		if g.delivery == d && len(g.rows) > 0 {
			rows = append(rows, patchRows(d, c.snap.Bridges[g.bridge].Name, g.rows[0].Sessions)...)
		}
	}
	for _, t := range d.targets {
		output := ""
		switch {
		case t.tunnel != nil:
			rows = append(rows, t.tunnel.row(d, names))
			output = t.tunnel.name
		case t.port >= 0:
			output = c.ports[t.port].Name
		default:
			continue
		}
		rows = append(rows, c.tapMirror(d, output, names))
	}
	return rows
}

// tapMirror copies what reaches the tap bridge to one destination.
func (c *compiler) tapMirror(d *delivery, output string, sessions []string) Row {
	row := emptyMirror(d.name, "spanctl-"+strings.TrimPrefix(output, "spanctl-"), sessions, TierHub, c.snap.MirrorFilter)
	row.Columns[colSelectDst] = Value{d.sink()}
	row.Columns[colOutputPort] = Value{output}
	row.Columns[colSnaplen] = intValue(d.snaplen)
	return row
}

// patchRows are the two ends of a patch from a source bridge to a tap bridge.
func patchRows(d *delivery, bridge string, sessions []string) []Row {
	outer, inner := d.patch(bridge)
	return []Row{
		patchEnd(bridge, outer, inner, policy.Ranges{{First: maxVLAN, Last: maxVLAN}}, false, sessions),
		patchEnd(d.name, inner, outer, policy.Ranges{{First: 0, Last: maxVLAN - 1}}, true, sessions),
	}
}

func patchEnd(bridge, name, peer string, trunks policy.Ranges, protected bool, sessions []string) Row {
	return Row{
		Table: TablePort, Bridge: bridge, Name: name, Sessions: sessions, Tier: TierHub,
		Columns: map[string]Value{
			colType: {"patch"}, colOptions: {"peer=" + peer}, colVLANMode: {"trunk"}, colTrunks: rangesValue(trunks),
			colProtected: boolValue(protected), colOther: noSpanningTree(), colIDs: managedIDs(sessions), colIfaceIDs: nil,
		},
	}
}
