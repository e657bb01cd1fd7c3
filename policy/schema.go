package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"time"

	"github.com/invopop/jsonschema"
)

// schemaTypes are the structs of the language, by their names in the schema.
var schemaTypes = map[string]reflect.Type{
	"Session":     reflect.TypeFor[Session](),
	"Selector":    reflect.TypeFor[Selector](),
	"Match":       reflect.TypeFor[Match](),
	"Destination": reflect.TypeFor[Destination](),
	"ERSPAN":      reflect.TypeFor[ERSPAN](),
	"GRE":         reflect.TypeFor[GRE](),
	"VXLAN":       reflect.TypeFor[VXLAN](),
}

// Schema is the JSON Schema (draft 2020-12) of policy files, for editors. It
// is made of the same types and tags as the decoder, which checks more: a
// schema cannot compare fields with each other.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, Mapper: schemaOf}
	root := r.Reflect(&Document{})
	root.Title = "spanctl policy"
	root.Description = fmt.Sprintf("Mirror sessions, in version %d of the policy language", Version)
	refine(root, reflect.TypeFor[Document]())
	for name, t := range schemaTypes {
		def := root.Definitions[name]
		if def == nil {
			return nil, fmt.Errorf("making schema: no definition of %s", name)
		}
		refine(def, t)
	}
	property(root, "version").Const = Version
	property(root, "sessions").PropertyNames = &jsonschema.Schema{Pattern: namePattern}
	refineObjects(root.Definitions)

	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("making schema: %w", err)
	}
	return out.Bytes(), nil
}

// schemaOf is the schema of types that have a text form.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	switch t {
	case rangesType:
		return &jsonschema.Schema{} // refine knows the limit
	case reflect.TypeFor[Sample]():
		return &jsonschema.Schema{Type: "string", Pattern: samplePattern, Examples: []any{"1/8"}}
	case reflect.TypeFor[Rate]():
		return &jsonschema.Schema{Type: "string", Pattern: ratePattern, Examples: []any{"500Mbps", "20kpps"}}
	case reflect.TypeFor[time.Time]():
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	case reflect.TypeFor[netip.Addr]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9A-Fa-f:.]+$`}
	case reflect.TypeFor[netip.Prefix]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`}
	case reflect.TypeFor[Protocol]():
		names := &jsonschema.Schema{Type: "string"}
		for _, p := range protocols {
			names.Enum = append(names.Enum, string(p.name))
		}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			names, integer(0, 255), {Type: "string", Pattern: `^(0|[1-9][0-9]{0,2})$`},
		}}
	case reflect.TypeFor[EtherType]():
		names := &jsonschema.Schema{Type: "string"}
		for _, e := range etherTypes {
			names.Enum = append(names.Enum, string(e.name))
		}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			names, {Type: "string", Pattern: `^0x[0-9A-Fa-f]{4}$`}, integer(0x600, 0xffff),
		}}
	}
	return nil
}

// refine puts into the schema of t what only the tags of its fields say.
func refine(def *jsonschema.Schema, t reflect.Type) {
	def.Required = nil
	for _, f := range fieldsOf(t).list {
		if f.required {
			def.Required = append(def.Required, f.name)
		}
		p := property(def, f.name)
		p.Description = f.doc
		switch f.as {
		case "vlans", "ports":
			p.AnyOf = rangesOf(rangeLimits[f.as])
		case "globs":
			p.PropertyNames = &jsonschema.Schema{MinLength: length(1)}
			p.AdditionalProperties = &jsonschema.Schema{MinLength: length(1)}
			textOrNumber(p.AdditionalProperties)
			p.MinProperties = length(1)
		case "glob":
			p.MinLength = length(1)
		case "mac":
			p.Pattern = macPattern
		case "file":
			p.Pattern = "^/"
		}
		if p.Type == "string" && p.Pattern == "" && p.Enum == nil && p.Format == "" {
			textOrNumber(p)
		}
	}
}

// refineObjects says of objects what no single field of them can.
func refineObjects(defs jsonschema.Definitions) {
	defs["Selector"].MinProperties = length(1)
	defs["Match"].MinProperties = length(1)
	for _, kind := range kindsOfDestination {
		defs["Destination"].OneOf = append(defs["Destination"].OneOf, &jsonschema.Schema{Required: []string{kind}})
	}
	defs["Destination"].DependentRequired = map[string][]string{"nic": {"vm"}}
	typeOne := &jsonschema.Schema{Required: []string{"type"}, Properties: jsonschema.NewProperties()}
	typeOne.Properties.Set("type", &jsonschema.Schema{Const: string(ERSPANTypeI)})
	session := &jsonschema.Schema{Required: []string{"session"}}
	defs["ERSPAN"].If, defs["ERSPAN"].Then, defs["ERSPAN"].Else = typeOne, &jsonschema.Schema{Not: session}, session
}

func property(def *jsonschema.Schema, name string) *jsonschema.Schema {
	if p, ok := def.Properties.Get(name); ok {
		return p
	}
	return &jsonschema.Schema{}
}

// textOrNumber allows vm: 104 without quotes, as the decoder does.
func textOrNumber(p *jsonschema.Schema) {
	p.Type = ""
	p.Extras = map[string]any{"type": []string{"string", "number"}}
}

func rangesOf(limit int) []*jsonschema.Schema {
	one := []*jsonschema.Schema{integer(0, limit), {Type: "string", Pattern: `^[0-9]{1,5}(-[0-9]{1,5})?$`}}
	list := &jsonschema.Schema{Type: "array", MinItems: length(1), Items: &jsonschema.Schema{AnyOf: one}}
	return append(one[:len(one):len(one)], list)
}

func integer(lo, hi int) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "integer", Minimum: json.Number(strconv.Itoa(lo)), Maximum: json.Number(strconv.Itoa(hi))}
}

func length(n uint64) *uint64 { return &n }
