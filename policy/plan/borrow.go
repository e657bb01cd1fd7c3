package plan

import "slices"

// portRows are the foreign Ports of which spanctl sets a column: destinations
// whose VLAN mode would change the copies' tags, with the old mode kept in
// external_ids, and ports that are given back what they had.
func (c *compiler) portRows(groups []*group) []Row {
	var rows []Row
	for port, p := range c.ports {
		bridge := &c.snap.Bridges[c.bridge[port]]
		saved, borrowed := p.ExternalIDs[KeySavedPrefix+colVLANMode]
		borrowed = borrowed && vlanModes[saved]
		at := slices.IndexFunc(groups, func(g *group) bool { return g.target.port == int32(port) })
		row := Row{Table: TablePort, Bridge: bridge.Name, Name: p.Name, UUID: p.UUID, Tier: TierDirect}
		switch {
		case at >= 0 && (borrowed || !carriesTags(p, groups[at].strip)):
			if !borrowed {
				saved = p.VLANMode
			}
			for _, o := range groups[at].sessions {
				row.Sessions = append(row.Sessions, o.Name)
			}
			slices.Sort(row.Sessions)
			original := *p
			original.VLANMode = saved
			if carriesTags(&original, groups[at].strip) {
				row.Columns = restored(p, saved)
				break
			}
			row.Columns = map[string]Value{
				colVLANMode: {modeFor(groups[at].strip)},
				colIDs:      {KeySavedPrefix + colVLANMode + "=" + saved},
			}
		case at < 0 && borrowed && !c.isDest[port]:
			row.Columns = restored(p, saved)
		default:
			continue
		}
		rows = append(rows, row)
	}
	return rows
}

// vlanModes are the values of Port.vlan_mode; anything else in our key is not
// ours.
var vlanModes = map[string]bool{"": true, "access": true, "trunk": true, "native-tagged": true, "native-untagged": true, "dot1q-tunnel": true}

// restored are the columns of a port that gets its VLAN mode back, unless
// somebody else has given it a third one meanwhile.
func restored(p *Port, saved string) map[string]Value {
	if p.VLANMode != modeFor(true) && p.VLANMode != modeFor(false) {
		saved = p.VLANMode
	}
	return map[string]Value{colVLANMode: textValue(saved), colIDs: nil}
}

// carriesTags reports whether copies that leave by the port have the tags that
// the sessions ask for. A mirror's output is translated as the port's VLAN
// mode says: trunk and native-tagged leave tags alone, dot1q-tunnel takes the
// outermost one off, access takes off every tag that the switch has parsed.
func carriesTags(p *Port, strip bool) bool {
	mode := p.VLANMode
	if mode == "" && p.Tag != nil {
		mode = "access"
	}
	if strip {
		return mode == "dot1q-tunnel"
	}
	return mode == "" || mode == "trunk" || mode == "native-tagged"
}

func modeFor(strip bool) string {
	if strip {
		return "dot1q-tunnel"
	}
	return "trunk"
}
