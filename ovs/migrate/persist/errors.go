package persist

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrChanged indicates that a file is neither as it was when the changes were planned nor as they make it: somebody
	// else has written it since.
	ErrChanged = errors.New("changed by somebody else")
	// ErrNoBackup indicates that there is nothing to restore.
	ErrNoBackup = errors.New("no backup")
	// ErrOtherBackup indicates that the place of the backup holds one of other changes.
	ErrOtherBackup = errors.New("holds a backup of other changes")
	// ErrNotStarted indicates that nothing starts Open vSwitch at boot.
	ErrNotStarted = errors.New("nothing starts Open vSwitch at boot: install the package that does (Debian: openvswitch-switch)")
	// ErrForgets indicates that Open vSwitch is told to delete its bridges whenever it starts.
	ErrForgets = errors.New("open vswitch deletes its bridges when it starts: take --delete-bridges out")
)

// ByHandError indicates that the bridge's configuration is one that this package does not change.
type ByHandError struct {
	Bridge  string
	Manager Manager
	Where   []string // the files, with the line where it is known
	Why     string   // what is in the way; empty: it is not written at all
	Do      string   // what to do by hand: text of several lines
}

func (e *ByHandError) Error() string {
	why := e.Why
	if why == "" {
		why = "which spanctl does not write"
	}
	return fmt.Sprintf("%s is made at boot by %s (%s), %s; do this by hand:\n%s",
		e.Bridge, e.Manager, strings.Join(e.Where, ", "), why, strings.TrimRight(e.Do, "\n"))
}
