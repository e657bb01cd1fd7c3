package ovs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

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

// optional are the columns that spanctl does without where a server lacks them. All
// others that it reads are in every schema since OVS 2.7 (Port.protected came with it,
// Mirror.snaplen with 2.6, Interface.error with 2.4).
var optional = map[string]bool{
	vswitchd.MirrorTable + ".filter": true, // OVS 3.4, schema 8.7.0
}

// asked are the columns that are not monitored, but selected, waited for and changed.
var asked = map[string][]string{
	vswitchd.OpenvSwitchTable: {"next_cfg", "cur_cfg", "other_config"},
	vswitchd.InterfaceTable:   {"statistics"},
	vswitchd.MirrorTable:      {"statistics"},
}

// rowTypes returns the row types that fit a server's schema: the client library rejects
// a type with a column that the server does not know, or knows as something else. They
// are without the optional columns that it lacks, and have as optional or as a scalar
// what it has so. Its error matches ErrSchema and names all that is missing.
func rowTypes(schema ovsdb.DatabaseSchema) (map[string]model.Model, error) {
	types := map[string]model.Model{}
	var missing, unlike []string
	for name, whole := range tables {
		table := schema.Table(name)
		if table == nil {
			missing = append(missing, name)
			continue
		}
		typ := reflect.TypeOf(whole).Elem()
		fits := true
		var fields []reflect.StructField
		for i := range typ.NumField() {
			field := typ.Field(i)
			column := field.Tag.Get("ovsdb")
			if column == "_uuid" {
				fields = append(fields, field)
				continue
			}
			there := table.Column(column)
			switch {
			case there == nil && optional[name+"."+column]:
				fits = false
				continue
			case there == nil:
				missing = append(missing, name+"."+column)
				continue
			}
			if native := ovsdb.NativeType(there); native != field.Type {
				if !convertible(native, field.Type) {
					unlike = append(unlike, name+"."+column)
				}
				fits, field.Type = false, native
			}
			fields = append(fields, field)
		}
		for _, column := range asked[name] {
			if table.Column(column) == nil {
				missing = append(missing, name+"."+column)
			}
		}
		if types[name] = whole; !fits {
			types[name] = reflect.New(reflect.StructOf(fields)).Interface()
		}
	}
	slices.Sort(missing)
	slices.Sort(unlike)
	switch {
	case len(missing) > 0:
		return nil, fmt.Errorf("%w: version %s lacks %s; Open vSwitch 2.7 and later have that", ErrSchema, schema.Version, strings.Join(missing, ", "))
	case len(unlike) > 0:
		return nil, fmt.Errorf("%w: version %s has %s as another type", ErrSchema, schema.Version, strings.Join(unlike, ", "))
	}
	return types, nil
}

// elem is the type of a column's atoms.
func elem(typ reflect.Type) reflect.Type {
	if typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		return typ.Elem()
	}
	return typ
}

// convertible reports whether nothing is lost where a server has a column as one type
// and spanctl knows it as another: a scalar, an optional one, or a set.
func convertible(from, to reflect.Type) bool {
	return elem(from) == elem(to) && (from.Kind() != reflect.Slice || to.Kind() == reflect.Slice)
}

// convert is a column's value as the type that spanctl knows.
func convert(from reflect.Value, to reflect.Type) reflect.Value {
	if from.Type() == to {
		return from
	}
	if from.Kind() == reflect.Pointer {
		if from.IsNil() {
			return reflect.Zero(to)
		}
		from = from.Elem()
	}
	whole := reflect.New(to).Elem()
	switch to.Kind() {
	case reflect.Pointer:
		whole.Set(reflect.New(to.Elem()))
		whole.Elem().Set(from)
	case reflect.Slice:
		whole.Set(reflect.Append(whole, from))
	default:
		whole.Set(from)
	}
	return whole
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
		column := to.FieldByName(from.Type().Field(i).Name)
		column.Set(convert(from.Field(i), column.Type()))
	}
	return whole
}

// has reports whether a row type has a column.
func has(row model.Model, column string) bool { return slices.Contains(columns(row), column) }
