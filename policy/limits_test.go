package policy

import (
	"fmt"
	"strings"
	"testing"
)

// manySessions is a policy of n bytes and a little.
func manySessions(n int) []byte {
	var b strings.Builder
	b.WriteString("version: 1\nsessions:\n")
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, `  s%d:
    reason: "CHG-4711 lateral movement"
    sources:
      - vm: "web-*"
      - {role: uplink, bridge: xenbr1, vlans: [100, 200-210]}
    include:
      - {protocol: tcp, net: 10.20.0.0/16}
    destinations:
      - interface: tap104i1
`, i)
	}
	return []byte(b.String())
}

// TestHostile is about texts that the YAML library alone would overflow the
// stack on, or sit on for minutes: each is an error, and soon.
func TestHostile(t *testing.T) {
	const n = 256 << 10
	times := func(s string) string { return strings.Repeat(s, n/len(s)) }
	numbered := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	staircase := func() string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			b.WriteString(strings.Repeat(" ", i) + "a:\n")
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"[": times("["), "{": times("{"), "[]": times("[]"), "{a: ": times("{a: "), "- ": times("- "), "? ": times("? "),
		"a: ": times("a: "), "&a ": times("&a "), "!a ": times("!a "), `"`: times(`"`), "'": times("'"), ":": times(":"),
		"|": times("|\n"), "---": times("---\na\n"), "...": times("...\n"), "-": times("-\n"), "- a:": times("- a:\n"),
		"{a,": "{" + numbered("k%d,") + "}", "{a: ,": "{" + numbered("k%d: ,") + "}", "[? ": "[" + times("? ") + "]",
		"keys": numbered("k%d: 1\n"), "keys without values": numbered("k%d:\n"), "flow keys": "{" + numbered("k%d: 1,") + "}",
		"indent": staircase(), "*": times("- *a\n"), "<<": times("<<: *a\n"), "%": times("%YAML 1.2\n"), "\t": "a:" + times("\t"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(text))
			if err == nil {
				t.Fatal("parses")
			}
			checkErrors(t, err, []byte(text))
			if n := len(err.(*Errors).Errs); n > errorsLimit+1 {
				t.Errorf("%d errors", n)
			}
		})
	}
}

// TestAliasBomb multiplies by aliases: what is merely long parses, what
// explodes is one error.
func TestAliasBomb(t *testing.T) {
	var lists, merges strings.Builder
	lists.WriteString("version: 1\nsessions:\n  a: &a0 {sources: [{role: all}], destinations: [{vm: x}]}\n")
	lists.WriteString("  b:\n    sources: [{role: all}]\n    destinations: [{vm: x}]\n    include:\n      - port: &l0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n")
	for range 50_000 {
		lists.WriteString("      - {port: *l0}\n")
	}
	merges.WriteString("m0: &m0 {a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9, j: 10}\n")
	for i := range 30 {
		fmt.Fprintf(&merges, "m%d: &m%d {<<: [*m%d, *m%d, *m%d, *m%d, *m%d, *m%d, *m%d, *m%d]}\n", i+1, i+1, i, i, i, i, i, i, i, i)
	}
	if _, err := Parse("f", []byte(lists.String())); err != nil {
		t.Errorf("many aliases are no bomb: %v", err)
	}
	_, err := Parse("f", []byte(merges.String()))
	if err == nil || !strings.Contains(err.Error(), "grows to more than 2000000 values") {
		t.Errorf("merge bomb: %v", err)
	}
	var sessions strings.Builder
	sessions.WriteString("version: 1\nsessions:\n  a: &a\n    sources: [{role: all}]\n    destinations: [{vm: x}]\n    include: &i\n")
	for i := range 1000 {
		fmt.Fprintf(&sessions, "      - {port: %d}\n", i)
	}
	for i := range 2000 {
		fmt.Fprintf(&sessions, "  b%d: *a\n", i)
	}
	_, err = Parse("f", []byte(sessions.String()))
	if err == nil || !strings.Contains(err.Error(), "grows to more than 2000000 values") || len(err.(*Errors).Errs) != 1 {
		t.Errorf("alias bomb: %v", err)
	}
}

func TestAnchors(t *testing.T) {
	doc, err := Parse("f", []byte(`version: 1
sessions:
  web: &base
    sources: &web [{vm: "web-*"}]
    destinations: [{vm: &name audit}]
    snaplen: 100
  db:
    <<: *base
    sources: [{vm: "db-*"}, {vm: *name}]
  both:
    <<: [*base, {snaplen: 200, strip_vlan: true}]
    snaplen: 300
`))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"db":   `{"version":1,"sources":[{"vm":"db-*"},{"vm":"audit"}],"destinations":[{"vm":"audit"}],"snaplen":100}`,
		"both": `{"version":1,"sources":[{"vm":"web-*"}],"destinations":[{"vm":"audit"}],"snaplen":300,"strip_vlan":true}`,
	} {
		if got, err := doc.Sessions[name].Canonical(); err != nil || string(got) != want {
			t.Errorf("%s is %s (%v), want %s", name, got, err, want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{10 << 10, 1 << 20, 4<<20 - 1024} {
		text := manySessions(size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse("f", text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseSession(b *testing.B) {
	doc, err := Parse("f", manySessions(100))
	if err != nil {
		b.Fatal(err)
	}
	text, err := doc.Sessions["s0"].Canonical()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseSession("s0", text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGlob(b *testing.B) {
	for b.Loop() {
		Glob("web-*-[0-9]*.example", "web-frontend-17.example")
	}
}
