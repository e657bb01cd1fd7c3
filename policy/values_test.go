package policy

import (
	"encoding/json"
	pathmatch "path"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRanges(t *testing.T) {
	for _, c := range []struct {
		in         Ranges
		text, json string
	}{
		{nil, "", "null"},
		{Ranges{{5, 5}}, "5", "[5]"},
		{Ranges{{200, 210}, {100, 100}}, "100,200-210", `[100,"200-210"]`},
		{Ranges{{1, 2}, {3, 4}, {6, 6}, {4, 5}}, "1-6", `["1-6"]`},
		{Ranges{{0, 65535}, {7, 7}}, "0-65535", `["0-65535"]`},
		{Ranges{{65535, 65535}, {65534, 65534}}, "65534-65535", `["65534-65535"]`},
	} {
		rs := c.in.normalise()
		if rs.String() != c.text {
			t.Errorf("%v is %q, want %q", c.in, rs, c.text)
		}
		if b, err := json.Marshal(rs); err != nil || string(b) != c.json {
			t.Errorf("%v is %s, want %s", c.in, b, c.json)
		}
	}
}

func TestRangesAsSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, "a", ranges(60)), draw(t, "b", ranges(60))
		union := a.Union(b)
		for n := range uint16(70) {
			if union.Contains(n) != (a.Contains(n) || b.Contains(n)) {
				t.Errorf("%s ∪ %s = %s at %d", a, b, union, n)
			}
		}
		if !union.Equal(b.Union(a)) {
			t.Errorf("%s ∪ %s depends on the order", a, b)
		}
		for i := 1; i < len(union); i++ {
			if union[i].First <= union[i-1].Last+1 {
				t.Errorf("%s ∪ %s = %s is not normalised", a, b, union)
			}
		}
	})
}

func TestTexts(t *testing.T) {
	rate := func(s string) (any, *problem) { r, p := parseRate(s); return r.String(), p }
	sample := func(s string) (any, *problem) { v, p := parseSample(s); return v.String(), p }
	protocol := func(s string) (any, *problem) { v, p := parseProtocol(s); return string(v), p }
	ether := func(s string) (any, *problem) { v, p := parseEtherType(s); return string(v), p }
	mac := func(s string) (any, *problem) { v, p := parseMAC(s); return v, p }
	for _, c := range []struct {
		parse    func(string) (any, *problem)
		in, want string // want "" is an error
	}{
		{rate, "500Mbps", "500Mbps"},
		{rate, "1000kbps", "1Mbps"},
		{rate, "1.5Gbps", "1500Mbps"},
		{rate, "20Kpps", "20kpps"},
		{rate, "20kpps", "20kpps"},
		{rate, "7bps", "7bps"},
		{rate, "1001pps", "1001pps"},
		{rate, "2Mpps", "2Mpps"},
		{rate, "1Gpps", ""},
		{rate, "bps", ""},
		{rate, "1.5bps", ""},
		{rate, "-1bps", ""},
		{rate, "1..5kbps", ""},
		{rate, "1e3bps", ""},
		{rate, "", ""},
		{rate, ".kbps", ""},
		{rate, "9223372036854775807bps", "9223372036854775807bps"},
		{rate, "9223372036854775808bps", ""},
		{sample, "1/1", "1/1"},
		{sample, "1/8", "1/8"},
		{sample, "1/2147483647", "1/2147483647"},
		{sample, "1/2147483648", ""},
		{sample, "1/-2", ""},
		{sample, "/", ""},
		{protocol, "6", "tcp"},
		{protocol, "tcp", "tcp"},
		{protocol, "0", "0"},
		{protocol, "255", "255"},
		{protocol, "256", ""},
		{protocol, "", ""},
		{ether, "0x0800", "ipv4"},
		{ether, "0x88F7", "0x88f7"},
		{ether, "lldp", "lldp"},
		{ether, "0x600", ""},
		{ether, "0x0600", "0x0600"},
		{ether, "", ""},
		{mac, "AA:bb:CC:dd:EE:0f", "aa:bb:cc:dd:ee:0f"},
		{mac, "aa:bb:cc:dd:ee", ""},
		{mac, "aabbccddeeff", ""},
	} {
		got, p := c.parse(c.in)
		if (p == nil) != (c.want != "") || p == nil && got != c.want {
			t.Errorf("%q is %v (%v), want %q", c.in, got, p, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for p, want := range map[Protocol]uint8{"tcp": 6, "icmp6": 58, "89": 89, "0": 0} {
		if n, ok := p.Number(); !ok || n != want {
			t.Errorf("%s is %d, %v", p, n, ok)
		}
	}
	for e, want := range map[EtherType]uint16{"arp": 0x806, "ipv6": 0x86dd, "0x88f7": 0x88f7} {
		if n, ok := e.Number(); !ok || n != want {
			t.Errorf("%s is %#x, %v", e, n, ok)
		}
	}
	if _, ok := Protocol("").Number(); ok {
		t.Error("the zero Protocol has a number")
	}
	if _, ok := EtherType("").Number(); ok {
		t.Error("the zero EtherType has a number")
	}
}

func TestUnmarshalText(t *testing.T) {
	var s Sample
	if err := s.UnmarshalText([]byte("1/8")); err != nil || s.N != 8 || s.IsZero() {
		t.Errorf("%v, %v", s, err)
	}
	var r Rate
	if err := r.UnmarshalText([]byte("500Mbps")); err != nil || r.Bits != 500_000_000 || r.IsZero() {
		t.Errorf("%v, %v", r, err)
	}
	if s.UnmarshalText([]byte("8")) == nil || r.UnmarshalText([]byte("8")) == nil {
		t.Error("8 is a share or a rate")
	}
}

func TestValidSessionName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "7": true, "a-b": true, "a--b": true, strings.Repeat("a", 40): true,
		"": false, "-a": false, "a-": false, "-": false, "A": false, "a_b": false, "a.b": false, "é": false, strings.Repeat("a", 41): false,
	} {
		if ValidSessionName(name) != want {
			t.Errorf("%q: not %v", name, want)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true},
		{"*", "a/b", true},
		{"web-*", "web-1", true},
		{"web-*", "web", false},
		{"*-db", "x-db", true},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbYbZ", false},
		{"?", "é", true},
		{"??", "é", false},
		{"[a-c]x", "bx", true},
		{"[^a-c]x", "bx", false},
		{"[!a-c]x", "dx", true},
		{"[!a-c]x", "bx", false},
		{`\*`, "*", true},
		{`\*`, "a", false},
		{`[\]]`, "]", true},
		{"a", "ab", false},
		{"ab", "a", false},
		{"*a", "aaaa", true},
		{"*[", "a[", false},
		{`a\`, "a", false},
		{"*/b", "a/x/b", true},
		{"vif[0-9].?", "vif1.0", true},
		{"[a-", "a", false},
	} {
		if Glob(c.pattern, c.name) != c.want {
			t.Errorf("Glob(%q, %q) is not %v", c.pattern, c.name, c.want)
		}
	}
	for _, bad := range []string{"", "[", "[a", "[]", "[a-]", "[z-a]", `a\`, "[^]", `[\`} {
		if ValidGlob(bad) == nil {
			t.Errorf("%q is a valid glob", bad)
		}
	}
}

var globText = rapid.StringMatching(`[ab.\[\]*?^\\-]{0,8}`)

// TestGlobIsPathMatch: path.Match is the measure wherever / and [! are not
// involved.
func TestGlobIsPathMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern, name := draw(t, "pattern", globText), draw(t, "name", rapid.StringMatching(`[ab.\[-]{0,8}`))
		want, err := pathmatch.Match(pattern, name)
		valid := err == nil && pattern != ""
		if _, all := pathmatch.Match(pattern, pattern); all != nil {
			valid = false
		}
		if ValidGlob(pattern) == nil && err != nil {
			t.Errorf("%q is valid here, path.Match says %v", pattern, err)
		}
		if got := Glob(pattern, name); valid && ValidGlob(pattern) == nil && got != want {
			t.Errorf("Glob(%q, %q) is %v", pattern, name, got)
		}
	})
}

func TestGlobPrefix(t *testing.T) {
	for _, c := range []struct {
		pattern, prefix string
		literal         bool
	}{
		{"vif1.0", "vif1.0", true}, {"web-*", "web-", false}, {`a\*b`, "a*b", true}, {`a\*b?`, "a*b", false}, {"*", "", false}, {"é[ab]", "é", false}, {`\é`, "é", true},
	} {
		prefix, literal := GlobPrefix(c.pattern)
		if prefix != c.prefix || literal != c.literal {
			t.Errorf("GlobPrefix(%q) is %q, %v", c.pattern, prefix, literal)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern, name := draw(t, "pattern", globText), draw(t, "name", rapid.StringMatching(`[ab.\[*-]{0,6}`))
		if ValidGlob(pattern) != nil {
			return
		}
		prefix, literal := GlobPrefix(pattern)
		switch matches := Glob(pattern, name); {
		case matches && !strings.HasPrefix(name, prefix):
			t.Errorf("%q matches %q, which does not start with %q", pattern, name, prefix)
		case literal && matches != (name == prefix):
			t.Errorf("%q is literally %q, and matches %q: %v", pattern, prefix, name, matches)
		}
	})
}
