package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
func (t *tap) sink() string { return t.name + "s" }

// markOf is a mark for the delivery's patches, if those without one stand for a session
// that leaves the delivery: its packets still come by them until all is in force, and
// are no business of the delivery's new rules. Those with the mark stay when they
// stand.
func (c *compiler) markOf(d *delivery) string {
	plain := *d
	plain.mark = ""
	marked := *d
	marked.mark = d.ownMark()
	mark := ""
	for _, o := range d.sessions {
		for _, b := range c.bridgesOf(o) {
			name := c.snap.Bridges[b].Name
			outer, _ := marked.patch(name)
			if c.snap.Bridges[b].Port(outer) != nil {
				return marked.mark
			}
			outer, _ = plain.patch(name)
			if standing := c.snap.Bridges[b].Port(outer); standing != nil && slices.ContainsFunc(splitNames(standing.ExternalIDs[KeySession]), func(other string) bool {
				return !slices.ContainsFunc(d.sessions, func(o *Outcome) bool { return o.Name == other }) && len(c.brokenAmong([]string{other})) == 0 && c.wanted(other)
			}) {
				mark = marked.mark
			}
		}
	}
	return mark
}

// ownMark is the mark of the delivery's patches, if they have one.
func (d *delivery) ownMark() string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%+v", d.treatment)))
	return hex.EncodeToString(sum[:3])
}

// patchOf names the outer end of a patch to the delivery's destinations that is known
// by the session and has the mark.
func (d *delivery) patchOf(session, mark, bridge string) string {
	return shortName(append([]string{"patch", d.name, bridge, session, mark}, d.texts()...)...)
}

// wanted reports whether there is a session of that name.
func (c *compiler) wanted(name string) bool {
	return slices.ContainsFunc(c.outcomes, func(o *Outcome) bool { return o.Name == name })
}

// first is the first of the delivery's sessions, by name.
func (d *delivery) first() *Outcome {
	return slices.MinFunc(d.sessions, func(a, b *Outcome) int { return cmp.Compare(a.Name, b.Name) })
}

// texts are what that session calls the destinations, sorted.
func (d *delivery) texts() []string {
	o := d.first()
	var texts []string
	for i, t := range o.targets {
		if slices.Contains(d.targets, t) {
			texts = append(texts, destinationText(&o.Session.Destinations[i]))
		}
	}
	slices.Sort(texts)
	return texts
}

// patch names the ends of the patch between a source bridge and the tap bridge.
// Where there are rules each delivery has its own, known by a session and its
// destinations: its rules may change under it, its destinations do not. What stands for
// other sessions too keeps its rules: see markOf.
func (d *delivery) patch(bridge string) (outer, inner string) {
	name := shortName("patch", d.name, bridge)
	if d.tier == TierFlow {
		name = d.patchOf(d.first().Name, d.mark, bridge)
	}
	return name, name + "h"
}

// tapRows are the rows of a tap bridge: the bridge, a patch pair for each source
// bridge, tunnels, and a mirror or rules for each destination. Borrowed ports are
// for portRows.
func (c *compiler) tapRows(t *tap, groups []*group) []Row {
	names := sessionNames(t.sessions)
	groups = slices.DeleteFunc(slices.Clone(groups), func(g *group) bool { return g.delivery.tap != t || len(g.rows) == 0 })
	for _, g := range groups {
		names = append(names, g.rows[0].Sessions...) // broken ones too
	}
	if bridge := c.snap.Bridge(t.name); bridge != nil {
		for m := range bridge.Mirrors {
			names = append(names, c.brokenSessions(&bridge.Mirrors[m])...)
		}
		for p := range bridge.Ports {
			names = append(names, c.brokenAmong(splitNames(bridge.Ports[p].ExternalIDs[KeySession]))...)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	row := Row{
		Table: TableBridge, Name: t.name, Sessions: names, Tier: t.tier,
		Columns: map[string]Value{colDatapath: textValue(t.datapath), colIDs: managedIDs(names)},
	}
	rules := c.ruleRows(t, groups)
	if t.sends() {
		row.Columns[colFailMode] = Value{failSecure}
		return slices.Concat([]Row{row}, c.ruledRows(t, groups, names), rules)
	}
	row.Columns[colFailMode] = Value{"standalone"}
	row.Columns[colFloodVLANs] = rangesValue(policy.Ranges{{First: 0, Last: maxVLAN}})
	row.Columns[colOther] = Value{keyForwardBPDU + "=true"}
	if t.failsOpen {
		row.Columns[colIDs] = append(Value{KeyFail + "=" + string(policy.FailOpen)}, managedIDs(names)...)
	}
	return slices.Concat([]Row{row}, c.hubRows(t.deliveries[0], groups, names), rules)
}

// hubRows are what is on a mirror hub.
func (c *compiler) hubRows(d *delivery, groups []*group, names []string) []Row {
	rows := []Row{patchEnd(d, d.name, d.sink(), d.sink()+"-", nil, false, names)}
	for _, g := range groups {
		rows = append(rows, c.patchRows(g)...)
	}
	for _, t := range d.targets {
		output := ""
		switch {
		case t.tunnel != nil:
			row := t.tunnel.row(d.tap, names, d.strip)
			row.Columns[colRequest] = nil // it may come from a bridge with rules
			rows = append(rows, row)
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
	row := emptyMirror(d.name, "spanctl-"+strings.TrimPrefix(output, "spanctl-"), sessions, d.tier, c.snap.MirrorFilter)
	row.Columns[colSelectDst] = Value{d.sink()}
	row.Columns[colOutputPort] = Value{output}
	row.Columns[colSnaplen] = intValue(d.snaplen)
	return row
}

// patchRows are the two ends of a patch from the group's source bridge to its tap
// bridge. Rules know it by a number.
func (c *compiler) patchRows(g *group) []Row {
	d, bridge, sessions := g.delivery, c.snap.Bridges[g.bridge].Name, g.rows[0].Sessions
	outer, inner := d.patch(bridge)
	rows := []Row{
		patchEnd(d, bridge, outer, inner, policy.Ranges{{First: maxVLAN, Last: maxVLAN}}, false, sessions),
		patchEnd(d, d.name, inner, outer, policy.Ranges{{First: 0, Last: maxVLAN - 1}}, true, sessions),
	}
	if d.tier == TierFlow {
		rows[1].Columns[colRequest] = intValue(c.number(d.tap, inner))
	}
	return rows
}

func patchEnd(d *delivery, bridge, name, peer string, trunks policy.Ranges, protected bool, sessions []string) Row {
	return Row{
		Table: TablePort, Bridge: bridge, Name: name, Sessions: sessions, Tier: d.tier,
		Columns: map[string]Value{
			colType: {"patch"}, colOptions: {"peer=" + peer}, colVLANMode: {"trunk"}, colTrunks: rangesValue(trunks),
			colProtected: boolValue(protected), colOther: noSpanningTree(), colIDs: managedIDs(sessions), colIfaceIDs: nil,
		},
	}
}
