package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// checkErrors holds the promises of every error: an *Errors, at least one,
// sorted, each on one line, with a path, a remedy and a position in the text.
func checkErrors(t *testing.T, err error, text []byte) {
	t.Helper()
	var all *Errors
	if !errors.As(err, &all) || len(all.Errs) == 0 {
		t.Fatalf("error is %T", err)
	}
	normal := strings.ReplaceAll(strings.TrimPrefix(string(text), "\ufeff"), "\r\n", "\n")
	lines := strings.Split(strings.ReplaceAll(normal, "\r", "\n"), "\n")
	line, end := 1, utf8.RuneCountInString(lines[0])+1
	for _, e := range all.Errs {
		if e.Line > line && e.Line <= len(lines) {
			line, end = e.Line, utf8.RuneCountInString(lines[e.Line-1])+1
		}
		switch {
		case e.File != "f" || e.Path == "" || e.Problem == "" || e.Remedy == "":
			t.Errorf("incomplete: %#v", e)
		case strings.ContainsAny(e.Error(), "\n\r") || !utf8.ValidString(e.Error()):
			t.Errorf("not a line: %q", e.Error())
		case e.Line != line || e.Column < 1 || e.Column > end:
			t.Errorf("out of range or order: %v", e)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	data, err := os.ReadFile(errorsFile)
	if err != nil {
		f.Fatal(err)
	}
	for _, section := range strings.Split(string(data), "\n=== ")[1:] {
		if name, input, _ := strings.Cut(section, "\n"); name != "wants" {
			f.Add([]byte(input))
		}
	}
	f.Add([]byte("version: 1\nsessions:\n  a: &x\n    sources: [{role: all}]\n    destinations: [{vm: x}]\n  b: *x\n  c: {<<: *x, snaplen: 100}\n"))
	f.Add([]byte("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nversion: *c"))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Parse("f", data)
		if err != nil {
			checkErrors(t, err, data)
			return
		}
		text, err := Format(doc)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("formatted", text)
		if err != nil {
			t.Fatalf("%q: %s\n%v", data, text, err)
		}
		if diff := cmp.Diff(doc, again, compareAddrs); diff != "" {
			t.Errorf("%s\n-parsed +formatted:\n%s", text, diff)
		}
		for name, s := range doc.Sessions {
			checkStored(t, name, s)
		}
	})
}

func checkStored(t *testing.T, name string, s *Session) {
	t.Helper()
	stored, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseSession(name, stored)
	if err != nil {
		t.Fatalf("%s: %v", stored, err)
	}
	if diff := cmp.Diff(s, back, compareAddrs); diff != "" {
		t.Errorf("%s\n-parsed +stored:\n%s", stored, diff)
	}
}

func FuzzParseSession(f *testing.F) {
	f.Add([]byte(`{"version":1,"sources":[{"role":"all"}],"destinations":[{"vm":"audit"}]}`))
	f.Add([]byte(`{"version":1,"sources":[{"vlans":[1,"5-7"]}],"include":[{"net":"10.0.0.0/8","port":"80"}],"destinations":[{"erspan":{"remote":"::1","session":0}}],"sample":"1/3","max_rate":"1kpps","expires":"2027-03-01T00:00:00.5+02:00"}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"version":1,"x":[{}],"sources":{"a":"\ud800"}}`))
	f.Add([]byte("{\n\t\"version\":1e0}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSession("f", data)
		if err != nil {
			checkErrors(t, err, data)
			return
		}
		checkStored(t, "f", s)
	})
}
