package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// mirrorRows builds the Mirror rows of a group: one that selects all where
// that says the same, and one for each VLAN set that the other selections need.
func (c *compiler) mirrorRows(g *group) []Row {
	list, every := c.merge(g)
	if len(g.listed) > 0 {
		list, every = c.fromOnly(list, g), universal{}
	}
	var rows []Row
	exact := every.from != nil && every.from == every.to && c.selectAllIsExact(g)
	if exact {
		g.stripped = c.stripped(g)
	}
	if exact && g.stripped == "" {
		row := c.mirror(g, every.from)
		row.Columns[colSelectAll] = boolValue(true)
		rows = append(rows, row)
		rest := list[:0:0]
		for _, s := range list {
			if c.vlans.covers(every.from, s.from) {
				s.from = nil
			}
			if c.vlans.covers(every.from, s.to) {
				s.to = nil
			}
			if s.from != nil || s.to != nil {
				rest = append(rest, s)
			}
		}
		list = rest
	}
	for _, set := range c.vlanRows(list) {
		row := c.mirror(g, set.vlans)
		row.Columns[colSelectSrc] = c.portNames(set.from)
		row.Columns[colSelectDst] = c.portNames(set.to)
		rows = append(rows, row)
	}
	return rows
}

// merge unites the selections of a group's sessions on its bridge.
func (c *compiler) merge(g *group) ([]source, universal) {
	var every universal
	var lists [][]source
	for _, o := range g.sessions {
		first, _ := slices.BinarySearchFunc(o.selected.list, c.first[g.bridge], bySource)
		end, _ := slices.BinarySearchFunc(o.selected.list, c.first[g.bridge+1], bySource)
		lists = append(lists, o.selected.list[first:end])
		u := o.selected.every[g.bridge]
		every.from = c.vlans.union(every.from, u.from)
		every.to = c.vlans.union(every.to, u.to)
	}
	for _, m := range g.broken {
		list, u := c.selectionOf(g.bridge, m)
		lists = append(lists, list)
		every.from = c.vlans.union(every.from, u.from)
		every.to = c.vlans.union(every.to, u.to)
	}
	if len(lists) == 1 {
		return lists[0], every
	}
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b source) int { return cmp.Compare(a.port, b.port) })
	merged := all[:0]
	for _, s := range all {
		if n := len(merged); n > 0 && merged[n-1].port == s.port {
			merged[n-1].from = c.vlans.union(merged[n-1].from, s.from)
			merged[n-1].to = c.vlans.union(merged[n-1].to, s.to)
		} else {
			merged = append(merged, s)
		}
	}
	return merged, every
}

// selectionOf is what a standing mirror selects.
func (c *compiler) selectionOf(bridge int32, m *Mirror) ([]source, universal) {
	vlans := c.vlans.of(m.SelectVLANs)
	if m.SelectAll {
		return nil, universal{vlans, vlans}
	}
	var list []source
	for port := c.first[bridge]; port < c.first[bridge+1]; port++ {
		s := source{port: port}
		if _, ok := slices.BinarySearch(m.SelectSrc, c.ports[port].Name); ok {
			s.from = vlans
		}
		if _, ok := slices.BinarySearch(m.SelectDst, c.ports[port].Name); ok {
			s.to = vlans
		}
		if s.from != nil || s.to != nil {
			list = append(list, s)
		}
	}
	return list, universal{}
}

func bySource(s source, port int32) int { return cmp.Compare(s.port, port) }

// selectAllIsExact reports whether select_all selects on the group's bridge
// what the feedback rule allows: OVS counts every port in, so none may be a
// tunnel, a port that is told to have no role, or a destination that no mirror
// reserves. What is received on a reserved port is dropped before any mirror
// sees it (ofproto-dpif-xlate, xlate_actions, OVS 3.1 and 3.5).
func (c *compiler) selectAllIsExact(g *group) bool {
	for port := c.first[g.bridge]; port < c.first[g.bridge+1]; port++ {
		d := c.deliveryTo[port]
		// A borrowed port is not on the bridge, or comes home by this very plan.
		here := (d == nil || d.tier == TierDirect) && (c.on[port] == g.bridge || !c.keepsTap(&c.snap.Bridges[c.on[port]]))
		if c.roles[port] == roleNone && !isPatch(c.ports[port]) && here {
			return false
		}
		if !c.isDest[port] || c.outputOfOthers(port) {
			continue
		}
		if d == nil && (c.on[port] == g.bridge || !c.keepsTap(&c.snap.Bridges[c.on[port]])) {
			return false
		}
	}
	return true
}

// stripped names a port of the group's bridge at which mirrors of others end and
// copies lose their tag, empty if there is none. What leaves there without its tag
// select_all takes for a packet, and copies it in place of the one that has the tag
// (OVS 3.1 and 3.5).
func (c *compiler) stripped(g *group) string {
	for port := c.first[g.bridge]; port < c.first[g.bridge+1]; port++ {
		if !c.isDest[port] {
			continue
		}
		p, d := c.ports[port], c.deliveryTo[port]
		native := p.VLANMode == "native-tagged" // what leaves there untagged counts as its VLAN's
		if d != nil && d != g.delivery && d.tier == TierDirect && (d.strip || native) ||
			d == nil && c.on[port] == g.bridge && c.outputOfOthers(port) && (native || !carriesTags(p, false)) {
			return p.Name
		}
	}
	return ""
}

// isPatch reports whether the port is a patch port. OVS mirrors neither act
// where packets enter by one nor where they leave by one (OVS 3.1), so that
// select_all with patch ports selects what it does without them.
func isPatch(p *Port) bool { return len(p.Interfaces) == 1 && p.Interfaces[0].Type == "patch" }

// mirror is a Mirror row of the group that selects nothing yet.
func (c *compiler) mirror(g *group, vlans *vlanSet) Row {
	sessions := make([]string, len(g.sessions))
	for i, o := range g.sessions {
		sessions[i] = o.Name
	}
	for _, m := range g.broken {
		sessions = append(sessions, c.brokenSessions(m)...)
	}
	slices.Sort(sessions)
	sessions = slices.Compact(sessions)
	row := emptyMirror(c.snap.Bridges[g.bridge].Name, mirrorName(sessions[0], vlans)+g.delivery.part(), sessions, g.delivery.tier, c.snap.MirrorFilter)
	row.Columns[colSelectVLAN] = rangesValue(vlans.ranges)
	row.Columns[colOutputVLAN] = intValue(g.delivery.direct().vlan)
	if g.delivery.tier != TierDirect {
		// Snaplen is for the tap bridge: to a patch port it sends nothing (OVS 3.1).
		outer, _ := g.delivery.patch(row.Bridge)
		row.Columns[colOutputPort] = Value{outer}
	} else {
		row.Columns[colSnaplen] = intValue(g.delivery.snaplen)
		if c.snap.MirrorFilter {
			row.Columns[colFilter] = textValue(g.delivery.filter())
		}
		if port := g.delivery.direct().port; port >= 0 {
			row.Columns[colOutputPort] = Value{c.ports[port].Name}
		}
	}
	return row
}

// mirrorName names a Mirror for the session and the VLANs that it serves, so
// that names do not shift when another row goes.
func mirrorName(session string, vlans *vlanSet) string {
	name := "spanctl-" + session
	if vlans.all() {
		return name
	}
	suffix := vlans.ranges.String()
	if len(suffix) > 24 {
		sum := sha256.Sum256([]byte(suffix))
		suffix = hex.EncodeToString(sum[:4])
	}
	return name + ".v" + strings.ReplaceAll(suffix, ",", ".") // no session name has a dot
}

// part is what tells the mirrors of a session's deliveries apart, nothing if it has
// one alone.
func (d *delivery) part() string {
	if len(d.targets) == len(d.first().targets) {
		return ""
	}
	return "." + strings.TrimPrefix(shortName(d.texts()...), "spanctl-")
}

func (c *compiler) portNames(ports []int32) Value {
	names := make(Value, len(ports))
	for i, port := range ports {
		names[i] = c.ports[port].Name
	}
	return names
}
