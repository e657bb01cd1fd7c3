package plan

import (
	"slices"
	"strconv"
)

// keySavedBridge names the bridge that a borrowed port came from, keySavedOFPort
// its OpenFlow port number there: it may get another on the tap bridge, and would
// come back with that (OVS 3.1).
const (
	keySavedBridge = KeySavedPrefix + "bridge"
	keySavedOFPort = KeySavedPrefix + "ofport"
	keySavedMode   = KeySavedPrefix + colVLANMode
	// keySavedRequest is the number that was asked for; rules need one of our own.
	keySavedRequest = KeySavedPrefix + "ofport_request"
)

// portRows are the foreign Ports that spanctl borrows: destinations that are
// moved to a tap bridge, or whose VLAN mode would change the copies' tags, with
// where they came from and the old mode kept in external_ids; and ports that are
// given back what they had.
func (c *compiler) portRows() []Row {
	var rows []Row
	for i, p := range c.ports {
		port := int32(i)
		if p.Managed() {
			continue
		}
		home, on := &c.snap.Bridges[c.bridge[port]], &c.snap.Bridges[c.on[port]]
		oldMode, keepsMode := p.ExternalIDs[keySavedMode]
		keepsMode = keepsMode && vlanModes[oldMode]
		_, keepsBridge := p.ExternalIDs[keySavedBridge]
		d := c.deliveryTo[port]
		request, keepsRequest := p.ExternalIDs[keySavedRequest]
		tap := d != nil && d.tier != TierDirect
		carries := func(p *Port) bool { return d.sends() || carriesTags(p, d.strip) } // rules do not heed the mode
		switch {
		case d == nil && on.Managed() && (c.holds(on) || home == on):
			continue // it stays for a session that cannot be compiled, or has no home
		case d == nil && on == home && !keepsBridge && c.isDest[port] && c.outputOfOthers(port):
			continue // a mirror that stays sends to it
		case !keepsMode && !keepsBridge && !tap && (d == nil || carries(p)):
			continue // it is as it should be
		}
		row := Row{Table: TablePort, Bridge: home.Name, Name: p.Name, UUID: p.UUID, Tier: TierDirect, Columns: map[string]Value{}}
		var ids Value
		if d != nil {
			row.Tier = d.tier
			for _, on := range d.deliveries {
				for _, o := range on.sessions {
					if slices.ContainsFunc(on.targets, func(t target) bool { return t.port == port }) {
						row.Sessions = append(row.Sessions, o.Name)
					}
				}
			}
			slices.Sort(row.Sessions)
		}
		if tap {
			row.Bridge = d.name
			from := home.Name
			if home == on && home.Managed() { // its home is gone
				from = p.ExternalIDs[keySavedBridge]
			}
			ids = append(ids, keySavedBridge+"="+from)
			number := p.savedOFPort()
			if !keepsBridge && len(p.Interfaces) == 1 {
				number = p.Interfaces[0].OFPort
			}
			if number > 0 {
				ids = append(ids, keySavedOFPort+"="+strconv.Itoa(number))
			}
		} else if number := p.savedOFPort(); number > 0 {
			row.Columns[colOFPort] = intValue(number)
		}
		switch {
		case tap && d.sends():
			if !keepsRequest {
				request = ""
				if n := p.Interfaces[0].OFPortRequest; n > 0 {
					request = strconv.Itoa(n)
				}
			}
			row.Columns[colRequest] = intValue(c.number(d.tap, p.Name))
			ids = append(ids, keySavedRequest+"="+request)
		case keepsRequest:
			n, _ := strconv.Atoi(request) // what is no number was none
			row.Columns[colRequest] = intValue(max(n, 0))
		}
		original := *p
		if keepsMode {
			original.VLANMode = oldMode
		}
		switch {
		case d != nil && !carries(&original):
			row.Columns[colVLANMode] = Value{modeFor(d.strip)}
			ids = append(ids, keySavedMode+"="+original.VLANMode)
		case keepsMode:
			row.Columns[colVLANMode] = restored(p, oldMode)
		default:
			row.Columns[colVLANMode] = textValue(p.VLANMode)
		}
		slices.Sort(ids)
		row.Columns[colIDs] = ids
		rows = append(rows, row)
	}
	return rows
}

// savedOFPort is the OpenFlow port number of a borrowed port where it came
// from, 0 if that is not known. A bond has none.
func (p *Port) savedOFPort() int {
	if _, borrowed := p.ExternalIDs[keySavedBridge]; !borrowed || len(p.Interfaces) != 1 {
		return 0
	}
	number, _ := strconv.Atoi(p.ExternalIDs[keySavedOFPort]) // what is no number is not ours
	return max(number, 0)
}

// vlanModes are the values of Port.vlan_mode; anything else in our key is not
// ours.
var vlanModes = map[string]bool{"": true, "access": true, "trunk": true, "native-tagged": true, "native-untagged": true, "dot1q-tunnel": true}

// restored is the VLAN mode that a port gets back, unless somebody else has
// given it a third one meanwhile.
func restored(p *Port, saved string) Value {
	if p.VLANMode != modeFor(true) && p.VLANMode != modeFor(false) {
		saved = p.VLANMode
	}
	return textValue(saved)
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
