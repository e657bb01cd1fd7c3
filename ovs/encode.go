package ovs

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/policy/plan"
)

// A kind is how a column's text atoms become an OVSDB value (RFC 7047 section
// 5.1).
type kind int

const (
	kindString  kind = iota // optional string
	kindText                // string
	kindBool                // boolean
	kindInt                 // optional integer
	kindVLANs               // set of integers, from numbers and ranges
	kindPorts               // references to Port, from names
	kindPortRef             // optional reference to Port
	kindMap                 // map of strings, from key=value, of which spanctl sets some keys
	kindOptions             // likewise, all of it spanctl's
)

// kinds are the columns of Bridge, Mirror, Port and Interface that plans set, by
// their name in a plan.Row.
var kinds = map[string]kind{
	"datapath_type":          kindText,
	"fail_mode":              kindString,
	"flood_vlans":            kindVLANs,
	"other_config":           kindMap,
	"name":                   kindText,
	"external_ids":           kindMap,
	"select_all":             kindBool,
	"select_src_port":        kindPorts,
	"select_dst_port":        kindPorts,
	"select_vlan":            kindVLANs,
	"output_port":            kindPortRef,
	"output_vlan":            kindInt,
	"snaplen":                kindInt,
	"filter":                 kindString,
	"vlan_mode":              kindString,
	"trunks":                 kindVLANs,
	"protected":              kindBool,
	"interface.type":         kindText,
	"interface.options":      kindOptions,
	"interface.external_ids": kindMap,
	"interface.ofport":       kindInt,

	"interface.ofport_request": kindInt,
}

// An encoder turns plan values into OVSDB values on one snapshot.
type encoder struct {
	// ports are UUIDs by Port name, or the names of rows that the transaction
	// inserts.
	ports map[string]string
}

func newEncoder(s *plan.Snapshot) *encoder {
	e := &encoder{ports: map[string]string{}}
	for b := range s.Bridges {
		for p := range s.Bridges[b].Ports {
			e.ports[s.Bridges[b].Ports[p].Name] = s.Bridges[b].Ports[p].UUID
		}
	}
	return e
}

func (e *encoder) value(column string, v plan.Value) (any, error) {
	k, ok := kinds[column]
	if !ok {
		return nil, fmt.Errorf("column %s cannot be written", column)
	}
	text := ""
	if len(v) > 0 {
		text = v[0]
	}
	switch k {
	case kindText:
		return text, nil
	case kindBool:
		return text == "true", nil
	case kindMap, kindOptions:
		return ovsdb.OvsMap{GoMap: pairs(v)}, nil
	}
	set := make([]any, 0, len(v))
	for _, atom := range v {
		switch k {
		case kindString:
			set = append(set, atom)
		case kindInt, kindVLANs:
			first, last, isRange := strings.Cut(atom, "-")
			if !isRange {
				last = first
			}
			from, err := strconv.Atoi(first)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", column, err)
			}
			to, err := strconv.Atoi(last)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", column, err)
			}
			for n := from; n <= to; n++ {
				set = append(set, n)
			}
		case kindPorts, kindPortRef:
			uuid, ok := e.ports[atom]
			if !ok {
				return nil, fmt.Errorf("column %s: no port %s", column, atom)
			}
			set = append(set, ovsdb.UUID{GoUUID: uuid})
		}
	}
	return ovsdb.OvsSet{GoSet: set}, nil
}
