package plan

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"spanctl/policy"
)

// A Table is an OVSDB table, or TableIntent.
type Table string

// The tables that plans write. TableIntent stands for the keys of
// Open_vSwitch.external_ids that hold sessions, one row a session. A row of
// TablePort describes the Port and its one Interface, whose columns are
// prefixed "interface.". TableFlow and TableMeter are rules and meters of tap
// bridges, which ovs-vswitchd has and OVSDB does not.
const (
	TableIntent Table = "session"
	TableBridge Table = "Bridge"
	TablePort   Table = "Port"
	TableMirror Table = "Mirror"
	TableFlow   Table = "Flow"
	TableMeter  Table = "Meter"
)

// ofRules reports whether it is a table that OVSDB does not have.
func (t Table) ofRules() bool { return t == TableFlow || t == TableMeter }

// A Value is the content of a column as sorted text atoms: a scalar is one
// atom, an empty optional none, a map's atoms are "key=value", a VLAN set's
// are numbers and ranges, references are Port names.
type Value []string

// A Row is one row as it should be, or as it is. Only the columns that spanctl
// sets are in it; of external_ids only our own keys.
type Row struct {
	Table  Table
	Bridge string
	Name   string
	// UUID is the row's own, empty for one that does not exist yet.
	UUID    string
	Columns map[string]Value
	// Sessions are those the row serves, Tier is the tier it belongs to.
	Sessions []string
	Tier     Tier
}

type rowKey struct {
	table        Table
	bridge, name string
}

// key is what makes the row the same one before and after. Mirrors, rules and
// meters are known by their bridge and name. The names of Ports and Bridges are
// unique, and a Port may move: its bridge is one of its columns.
func (r *Row) key() rowKey {
	if r.Table == TableMirror || r.Table.ofRules() {
		return rowKey{r.Table, r.Bridge, r.Name}
	}
	return rowKey{r.Table, "", r.Name}
}

// Column names of Bridge, Port, Interface and Mirror, ovs-vswitchd.conf.db(5).
// The bridge of a Port is shown as a column of it.
const (
	colName       = "name"
	colBridge     = "bridge"
	colDatapath   = "datapath_type"
	colFailMode   = "fail_mode"
	colFloodVLANs = "flood_vlans"
	colOther      = "other_config"
	colIntent     = "intent"
	colIDs        = "external_ids"
	colSelectAll  = "select_all"
	colSelectSrc  = "select_src_port"
	colSelectDst  = "select_dst_port"
	colSelectVLAN = "select_vlan"
	colOutputPort = "output_port"
	colOutputVLAN = "output_vlan"
	colSnaplen    = "snaplen"
	colFilter     = "filter"
	colVLANMode   = "vlan_mode"
	colTrunks     = "trunks"
	colProtected  = "protected"
	colType       = "interface.type"
	colOptions    = "interface.options"
	colIfaceIDs   = "interface.external_ids"
	colOFPort     = "interface.ofport"
	colRequest    = "interface.ofport_request"
	// Of rules and meters.
	colActions = "actions"
	colCookie  = "cookie"
	colRate    = "rate"
	colBurst   = "burst"
)

func boolValue(b bool) Value { return Value{strconv.FormatBool(b)} }

// intValue returns n, and nothing for 0.
func intValue(n int) Value {
	if n == 0 {
		return nil
	}
	return Value{strconv.Itoa(n)}
}

// textValue returns s, and nothing for the empty string.
func textValue(s string) Value {
	if s == "" {
		return nil
	}
	return Value{s}
}

func rangesValue(r policy.Ranges) Value {
	if len(r) == 0 {
		return nil
	}
	return strings.Split(r.String(), ",")
}

// idsValue returns our own keys of external_ids.
func idsValue(ids map[string]string) Value {
	var v Value
	for _, key := range slices.Sorted(maps.Keys(ids)) {
		if key == KeyManaged || key == KeySession || key == KeyFail || key == KeyPSKFile || strings.HasPrefix(key, KeySavedPrefix) {
			v = append(v, key+"="+ids[key])
		}
	}
	return v
}

// managedIDs are the external_ids of a row that we make.
func managedIDs(sessions []string) Value {
	v := Value{KeyManaged + "=true"}
	if len(sessions) > 0 {
		v = append(v, KeySession+"="+strings.Join(sessions, ","))
	}
	return v
}

// emptyMirror is a Mirror row of ours that selects nothing and outputs nowhere yet.
func emptyMirror(bridge, name string, sessions []string, tier Tier, filter bool) Row {
	row := Row{
		Table: TableMirror, Bridge: bridge, Name: name, Sessions: sessions, Tier: tier,
		Columns: map[string]Value{
			colSelectAll: boolValue(false), colSelectSrc: nil, colSelectDst: nil, colSelectVLAN: nil,
			colOutputPort: nil, colOutputVLAN: nil, colSnaplen: nil, colIDs: managedIDs(sessions),
		},
	}
	if filter {
		row.Columns[colFilter] = nil
	}
	return row
}

// mirrorRow is an existing Mirror as a Row.
func mirrorRow(snap *Snapshot, bridge *Bridge, m *Mirror) Row {
	outputVLAN := 0
	if m.OutputVLAN != nil {
		outputVLAN = *m.OutputVLAN
	}
	tier := TierDirect
	if out := bridge.Port(m.OutputPort); bridge.Managed() {
		tier = tapTier(bridge)
	} else if out != nil && out.Managed() {
		tier = snap.portTier(bridge, out)
	}
	row := Row{
		Table: TableMirror, Bridge: bridge.Name, Name: m.Name, UUID: m.UUID,
		Sessions: m.Sessions(), Tier: tier,
		Columns: map[string]Value{
			colSelectAll:  boolValue(m.SelectAll),
			colSelectSrc:  m.SelectSrc,
			colSelectDst:  m.SelectDst,
			colSelectVLAN: rangesValue(m.SelectVLANs),
			colOutputPort: textValue(m.OutputPort),
			colOutputVLAN: intValue(outputVLAN),
			colSnaplen:    intValue(m.Snaplen),
			colIDs:        idsValue(m.ExternalIDs),
		},
	}
	if snap.MirrorFilter {
		row.Columns[colFilter] = textValue(m.Filter)
	}
	return row
}

// borrowedRow is an existing foreign Port as a Row, with the columns that we
// may set.
func borrowedRow(bridge string, p *Port) Row {
	row := Row{
		Table: TablePort, Bridge: bridge, Name: p.Name, UUID: p.UUID,
		Columns: map[string]Value{
			colVLANMode: textValue(p.VLANMode),
			colIDs:      idsValue(p.ExternalIDs),
		},
	}
	if len(p.Interfaces) == 1 {
		row.Columns[colOFPort] = intValue(p.Interfaces[0].OFPort)
		row.Columns[colRequest] = intValue(p.Interfaces[0].OFPortRequest)
	}
	return row
}

// ownPortRow is an existing Port of ours as a Row.
func ownPortRow(snap *Snapshot, bridge *Bridge, p *Port) Row {
	row := borrowedRow(bridge.Name, p)
	delete(row.Columns, colOFPort) // of ours it does not matter
	if len(row.Columns[colRequest]) == 0 {
		delete(row.Columns, colRequest)
	}
	row.Sessions, row.Tier = splitNames(p.ExternalIDs[KeySession]), snap.portTier(bridge, p)
	row.Columns[colTrunks] = rangesValue(p.Trunks)
	row.Columns[colProtected] = boolValue(p.Protected)
	row.Columns[colOther] = keysValue(p.OtherConfig, keyRSTP, keySTP)
	if len(p.Interfaces) == 1 {
		iface := &p.Interfaces[0]
		row.Columns[colType] = textValue(iface.Type)
		row.Columns[colOptions] = mapValue(iface.Options)
		row.Columns[colIfaceIDs] = idsValue(iface.ExternalIDs)
	}
	return row
}

// bridgeRow is an existing tap bridge as a Row.
func bridgeRow(bridge *Bridge) Row {
	return Row{
		Table: TableBridge, Name: bridge.Name, UUID: bridge.UUID,
		Sessions: splitNames(bridge.ExternalIDs[KeySession]), Tier: tapTier(bridge),
		Columns: map[string]Value{
			colDatapath:   textValue(bridge.Datapath),
			colFailMode:   textValue(bridge.FailMode),
			colFloodVLANs: rangesValue(bridge.FloodVLANs),
			colOther:      keysValue(bridge.OtherConfig, keyForwardBPDU),
			colIDs:        idsValue(bridge.ExternalIDs),
		},
	}
}

// tapTier is the tier of a tap bridge that is there.
func tapTier(bridge *Bridge) Tier {
	if bridge.Ruled() {
		return TierFlow
	}
	return TierHub
}

// portTier is the tier of a port of ours: that of the tap bridge that it is on, or
// to which it is a patch.
func (s *Snapshot) portTier(bridge *Bridge, p *Port) Tier {
	if tap := s.behind(p); tap != nil && !bridge.Managed() {
		bridge = tap
	}
	return tapTier(bridge)
}

// behind is the bridge to which the port is a patch, nil if it is none.
func (s *Snapshot) behind(p *Port) *Bridge {
	if p == nil || !isPatch(p) {
		return nil
	}
	bridge, _ := s.portAnywhere(p.Interfaces[0].Options["peer"])
	return bridge
}

// Ruled reports whether the bridge is a tap bridge with rules.
func (b *Bridge) Ruled() bool {
	return b.Managed() && (b.FailMode == failSecure || b.ExternalIDs[KeyFail] == string(policy.FailOpen))
}

// mapValue returns a map's pairs, sorted.
func mapValue(m map[string]string) Value {
	var v Value
	for _, key := range slices.Sorted(maps.Keys(m)) {
		v = append(v, key+"="+m[key])
	}
	return v
}

// keysValue returns some pairs of a map, less those that are not there. The keys
// are sorted.
func keysValue(m map[string]string, keys ...string) Value {
	var v Value
	for _, key := range keys {
		if text, ok := m[key]; ok {
			v = append(v, key+"="+text)
		}
	}
	return v
}
