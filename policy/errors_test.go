package policy

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	errorsFile = "testdata/errors.txt"
)

// TestErrors holds every message to what testdata/errors.txt shows.
func TestErrors(t *testing.T) {
	data, err := os.ReadFile(errorsFile)
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(data), "\n=== ")
	out := []string{sections[0]}
	for i := 1; i < len(sections); i++ {
		name, input, _ := strings.Cut(sections[i], "\n")
		want := ""
		if i+1 < len(sections) && strings.HasPrefix(sections[i+1], "wants") {
			i++
			_, want, _ = strings.Cut(sections[i], "\n")
		}
		got := ""
		if _, err := Parse("p.yaml", []byte(input)); err != nil {
			got = err.Error()
		}
		out = append(out, name+"\n"+input, "wants\n"+got)
		if *update {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(strings.TrimSpace(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if *update {
		if err := os.WriteFile(errorsFile, []byte(strings.Join(out, "\n=== ")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestErrorsBeforeSyntaxError breaks every policy of testdata/errors.txt after
// every line: what is then reported beside the syntax error is no more than
// what is wrong with the whole.
func TestErrorsBeforeSyntaxError(t *testing.T) {
	data, err := os.ReadFile(errorsFile)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, section := range strings.Split(string(data), "\n=== ")[1:] {
		name, input, _ := strings.Cut(section, "\n")
		if name == "wants" {
			continue
		}
		known, valid := map[string]bool{}, true
		if _, err := Parse("p.yaml", []byte(input)); err != nil {
			for _, e := range err.(*Errors).Errs {
				known[e.Error()] = true
				valid = valid && e.Path != "yaml"
			}
		}
		if !valid {
			continue // it is broken already
		}
		lines := strings.SplitAfter(input, "\n")
		for i := range lines {
			for _, broken := range []string{"@broken\n", "      @broken: [\n", "    x: [}\n"} {
				text := strings.Join(lines[:i], "") + broken + strings.Join(lines[i:], "")
				_, err := Parse("p.yaml", []byte(text))
				if err == nil {
					continue // within a block of text, say
				}
				syntax := false
				for _, e := range err.(*Errors).Errs {
					syntax = syntax || e.Path == "yaml"
				}
				for _, e := range err.(*Errors).Errs {
					switch {
					case !syntax || e.Path == "yaml":
					case known[e.Error()]:
						kept++
					default:
						t.Errorf("%s, broken after line %d by %q: %v", name, i, broken, e)
					}
				}
			}
		}
	}
	if kept < 500 {
		t.Errorf("only %d problems are reported beside syntax errors", kept)
	}
}

// TestErrorsOfBytes is about what a text file cannot hold.
func TestErrorsOfBytes(t *testing.T) {
	const body = "version: 1\nsessions: {}\n"
	for _, c := range []struct{ name, input, want string }{
		{"empty", "", "p.yaml:1:1: document: is empty; start with version: 1 and sessions:"},
		{"blank", " \n\n", "p.yaml:1:1: document: is empty; start with version: 1 and sessions:"},
		{"comments only", "# nothing\n", "p.yaml:1:1: document: is empty; start with version: 1 and sessions:"},
		{"NUL", "version: 1\nses\x00sions: {}", "p.yaml:2:4: document: character U+0000 is not allowed; remove it; a policy is plain text"},
		{"not UTF-8", "version: 1\n# gr\xfcn", "p.yaml:2:5: document: byte 0xfc is not UTF-8; save the file as UTF-8"},
		{"UTF-16", "\xff\xfev\x00", "p.yaml:1:1: document: byte 0xff is not UTF-8; save the file as UTF-8"},
		{"escape", "a: \x1b[0m", "p.yaml:1:4: document: character U+001B is not allowed; remove it; a policy is plain text"},
		{"BOM", "\ufeff" + body, ""},
		{"CRLF", strings.ReplaceAll(body, "\n", "\r\n"), ""},
		{"CR", strings.ReplaceAll(body, "\n", "\r"), ""},
		{"CRLF keeps lines", "version: 1\r\nsessions:\r\n  a: 5\r\n", `p.yaml:3:6: sessions.a: is a number; write fields, as sources: and destinations:`},
		{"characters, not bytes", "version: 1\nsessions: {} # é\né: {ü: 1}", "p.yaml:3:1: [\"é\"]: unknown field; the fields here are version, sessions"},
		{"directive", "%YAML 1.2\n---\n" + body + "...\n", ""},
		{"header", "---\n" + body, ""},
		{"large", strings.Repeat("#", MaxSize+1), "p.yaml:1:1: document: is 1048577 bytes long, the limit is 1048576; split it into several files of a directory"},
		{"deep", strings.Repeat("[", 1000), "p.yaml:1:65: document: is nested more than 64 levels deep; write it flatter; a policy needs 7 levels"},
		{"deep JSON", `{"version":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "}", "p.yaml:1:76: document: is nested more than 64 levels deep; write it flatter; a policy needs 7 levels"},
		{"JSON with tabs", "{\n\t\"version\": 1,\n\t\"sessions\": {}\n}", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if _, err := Parse("p.yaml", []byte(c.input)); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestNewerVersion(t *testing.T) {
	_, err := Parse("p.yaml", []byte("version: 7\nsessions: {}"))
	if !errors.Is(err, ErrNewerVersion) {
		t.Errorf("Parse: %v is not ErrNewerVersion", err)
	}
	_, err = ParseSession("a", []byte(`{"version":2,"unheard_of":{}}`))
	if !errors.Is(err, ErrNewerVersion) {
		t.Errorf("ParseSession: %v is not ErrNewerVersion", err)
	}
	_, err = ParseSession("a", []byte(`{"version":1}`))
	if err == nil || errors.Is(err, ErrNewerVersion) {
		t.Errorf("ParseSession: %v is ErrNewerVersion", err)
	}
}
