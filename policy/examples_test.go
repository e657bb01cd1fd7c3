package policy

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestExamples loads every example, and the two of the language's definition.
func TestExamples(t *testing.T) {
	folders, err := filepath.Glob("../examples/*")
	if err != nil || len(folders) < 3 {
		t.Fatalf("examples: %v, %v", folders, err)
	}
	files := []string{"testdata/policy-md-1.yaml", "testdata/policy-md-2.yaml"}
	for _, folder := range folders {
		if filepath.Base(folder) != "systemd" { // has no policy of its own
			files = append(files, filepath.Join(folder, "policy.yaml"))
		}
		if _, err := os.Stat(filepath.Join(folder, "README.md")); err != nil {
			t.Error(err)
		}
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := Parse(file, data)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(doc.Sessions) == 0 {
			t.Errorf("%s has no sessions", file)
		}
	}
}

// TestExampleText spells out what one example becomes.
func TestExampleText(t *testing.T) {
	data, err := os.ReadFile("testdata/policy-md-2.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := Parse("p.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"dmz-to-ids": `{"version":1,"reason":"CHG-4711 lateral movement watch","expires":"2027-03-01T00:00:00Z",` +
			`"sources":[{"vm":"web-*"},{"vm":"db-*","direction":"from"},{"role":"uplink","bridge":"xenbr1","vlans":[100,"200-210"]},{"external_ids":{"zone":"dmz"}}],` +
			`"except":[{"interface":"vif7.0"}],"include":[{"protocol":"tcp","net":"10.20.0.0/16"},{"ethertype":"arp"}],` +
			`"destinations":[{"erspan":{"remote":"192.0.2.10","type":"II","session":100}},{"gre":{"remote":"2001:db8::10","key":7}}]}`,
		"headers-only": `{"version":1,"sources":[{"external_ids":{"tenant":"blue-*"},"direction":"to"}],"destinations":[{"interface":"tap104i1"}],"snaplen":128}`,
	} {
		got, err := doc.Sessions[name].Canonical()
		if err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s, want\n%s", name, err, got, want)
		}
	}
}

// TestReference holds docs/reference/policy.md to the code: it has every
// field, in its own table row, every limit, and the examples.
func TestReference(t *testing.T) {
	data, err := os.ReadFile("../docs/reference/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	types := map[string]reflect.Type{"Document": reflect.TypeFor[Document]()}
	for name, typ := range schemaTypes {
		types[name] = typ
	}
	for name, typ := range types {
		for _, f := range fieldsOf(typ).list {
			if !strings.Contains(text, "| `"+f.name+"` |") {
				t.Errorf("the reference has no row for %s of %s", f.name, name)
			}
		}
	}
	for _, file := range []string{"testdata/policy-md-1.yaml", "testdata/policy-md-2.yaml"} {
		example, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "```yaml\n"+string(example)+"```") {
			t.Errorf("the reference does not have %s", file)
		}
	}
	for _, limit := range []string{"1 MiB", "64 levels", "20,000", "2,000,000", "1,000"} {
		if !strings.Contains(text, limit) {
			t.Errorf("the reference does not name the limit %s", limit)
		}
	}
}
