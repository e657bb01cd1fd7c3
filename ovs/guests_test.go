package ovs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// Libvirt is asked again for a UUID that is new, or was away; for others when what is known is old. One that does not answer
// is let be until then, and what was known holds.
func TestGuestsAreAskedForAgain(t *testing.T) {
	var g guests
	asked := 0
	for i, step := range []struct {
		uuids []string
		old   bool              // what is known is, by now
		names map[string]string // libvirt's; nil: it does not answer
		asks  bool
		want  map[string]string
	}{
		{[]string{"1", "3"}, false, map[string]string{"1": "a", "2": "b"}, true, map[string]string{"1": "a"}},
		{[]string{"1", "3"}, false, map[string]string{"1": "renamed"}, false, map[string]string{"1": "a"}},
		{[]string{"1", "2"}, false, map[string]string{"1": "a", "2": "b"}, true, map[string]string{"1": "a", "2": "b"}},
		{[]string{"1", "2"}, true, map[string]string{"1": "renamed", "2": "b"}, true, map[string]string{"1": "renamed", "2": "b"}},
		{[]string{"2"}, false, nil, false, map[string]string{"2": "b"}},
		{[]string{"1", "2"}, false, map[string]string{"1": "other", "2": "b"}, true, map[string]string{"1": "other", "2": "b"}},
		{[]string{"1", "2"}, true, nil, true, map[string]string{"1": "other", "2": "b"}},
		{[]string{"1", "4"}, false, map[string]string{"4": "d"}, false, map[string]string{"1": "other"}},
		{[]string{"1", "4"}, true, map[string]string{"4": "d"}, true, map[string]string{"4": "d"}},
		{[]string{"4"}, true, map[string]string{}, true, map[string]string{}},
	} {
		if step.old {
			g.until = time.Now().Add(-time.Nanosecond)
		}
		before := asked
		got, err := g.of(t.Context(), step.uuids, func(context.Context) (map[string]string, error) {
			asked++
			if step.names == nil {
				return nil, errors.New("no answer")
			}
			return maps.Clone(step.names), nil
		})
		if (asked > before) != step.asks || !maps.Equal(got, step.want) {
			t.Errorf("step %d: asked %v, names %v", i, asked > before, got)
		}
		if known := step.names != nil; step.asks && known != (err == nil) {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

// A question that its caller ended says nothing of libvirt.
func TestGuestsAreAskedAgainAfterAnEnd(t *testing.T) {
	var g guests
	ctx, cancel := context.WithCancel(t.Context())
	_, err := g.of(ctx, []string{"1"}, func(context.Context) (map[string]string, error) {
		cancel()
		return nil, ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	names, err := g.of(t.Context(), []string{"1"}, func(context.Context) (map[string]string, error) { return map[string]string{"1": "a"}, nil })
	if err != nil || names["1"] != "a" {
		t.Error(names, err)
	}
}

func TestLibvirtIsOfThisHost(t *testing.T) {
	for _, c := range []struct{ text, want, wrong string }{
		{text: "", want: fmt.Sprint(libvirtSockets, " ")},
		{text: "qemu:///system", want: fmt.Sprint(libvirtSockets, " qemu:///system")},
		{text: "xen+unix:///system", want: fmt.Sprint(libvirtSockets, " xen:///system")},
		{text: "test:///default?socket=/a/b", want: "[/a/b] test:///default"},
		{text: "qemu+unix:///system?socket=/a/b", want: "[/a/b] qemu:///system"},
		{text: "qemu+ssh://host/system", wrong: "is not of this host"},
		{text: "qemu+tls:///system", wrong: "is not of this host"},
		{text: "qemu://host/system", wrong: "is not of this host"},
		{text: "%", wrong: "parse"},
	} {
		sockets, uri, err := libvirtAt(c.text)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%q: %v", c.text, err)
			}
		} else if got := fmt.Sprint(sockets, " ", uri); got != c.want || err != nil {
			t.Errorf("%q: %s, %v", c.text, got, err)
		}
	}
}
