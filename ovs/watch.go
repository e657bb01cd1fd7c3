package ovs

import (
	"context"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/model"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// Watch returns what can be received from after something has changed that a plan may rest on: in the database, and where
// that is local whether ovs-vswitchd runs and has its bridges, which is when it has forgotten rules. One value may stand for many
// changes. It is closed when the connection has ended, or ctx. To be called once, before the first Observe.
func (c *Conn) Watch(ctx context.Context) <-chan struct{} {
	w := &watch{changes: make(chan struct{}, 1)}
	c.client.Cache().AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { w.changed() },
		DeleteFunc: func(string, model.Model) { w.changed() },
		UpdateFunc: func(table string, before, after model.Model) {
			if matters(table, before, after) {
				w.changed()
			}
		},
	})
	files := c.watchFiles(ctx)
	ended := c.client.DisconnectNotify()
	go func() {
		defer w.end()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ended:
				return
			case _, there := <-files:
				if !there {
					files = nil
					continue
				}
				w.changed()
			}
		}
	}()
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

// watchFiles tells of the pid file and the bridges' sockets of ovs-vswitchd, which it makes when it starts; nil if they
// cannot be watched: then rules that are gone are seen when next somebody looks.
func (c *Conn) watchFiles(ctx context.Context) <-chan struct{} {
	if !c.local() {
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		for _, dir := range c.runDirs() {
			err = watcher.Add(dir)
		}
	}
	if err != nil {
		c.log.WarnContext(ctx, "restarts of ovs-vswitchd are seen later: its files cannot be watched", "error", err)
		return nil
	}
	seen := make(chan struct{})
	go func() {
		defer watcher.Close()
		defer close(seen)
		for {
			select {
			case <-ctx.Done():
				return
			case _, there := <-watcher.Errors:
				if !there {
					return
				}
			case event, there := <-watcher.Events:
				if !there {
					return
				}
				name := filepath.Base(event.Name)
				if !event.Has(fsnotify.Create) || name != "ovs-vswitchd.pid" && !strings.HasSuffix(name, ".mgmt") {
					continue
				}
				select {
				case seen <- struct{}{}:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return seen
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
		a.ExternalIDs, b.ExternalIDs = read(a.ExternalIDs), read(b.ExternalIDs)
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
