package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Lock is held by who acts, or by who watches, and ends with the process.
type Lock struct{ file *os.File }

// Release lets another one act.
func (l *Lock) Release() { _ = l.file.Close() }

// The locks of a folder.
const (
	lockAct   = "lock"
	lockWatch = "watchdog"
)

// TryAct takes the lock of those who change something. It is ErrUnfinished if another one has it.
func (f *Folder) TryAct() (*Lock, error) { return f.lock(lockAct, false) }

func (f *Folder) lock(name string, wait bool) (*Lock, error) {
	file, err := os.OpenFile(filepath.Join(f.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (%s)", ErrNoMigration, f.dir)
	} else if err != nil {
		return nil, fmt.Errorf("locking the journal: %w", err)
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(file.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another spanctl is at it", ErrUnfinished)
		}
		return nil, fmt.Errorf("locking the journal: %w", err)
	}
	return &Lock{file}, nil
}

// Watched tells whether a watchdog watches.
func (f *Folder) Watched() bool {
	lock, err := f.lock(lockWatch, false)
	if err == nil {
		lock.Release()
	}
	return errors.Is(err, ErrUnfinished)
}

// Limit is how long going back, or going on with what was confirmed, may take.
const Limit = time.Minute

// Act takes the lock of those who change something, when it is free. Who has it for too long is stuck (stopped, in most cases), and
// is ended: who migrates, at the migration's deadline; everybody else, when this has waited for him for longer than [Limit]. It
// is ErrUnfinished if ctx ends before.
func (f *Folder) Act(ctx context.Context) (*Lock, error) { return f.act(ctx, Limit+5*time.Second) }

func (f *Folder) act(ctx context.Context, patience time.Duration) (*Lock, error) {
	type result struct {
		lock *Lock
		err  error
	}
	got := make(chan result, 1)
	go func() {
		lock, err := f.lock(lockAct, true)
		got <- result{lock, err}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	holder, since := 0, time.Now()
	for {
		select {
		case r := <-got:
			return r.lock, r.err
		case <-ctx.Done():
			go func() {
				if r := <-got; r.err == nil {
					r.lock.Release()
				}
			}()
			who := "another spanctl"
			if pid := f.holder(); pid != 0 {
				who = fmt.Sprintf("process %d", pid)
			}
			return nil, fmt.Errorf("%w: %s is at it: %w", ErrUnfinished, who, ctx.Err())
		case <-tick.C:
			pid := f.holder()
			if pid != holder {
				holder, since = pid, time.Now()
			}
			end := since.Add(patience)
			if j, err := f.Read(); err == nil && j.Phase == Migrating && j.PID == pid {
				end = j.Deadline
			}
			if pid != 0 && pid != os.Getpid() && time.Now().After(end) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// holder is the process that has the lock of those who act, 0 without (proc_locks(5)).
func (f *Folder) holder() int {
	lock, err := os.Stat(filepath.Join(f.dir, lockAct))
	if err != nil {
		return 0
	}
	suffix := fmt.Sprintf(":%d", lock.Sys().(*syscall.Stat_t).Ino)
	table, _ := os.ReadFile("/proc/locks") // without it nobody is known
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // number: FLOCK ADVISORY WRITE pid device:inode start end
		if len(fields) < 6 || fields[1] != "FLOCK" || !strings.HasSuffix(fields[5], suffix) {
			continue
		}
		if pid, err := strconv.Atoi(fields[4]); err == nil && hasOpen(pid, lock) { // other devices have the same inodes
			return pid
		}
	}
	return 0
}

// hasOpen reports whether a process has a file open.
func hasOpen(pid int, file os.FileInfo) bool {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // the pattern is right
	return slices.ContainsFunc(files, func(name string) bool {
		its, err := os.Stat(name)
		return err == nil && os.SameFile(its, file)
	})
}
