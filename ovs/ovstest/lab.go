package ovstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Lab is a private Open vSwitch. Its methods are safe for use by several goroutines, except that one guest's
// Stop, Start, Rename and Vanish are for one at a time.
type Lab struct {
	DB  string // the database as OVS's tools write it: unix:DIR/db.sock
	Dir string // OVS_RUNDIR: sockets, pid files, ovs-vswitchd.log, conf.db

	cfg  Config
	name string
	host *namespace // nil with DatabaseOnly and Dummy

	ending sync.Once
	endErr error

	logMu sync.Mutex // one command at a time in cfg.Log

	mu        sync.Mutex
	closed    bool
	ovsdb     *process
	vswitchd  *process
	guests    []*Guest
	open      map[io.Closer]struct{} // captures, sockets, listeners: closed with the lab
	addressed []hostAddress          // of the host's own devices, for StartVSwitchd to restore
	neighbors []neighbor             // that tunnels know without asking, likewise
	serial    int                    // of guests: the last byte of their default addresses
	detach    func() bool
}

// Start brings a lab up, in about half a second. It is torn down by Close, when ctx ends, and with the process.
func Start(ctx context.Context, cfg Config) (*Lab, error) {
	cfg = cfg.filled()
	if err := installed(cfg); err != nil {
		return nil, err
	}
	if !cfg.DatabaseOnly && !cfg.Dummy && os.Geteuid() != 0 {
		return nil, fmt.Errorf("lab %s: %w", cfg.Name, ErrNotPermitted)
	}
	dir, err := makeDirectory(clean(cfg.Name))
	if err != nil {
		return nil, err
	}
	l := &Lab{
		DB: "unix:" + filepath.Join(dir, "db.sock"), Dir: dir, cfg: cfg, name: cfg.Name,
		open: map[io.Closer]struct{}{},
	}
	if err := l.rise(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", cfg.Name, err), l.Close())
	}
	l.mu.Lock()
	l.detach = context.AfterFunc(ctx, func() { _ = l.Close() })
	l.mu.Unlock()
	return l, nil
}

func (l *Lab) rise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if !l.cfg.DatabaseOnly && !l.cfg.Dummy {
		host, err := newNamespace(prefix + ":" + l.name + ":host")
		if err != nil {
			return err
		}
		l.host = host
	}
	if err := l.createDB(ctx); err != nil {
		return err
	}
	if err := l.StartDB(ctx); err != nil {
		return err
	}
	if !l.cfg.DatabaseOnly {
		if err := l.StartVSwitchd(ctx); err != nil {
			return err
		}
	}
	return l.AddBridge(ctx, l.cfg.Bridges...)
}

// Datapath is the datapath_type of the lab's bridges.
func (l *Lab) Datapath() string { return l.cfg.Datapath }

// AddBridge adds bridges, all in one transaction, and waits until they are there.
func (l *Lab) AddBridge(ctx context.Context, names ...string) error {
	var args []string
	for _, name := range names {
		args = append(args, "--", "add-br", name, "--", "set", "Bridge", name, "datapath_type="+l.cfg.Datapath)
	}
	if len(args) == 0 {
		return nil
	}
	_, err := l.VSCtl(ctx, args...)
	return err
}

// Close ends everything the lab started, removes its directory, and returns when that is done. Closing again does nothing
// but wait for it.
func (l *Lab) Close() error {
	l.ending.Do(func() { l.endErr = l.end() })
	return l.endErr
}

func (l *Lab) end() error {
	l.mu.Lock()
	l.closed = true
	vswitchd, ovsdb, guests := l.vswitchd, l.ovsdb, slices.Clone(l.guests)
	var open []io.Closer
	for c := range l.open {
		open = append(open, c)
	}
	if l.detach != nil {
		l.detach()
	}
	l.mu.Unlock()

	for _, c := range open {
		_ = c.Close() // what a capture has to say was for its own Close
	}
	vswitchd.kill()
	ovsdb.kill()
	for _, g := range guests {
		g.inside.close()
	}
	l.host.close()
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("removing the lab's directory: %w", err)
	}
	return nil
}

// PID is a process in the namespace that plays the host, 0 if there is none: "nsenter -t PID -n" looks inside.
func (l *Lab) PID() int {
	if l.host == nil {
		return 0
	}
	return l.host.holder.pid()
}

// keep closes c with the lab, or at once if that is closed already.
func (l *Lab) keep(c io.Closer) error {
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.open[c] = struct{}{}
	}
	l.mu.Unlock()
	if closed {
		_ = c.Close() // it takes the lock too
		return fmt.Errorf("lab %s: %w", l.name, ErrClosed)
	}
	return nil
}

func (l *Lab) forget(c io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
}

// realHost says that the lab has namespaces.
func (l *Lab) realHost() error {
	if l.host == nil {
		return fmt.Errorf("lab %s: %w", l.name, ErrNoNamespaces)
	}
	return nil
}
