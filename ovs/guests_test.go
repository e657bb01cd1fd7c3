package ovs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Libvirt is asked again for a UUID that is new, or was away, or that it was asked for in vain; for others when what is
// known is old, and what was known holds until it answers.
func TestGuestsAreAskedForAgain(t *testing.T) {
	var g guests
	asked := 0
	for i, step := range []struct {
		uuids []string
		old   bool              // what is known is, by now
		names map[string]string // libvirt's; nil: it is not there
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
		{[]string{"1", "2"}, false, nil, false, map[string]string{"1": "other", "2": "b"}},
		{[]string{"1", "4"}, false, nil, true, map[string]string{"1": "other"}},
		{[]string{"1", "4"}, false, map[string]string{"4": "d"}, true, map[string]string{"4": "d"}},
		{[]string{"1", "4"}, false, map[string]string{"1": "back", "4": "d"}, false, map[string]string{"4": "d"}},
		{[]string{"4"}, true, map[string]string{}, true, map[string]string{}},
	} {
		if step.old {
			g.until = time.Now().Add(-time.Nanosecond)
		}
		before := asked
		got, err := g.of(t.Context(), step.uuids, func(context.Context) (map[string]string, error) {
			asked++
			if step.names == nil {
				return nil, errors.New("nobody there")
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

// A slow libvirt is waited for once, and its answer is taken in when it comes; whoever came meanwhile is asked for then.
func TestGuestsAreToldLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g guests
		told := make(chan struct{}, 1)
		g.tell(func() { told <- struct{}{} })
		took := func(uuids []string, ask func(context.Context) (map[string]string, error)) (map[string]string, time.Duration, error) {
			start := time.Now()
			names, err := g.of(t.Context(), uuids, ask)
			return names, time.Since(start), err
		}
		slow := func(context.Context) (map[string]string, error) {
			<-time.After(10 * time.Second)
			return map[string]string{"1": "a", "2": "b"}, nil
		}
		never := func(context.Context) (map[string]string, error) { panic("asked again") }
		if names, wait, err := took([]string{"1"}, slow); len(names) > 0 || !errors.Is(err, errNoAnswer) || wait != answersWithin {
			t.Error(names, err, wait)
		}
		if names, wait, err := took([]string{"1", "2"}, never); len(names) > 0 || !errors.Is(err, errNoAnswer) || wait > 0 {
			t.Error(names, err, wait)
		}
		<-told
		if names, _, err := took([]string{"1"}, never); names["1"] != "a" || err != nil {
			t.Error(names, err)
		}
		quick := func(context.Context) (map[string]string, error) { return map[string]string{"1": "a", "2": "c"}, nil }
		if names, _, err := took([]string{"1", "2"}, quick); names["2"] != "c" || err != nil {
			t.Error(names, err)
		}
		// One that never answers is asked anew in the end, and not at all when the connection has ended.
		silent := func(ctx context.Context) (map[string]string, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		_, _, _ = took([]string{"3"}, silent)
		<-time.After(givenUpAfter)
		if names, _, err := took([]string{"1", "3"}, func(context.Context) (map[string]string, error) {
			return map[string]string{"3": "d"}, nil
		}); names["3"] != "d" || err != nil {
			t.Error(names, err)
		}
		_, _, _ = took([]string{"4"}, silent)
		g.end()
	})
}

// Who asks may go before the answer comes.
func TestGuestsAreAskedForByWhoEnds(t *testing.T) {
	var g guests
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan struct{})
	ask := func(context.Context) (map[string]string, error) {
		cancel()
		<-answer
		return map[string]string{"1": "a"}, nil
	}
	if _, err := g.of(ctx, []string{"1"}, ask); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	answered := g.question.answered
	close(answer)
	<-answered
	if names, err := g.of(t.Context(), []string{"1"}, ask); err != nil || names["1"] != "a" {
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
