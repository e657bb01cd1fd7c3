package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A Watchdog finishes migrations whose process has died, and puts back what nobody confirms in time.
type Watchdog struct {
	// Restore puts everything back for a reason, Commit goes on with what was confirmed. The journal's lock is held. After an
	// error they are called again, later.
	Restore func(ctx context.Context, f *Folder, j *Journal, reason string) error
	Commit  func(ctx context.Context, f *Folder, j *Journal) error
	// Log takes errors.
	Log func(error)
}

// again is how long a watchdog waits after an error.
const again = 2 * time.Second

// Watch watches over a migration until nothing of it is left to be done, its folder is removed, or ctx ends.
func (w *Watchdog) Watch(ctx context.Context, f *Folder) error {
	changes, err := fsnotify.NewWatcher() // before it counts as one that watches
	if err == nil {
		defer changes.Close()
		err = changes.Add(f.dir)
	}
	if err != nil {
		return fmt.Errorf("watching the journal: %w", err)
	}
	alive, err := f.lock(lockWatch, false)
	// Who asks whether there is a watchdog (Watched) has it for a moment.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for tries := 0; tries < 100 && errors.Is(err, ErrUnfinished); tries++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		alive, err = f.lock(lockWatch, false)
	}
	if errors.Is(err, ErrUnfinished) {
		return nil // another one does
	} else if err != nil {
		return err
	}
	defer alive.Release()
	if err := os.WriteFile(f.watchdogPID(), fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		return fmt.Errorf("writing the watchdog's process id: %w", err)
	}
	for said := ""; ctx.Err() == nil; {
		wait, err := w.turn(ctx, f, alive)
		if errors.Is(err, ErrNoMigration) || err == nil && wait == 0 {
			return nil
		}
		events := changes.Events
		if err != nil { // what it has tried has written to the folder itself
			wait, events = again, nil
			if text := err.Error(); text != said {
				w.Log(err)
				said = text
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-events:
		case <-changes.Errors:
		}
		timer.Stop()
	}
	return ctx.Err()
}

func (f *Folder) watchdogPID() string { return f.dir + "/watchdog.pid" }

// turn does what is to be done now, and returns how long there is nothing, 0 for ever. Then the watchdog's own lock is let go
// before that of those who act: who has that one, and finds a watchdog, is watched over.
func (w *Watchdog) turn(ctx context.Context, f *Folder, alive *Lock) (wait time.Duration, err error) {
	lock, err := f.Act(ctx)
	if err != nil {
		return 0, err
	}
	defer lock.Release()
	defer func() {
		if wait == 0 && err == nil {
			alive.Release()
		}
	}()
	j, err := f.Read()
	if err != nil {
		return 0, err
	}
	switch left := time.Until(j.Deadline); {
	case j.Phase.over() || j.Stale():
		return 0, nil
	case j.Phase == Confirming:
		return 0, w.Commit(ctx, f, j)
	case j.Phase == Migrated && left > 0:
		return left, nil
	case j.Phase == Migrated:
		return 0, w.Restore(ctx, f, j, "nobody confirmed it in time")
	case j.Phase == Migrating:
		return 0, w.Restore(ctx, f, j, "spanctl ended in step "+j.Step)
	}
	return 0, w.Restore(ctx, f, j, j.Reason)
}
