package policy

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("policy.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// plain is a tree as encoding/json would give it, for the schema's validator.
func plain(n *node) any {
	switch n.kind {
	case kindNull:
		return nil
	case kindBool:
		return strings.EqualFold(n.text, "true")
	case kindNumber:
		return json.Number(n.text)
	case kindText:
		return n.text
	case kindList:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = plain(item)
		}
		return list
	}
	fields := make(map[string]any, len(n.entries))
	for _, e := range n.entries {
		fields[e.key.text] = plain(e.value)
	}
	return fields
}

func TestSchemaAcceptsExamples(t *testing.T) {
	schema := compileSchema(t)
	files, err := filepath.Glob("../examples/*/policy.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range append(files, "testdata/policy-md-1.yaml", "testdata/policy-md-2.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		root, problem := readTree(data)
		if problem != nil {
			t.Fatal(problem)
		}
		if err := schema.Validate(plain(root)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestSchemaAcceptsWhatParses(t *testing.T) {
	schema := compileSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		text, err := Format(draw(t, "document", anyDocument))
		if err != nil {
			t.Fatal(err)
		}
		root, problem := readTree(text)
		if problem != nil {
			t.Fatal(problem)
		}
		if err := schema.Validate(plain(root)); err != nil {
			t.Errorf("%s\n%v", text, err)
		}
	})
}

// TestSchemaRefuses is about what an editor should underline while typing.
func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	for _, c := range []string{
		"version: 2\nsessions: {}",
		"version: 1",
		"version: 1\nsessions: {}\nmore: 1",
		"version: 1\nsessions: {A: {sources: [{role: all}], destinations: [{vm: x}]}}",
		"version: 1\nsessions: {a: {sources: [], destinations: [{vm: x}]}}",
		"version: 1\nsessions: {a: {sources: [{}], destinations: [{vm: x}]}}",
		"version: 1\nsessions: {a: {sources: [{role: guests}], destinations: [{vm: x}]}}",
		"version: 1\nsessions: {a: {sources: [{vlans: 5000}], destinations: [{vm: x}]}}",
		"version: 1\nsessions: {a: {sources: [{role: all}], destinations: [{}]}}",
		"version: 1\nsessions: {a: {sources: [{role: all}], destinations: [{vm: x, interface: y}]}}",
		"version: 1\nsessions: {a: {sources: [{role: all}], destinations: [{interface: x, nic: 0}]}}",
		"version: 1\nsessions: {a: {sources: [{role: all}], destinations: [{erspan: {remote: 192.0.2.1}}]}}",
		"version: 1\nsessions: {a: {sources: [{role: all}], destinations: [{erspan: {remote: 192.0.2.1, session: 1, psk_file: /x}}]}}",
		"version: 1\nsessions: {a: {sources: [{role: all}], destinations: [{vm: x}], snaplen: 3}}",
		"version: 1\nsessions: {a: {sources: [{role: all}], destinations: [{vm: x}], sample: 8}}",
		"version: 1\nsessions: {a: {sources: [{role: all}], destinations: [{vm: x}], max_rate: 500}}",
	} {
		root, problem := readTree([]byte(c))
		if problem != nil {
			t.Fatal(problem)
		}
		if schema.Validate(plain(root)) == nil {
			t.Errorf("schema accepts\n%s", c)
		}
		if _, err := Parse("p", []byte(c)); err == nil {
			t.Errorf("Parse accepts\n%s", c)
		}
	}
}

// TestSchemaKeys holds the schema's fields and the decoder's together.
func TestSchemaKeys(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Schema(); !bytes.Equal(text, again) || !bytes.HasSuffix(text, []byte("}\n")) {
		t.Error("the schema's text is not stable, or does not end in a line end")
	}
	type object struct {
		Properties map[string]struct{ Description string }
		Required   []string
		Closed     *bool `json:"additionalProperties"`
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	objects := map[string]object{"Document": schema.object}
	types := map[string]reflect.Type{"Document": reflect.TypeFor[Document]()}
	for name, def := range schema.Defs {
		objects[name], types[name] = def, schemaTypes[name]
	}
	if len(schema.Defs) != len(schemaTypes) {
		t.Errorf("%d definitions for %d types", len(schema.Defs), len(schemaTypes))
	}
	for name, def := range objects {
		if def.Closed == nil || *def.Closed {
			t.Errorf("%s is open for unknown fields", name)
		}
		set := fieldsOf(types[name])
		if len(def.Properties) != len(set.list) {
			t.Errorf("%s has %d properties, and %d fields", name, len(def.Properties), len(set.list))
		}
		for _, f := range set.list {
			if def.Properties[f.name].Description == "" {
				t.Errorf("%s.%s has no description", name, f.name)
			}
			if slices.Contains(def.Required, f.name) != f.required {
				t.Errorf("%s.%s: required in one of schema and decoder only", name, f.name)
			}
		}
	}
}
