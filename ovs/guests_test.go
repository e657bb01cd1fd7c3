package ovs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
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
		{[]string{"1", "4"}, false, map[string]string{"1": "back", "4": "d"}, true, map[string]string{"1": "other", "4": "d"}},
		{[]string{"1", "4"}, false, map[string]string{"1": "back", "4": "e"}, false, map[string]string{"1": "other", "4": "d"}},
		{[]string{"4"}, true, map[string]string{}, true, map[string]string{}},
	} {
		if step.old {
			g.until = time.Now().Add(-time.Nanosecond)
		}
		before := asked
		got, err := g.of(t.Context(), step.uuids, func(context.Context, string) (map[string]string, error) {
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

// A domain that is locked is waited for once, and keeps no other's name back. The answer is taken in when it comes. libvirt
// is asked anew in the end if it never answers, and no more when the connection has ended.
func TestGuestsAreToldLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g guests
		told := make(chan struct{}, 1)
		g.tell(func() { told <- struct{}{} })
		var mutex sync.Mutex
		names, locked := map[string]string{}, map[string]time.Duration{}
		set := func(uuid, name string, lock time.Duration) {
			mutex.Lock()
			defer mutex.Unlock()
			names[uuid], locked[uuid] = name, lock
		}
		ask := func(ctx context.Context, about string) (map[string]string, error) {
			mutex.Lock()
			found, locked := maps.Clone(names), maps.Clone(locked)
			mutex.Unlock()
			maps.DeleteFunc(found, func(uuid, _ string) bool { return about != "" && about != uuid })
			for uuid := range found {
				select {
				case <-time.After(locked[uuid]):
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			}
			return found, nil
		}
		want := func(step string, uuids []string, waits time.Duration, fails error, want string) {
			t.Helper()
			start := time.Now()
			got, err := g.of(t.Context(), uuids, ask)
			if text := fmt.Sprint(got); text != "map["+want+"]" || !errors.Is(err, fails) || time.Since(start) != waits {
				t.Errorf("%s: %s, %v, after %s", step, text, err, time.Since(start))
			}
		}
		set("1", "a", 0)
		set("3", "c", 0)
		want("all at first", []string{"1"}, 0, nil, "1:a")
		set("2", "b", 3*time.Second)
		want("one is locked", []string{"1", "2"}, answersWithin, errNoAnswer, "1:a")
		want("another comes", []string{"1", "2", "3"}, 0, errNoAnswer, "1:a 3:c")
		want("nothing is asked", []string{"1", "2", "3"}, 0, errNoAnswer, "1:a 3:c")
		<-told
		<-time.After(namesHold)
		set("6", "f", 0)
		want("all are asked for too, and one is locked", []string{"1", "2", "3", "6"}, 0, nil, "1:a 2:b 3:c 6:f")
		want("it still is", []string{"1", "2", "3", "6"}, 0, errNoAnswer, "1:a 2:b 3:c 6:f")
		<-told
		want("it is told", []string{"1", "2", "3"}, 0, nil, "1:a 2:b 3:c")
		<-time.After(2 * namesHold)
		set("2", "b", 3*time.Second)
		want("all are asked for, and one is locked", []string{"1", "2", "3"}, answersWithin, errNoAnswer, "1:a 2:b 3:c")
		set("7", "g", 0)
		want("one comes who is not listed", []string{"1", "2", "3", "7"}, 0, errNoAnswer, "1:a 2:b 3:c 7:g")
		<-told
		want("the list does not take its name", []string{"1", "2", "3", "7"}, 0, nil, "1:a 2:b 3:c 7:g")
		set("2", "b", 0)
		set("4", "d", time.Hour)
		want("one is locked for good", []string{"1", "4"}, answersWithin, errNoAnswer, "1:a")
		set("4", "d", 0)
		<-time.After(givenUpAfter)
		want("it is asked for anew", []string{"1", "4"}, 0, nil, "1:a 4:d")
		set("5", "e", time.Hour)
		want("one is locked when the connection ends", []string{"1", "4", "5"}, answersWithin, errNoAnswer, "1:a 4:d")
		g.end()
	})
}

// Who asks may go before the answer comes.
func TestGuestsAreAskedForByWhoEnds(t *testing.T) {
	var g guests
	ctx, cancel := context.WithCancel(t.Context())
	answer, told := make(chan struct{}), make(chan struct{})
	g.tell(func() { close(told) })
	ask := func(context.Context, string) (map[string]string, error) {
		cancel()
		<-answer
		return map[string]string{"1": "a"}, nil
	}
	if _, err := g.of(ctx, []string{"1"}, ask); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(answer)
	<-told
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
