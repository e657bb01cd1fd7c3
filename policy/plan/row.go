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
// prefixed "interface.".
const (
	TableIntent Table = "session"
	TableMirror Table = "Mirror"
	TablePort   Table = "Port"
)

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

func (r *Row) key() rowKey { return rowKey{r.Table, r.Bridge, r.Name} }

// Column names of Mirror and Port, ovs-vswitchd.conf.db(5).
const (
	colName       = "name"
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
		if key == KeyManaged || key == KeySession || strings.HasPrefix(key, KeySavedPrefix) {
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

// mirrorRow is an existing Mirror as a Row.
func mirrorRow(bridge *Bridge, m *Mirror, filter bool) Row {
	outputVLAN := 0
	if m.OutputVLAN != nil {
		outputVLAN = *m.OutputVLAN
	}
	row := Row{
		Table: TableMirror, Bridge: bridge.Name, Name: m.Name, UUID: m.UUID,
		Sessions: m.Sessions(), Tier: TierDirect,
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
	if filter {
		row.Columns[colFilter] = textValue(m.Filter)
	}
	return row
}

// portRow is an existing Port as a Row, with the columns that we may set.
func portRow(bridge *Bridge, p *Port) Row {
	return Row{
		Table: TablePort, Bridge: bridge.Name, Name: p.Name, UUID: p.UUID,
		Columns: map[string]Value{
			colVLANMode: textValue(p.VLANMode),
			colIDs:      idsValue(p.ExternalIDs),
		},
	}
}
