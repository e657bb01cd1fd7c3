package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DefaultFolder is where journals are.
const DefaultFolder = "/var/lib/spanctl/bridge"

// A Phase is how far a migration is.
type Phase string

// The phases. Whoever holds the lock finds one of these: Migrating and Reverting mean that another one died in the
// middle, and that everything must be put back; Confirming, that the rest is still to be done.
const (
	Migrating  Phase = "migrating"
	Migrated   Phase = "migrated" // to be confirmed until the deadline
	Confirming Phase = "confirming"
	Confirmed  Phase = "confirmed"
	Reverting  Phase = "reverting"
	Reverted   Phase = "reverted"
)

// over tells whether nothing is left to be done by itself.
func (p Phase) over() bool { return p == Confirmed || p == Reverted }

// A Journal is what is on disk of a bridge's migration.
type Journal struct {
	FormatVersion int           `json:"format_version"`
	Phase         Phase         `json:"phase"`
	Step          string        `json:"step,omitempty"` // that was begun last, of those in Phase
	BootID        string        `json:"boot_id"`        // of the run of the kernel that this is about
	PID           int           `json:"pid"`            // who migrates
	Started       time.Time     `json:"started"`
	Deadline      time.Time     `json:"deadline"` // when everything is put back unless it is confirmed
	Reason        string        `json:"reason,omitempty"`
	Gap           time.Duration `json:"gap"` // without forwarding, in nanoseconds
	Terms
	State  *State  `json:"state"`
	Layout *Layout `json:"layout"`
	Guests []Guest `json:"guests,omitempty"` // who joins the Linux bridge too, when everything is put back
}

// A Guest is a port that has joined the bridge of Open vSwitch since it was migrated.
type Guest struct {
	Name string `json:"name"`
	Tag  int    `json:"tag,omitempty"` // its VLAN, 0 for none
}

// Terms are what an operator wants of a migration.
type Terms struct {
	Confirm time.Duration `json:"confirm"` // how long he has to confirm it, in nanoseconds
	// Root is the root directory whose configuration files make it last over a boot, once it is confirmed, unless the running
	// host alone is migrated.
	Root        string `json:"root"`
	RuntimeOnly bool   `json:"runtime_only,omitempty"`
}

// A Folder is where the journal of one bridge is.
type Folder struct{ dir string }

// Open is the folder of a bridge, in the one where all are.
func Open(all, bridge string) (*Folder, error) {
	if problem := validName(bridge); problem != "" {
		return nil, fmt.Errorf("%w: %q: %s", ErrNoBridge, bridge, problem)
	}
	return &Folder{filepath.Join(all, bridge)}, nil
}

// Folders are those of all bridges of which something is on disk.
func Folders(all string) (map[string]*Folder, error) {
	entries, err := os.ReadDir(all)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading journals: %w", err)
	}
	list := map[string]*Folder{}
	for _, e := range entries {
		list[e.Name()] = &Folder{filepath.Join(all, e.Name())}
	}
	return list, nil
}

func (f *Folder) journal() string { return filepath.Join(f.dir, "journal.json") }

// Read reads the journal. It is ErrNoMigration if there is none.
func (f *Folder) Read() (*Journal, error) {
	text, err := os.ReadFile(f.journal())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (%s)", ErrNoMigration, f.dir)
	} else if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	j := &Journal{}
	if err := json.Unmarshal(text, j); err != nil {
		return nil, fmt.Errorf("reading the journal %s: %w", f.journal(), err)
	}
	if j.FormatVersion != FormatVersion {
		return nil, fmt.Errorf("the journal %s has format %d; this spanctl knows %d", f.journal(), j.FormatVersion, FormatVersion)
	}
	return j, nil
}

// Write replaces the journal: it is on the disk, whole, when Write returns. Only the lock's holder writes.
func (f *Folder) Write(j *Journal) error {
	text, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	part := f.journal() + ".part"
	err = writeThrough(part, text)
	if err == nil {
		err = os.Rename(part, f.journal())
	}
	if err == nil {
		err = syncFolder(f.dir)
	}
	if err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

func writeThrough(name string, text []byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Sync(), file.Close())
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Make makes the folder.
func (f *Folder) Make() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("making the journal's folder: %w", err)
	}
	return nil
}

// bootID tells one run of the kernel from another (random(4)).
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // it is there wherever there is /proc
	return strings.TrimSpace(string(text))
}

// Stale tells whether the host was started anew since, without a configuration that makes it last: of what the kernel had
// nothing is left.
func (j *Journal) Stale() bool {
	lasts := !j.RuntimeOnly && (j.Phase == Confirmed || j.Phase == Confirming)
	return j.BootID != bootID() && !lasts
}

// Path is where it is.
func (f *Folder) Path() string { return f.dir }
