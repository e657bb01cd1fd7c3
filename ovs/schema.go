package ovs

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
)

// DatabaseName is the database that ovs-vswitchd is configured by.
const DatabaseName = "Open_vSwitch"

// tables are the row types of the tables that spanctl reads, whole.
var tables = map[string]model.Model{
	vswitchd.OpenvSwitchTable: &vswitchd.OpenvSwitch{},
	vswitchd.BridgeTable:      &vswitchd.Bridge{},
	vswitchd.PortTable:        &vswitchd.Port{},
	vswitchd.InterfaceTable:   &vswitchd.Interface{},
	vswitchd.MirrorTable:      &vswitchd.Mirror{},
}

// optional are the columns that not every supported server has: all others
// that spanctl reads are in OVS 2.13 (schema 8.2.0) and later.
var optional = map[string]bool{
	vswitchd.MirrorTable + ".filter": true, // OVS 3.4, schema 8.7.0
}

// rowTypes returns the row types that fit a server's schema, without the
// optional columns that it lacks: the client library rejects a type with a
// column that the server does not know.
func rowTypes(schema ovsdb.DatabaseSchema) (map[string]model.Model, error) {
	types := map[string]model.Model{}
	for name, whole := range tables {
		table := schema.Table(name)
		if table == nil {
			return nil, fmt.Errorf("%w: its schema %s has no table %s; spanctl needs Open vSwitch 2.13 or later", ErrUnreachable, schema.Version, name)
		}
		typ := reflect.TypeOf(whole).Elem()
		var fields []reflect.StructField
		for i := range typ.NumField() {
			column := typ.Field(i).Tag.Get("ovsdb")
			switch {
			case column == "_uuid" || table.Column(column) != nil:
				fields = append(fields, typ.Field(i))
			case !optional[name+"."+column]:
				return nil, fmt.Errorf("%w: its schema %s has no column %s.%s; spanctl needs Open vSwitch 2.13 or later", ErrUnreachable, schema.Version, name, column)
			}
		}
		if len(fields) == typ.NumField() {
			types[name] = whole
		} else {
			types[name] = reflect.New(reflect.StructOf(fields)).Interface()
		}
	}
	return types, nil
}

// columns lists the columns of a row type, sorted.
func columns(row model.Model) []string {
	typ := reflect.TypeOf(row).Elem()
	var list []string
	for i := range typ.NumField() {
		if column := typ.Field(i).Tag.Get("ovsdb"); column != "_uuid" {
			list = append(list, column)
		}
	}
	slices.Sort(list)
	return list
}

// widen returns a row as its whole type: columns that the server lacks are
// zero.
func widen[T any](row model.Model) *T {
	if whole, ok := row.(*T); ok {
		return whole
	}
	whole := new(T)
	from, to := reflect.ValueOf(row).Elem(), reflect.ValueOf(whole).Elem()
	for i := range from.NumField() {
		to.FieldByName(from.Type().Field(i).Name).Set(from.Field(i))
	}
	return whole
}
