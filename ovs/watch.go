package ovs

import (
	"context"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/model"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// Watch returns what can be received from after something has changed that a plan may rest on: in the database, and where
// that is local whether ovs-vswitchd runs and has its bridges, which is when it has forgotten rules, and what libvirt has
// answered late. One value may stand for many changes. It is closed when the connection has ended, or ctx. To be called once, before the first Observe.
func (c *Conn) Watch(ctx context.Context) <-chan struct{} {
	w := &watch{changes: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	// The library tells of the end only whoever listens at that moment: it is asked now and then as well.
	ended := c.client.DisconnectNotify()
	go func() {
		defer cancel()
		defer w.end()
		ask := time.NewTicker(time.Second)
		defer ask.Stop()
		for c.client.Connected() {
			select {
			case <-ctx.Done():
				return
			case <-ended:
				return
			case <-ask.C:
			}
		}
	}()
	rows := c.client.Cache()
	if rows == nil { // it goes with the connection
		cancel()
		return w.changes
	}
	rows.AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { w.changed() },
		DeleteFunc: func(string, model.Model) { w.changed() },
		UpdateFunc: func(table string, before, after model.Model) {
			if matters(table, before, after) {
				w.changed()
			}
		},
	})
	c.watchFiles(ctx, w.changed)
	c.guests.tell(w.changed)
	return w.changes
}

// watch is a channel that is told of changes until it ends.
type watch struct {
	mu      sync.Mutex
	changes chan struct{}
	ended   bool
}

func (w *watch) changed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	select {
	case w.changes <- struct{}{}:
	default: // what is there stands for this one too
	}
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	close(w.changes)
}

// watchFiles tells, until ctx ends, of the pid file and the bridges' sockets of ovs-vswitchd, which it makes when it starts.
// If they cannot be watched rules that are gone are seen when next somebody looks.
func (c *Conn) watchFiles(ctx context.Context, changed func()) {
	if !c.local() {
		return
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		c.unwatched(ctx, err)
		return
	}
	for _, dir := range c.runDirs() {
		if err := watcher.Add(dir); err != nil {
			c.unwatched(ctx, err)
		}
	}
	go func() {
		defer watcher.Close()
		for {
			select {
			case <-ctx.Done():
				return
			case _, there := <-watcher.Errors:
				if !there {
					return
				}
				changed() // events may be lost
			case event, there := <-watcher.Events:
				if !there {
					return
				}
				name := filepath.Base(event.Name)
				if event.Has(fsnotify.Create) && (name == "ovs-vswitchd.pid" || strings.HasSuffix(name, ".mgmt")) {
					changed()
				}
			}
		}
	}()
}

func (c *Conn) unwatched(ctx context.Context, err error) {
	c.log.WarnContext(ctx, "restarts of ovs-vswitchd are seen later: its files cannot be watched", "error", err)
}

// matters reports whether a plan may rest on what has changed of a row: of an Interface's status it reads a few keys, and in the
// root there is what spanctl and others keep for themselves.
func matters(table string, before, after model.Model) bool {
	switch table {
	case vswitchd.InterfaceTable:
		a, b := *widen[vswitchd.Interface](before), *widen[vswitchd.Interface](after)
		for _, key := range statusKeys {
			if a.Status[key] != b.Status[key] {
				return true
			}
		}
		a.Status, b.Status = nil, nil
		return !reflect.DeepEqual(a, b)
	case vswitchd.OpenvSwitchTable:
		a, b := *widen[vswitchd.OpenvSwitch](before), *widen[vswitchd.OpenvSwitch](after)
		if !maps.Equal(read(a.ExternalIDs), read(b.ExternalIDs)) { // no map is an empty one
			return true
		}
		a.ExternalIDs, b.ExternalIDs = nil, nil
		return !reflect.DeepEqual(a, b)
	}
	return true
}

// read are the keys of the root that plans rest on.
func read(ids map[string]string) map[string]string {
	ids = maps.Clone(ids)
	maps.DeleteFunc(ids, func(key, _ string) bool {
		return !strings.HasPrefix(key, plan.KeyIntentPrefix) && key != plan.KeyChanging
	})
	return ids
}
