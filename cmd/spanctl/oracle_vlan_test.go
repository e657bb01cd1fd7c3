package main

// What a bridge does with tags at its ports: ovs-vswitchd.conf.db(5), columns vlan_mode, tag and trunks of Port.

// mode is the port's vlan_mode, with OVS's default filled in.
func (p *oraclePort) mode() string {
	switch {
	case p.Mode != "":
		return p.Mode
	case p.Tag != 0:
		return "access"
	}
	return "trunk"
}

// vid is the VLAN of a packet with these tags: 0 is untagged and priority-tagged.
func vlanOf(tags []oracleTag) uint16 {
	if len(tags) == 0 {
		return 0
	}
	return tags[0].VID
}

// carries tells whether the port lets packets of the VLAN in and out as a trunk.
func (p *oraclePort) carries(vid uint16) bool { return len(p.Trunks) == 0 || p.Trunks.has(vid) }

// enter gives the tags, within the switch, of a packet that arrives at the port with tags: none, or those that make it one
// of a VLAN. A packet that the port does not let in is copied no more than it is forwarded.
func (p *oraclePort) enter(tags []oracleTag) (inside []oracleTag, ok bool) {
	id := vlanOf(tags)
	native := oracleTag{VID: p.Tag}
	rest := tags
	if len(tags) > 0 && id == 0 { // priority-tagged: the tag goes, what it says may stay
		native.PCP, native.TPID = tags[0].PCP, tags[0].TPID
		rest = tags[1:]
	}
	switch mode := p.mode(); {
	case mode == "access":
		inside, ok = append([]oracleTag{native}, rest...), id == 0
	case mode == "dot1q-tunnel": // what the tag says stays
		if id == 0 && native.PCP == 0 {
			tags = rest
		}
		inside, ok = append([]oracleTag{{VID: p.Tag, TPID: 0x88a8}}, tags...), true
	case mode != "trunk" && id == 0: // native-tagged, native-untagged
		inside, ok = append([]oracleTag{native}, rest...), true
	default:
		inside, ok = tags, p.carries(id)
	}
	if len(inside) > 0 && inside[0].VID == 0 && inside[0].PCP == 0 {
		inside = inside[1:] // a tag that says nothing
	}
	return inside, ok
}

// again gives the tags, within the switch, of a packet that leaves by the port with those tags: what a mirror of packets
// that are sent to the port copies. A tag that the port takes off comes on again, without what it said beside the VLAN. An
// access port takes off all tags that the switch knows of, which are two if the packet came tagged by a dot1q-tunnel.
func (p *oraclePort) again(inside []oracleTag, known int) []oracleTag {
	off := vlanOf(inside) == p.Tag && len(inside) > 0
	switch p.mode() {
	case "trunk", "native-tagged":
		off = false
	}
	if !off {
		return inside
	}
	again := oracleTag{VID: p.Tag}
	rest := inside[1:]
	switch p.mode() {
	case "access":
		rest = inside[min(known, len(inside)):]
	case "dot1q-tunnel":
		again.TPID = 0x88a8
	}
	return append([]oracleTag{again}, rest...)
}
