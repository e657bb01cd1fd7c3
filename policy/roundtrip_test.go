package policy

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var compareAddrs = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestCanonicalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := draw(t, "session", anySession)
		stored, err := want.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(stored, []byte(`{"version":1,`)) {
			t.Errorf("%s does not start with its version", stored)
		}
		got, err := ParseSession("stored", stored)
		if err != nil {
			t.Fatalf("%s: %v", stored, err)
		}
		if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		again, err := got.Canonical()
		if err != nil || !bytes.Equal(stored, again) {
			t.Errorf("stored as %s, then as %s (%v)", stored, again, err)
		}
	})
}

func TestFormatRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := draw(t, "document", anyDocument)
		text, err := Format(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse("formatted", text)
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
			t.Errorf("%s\n-want +got:\n%s", text, diff)
		}
		again, err := Format(got)
		if err != nil || !bytes.Equal(text, again) {
			t.Errorf("formatted as %s, then as %s (%v)", text, again, err)
		}
	})
}
