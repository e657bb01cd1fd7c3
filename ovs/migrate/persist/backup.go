package persist

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// backup is a directory with what files were before Write: their contents, and this, as JSON.
type backup struct {
	FormatVersion int      `json:"format_version"`
	Files         []entry  `json:"files"`
	Made          []string `json:"made"` // directories that were not there, the innermost first

	dir string
}

// entry is a file of a backup. Its content is in the file whose name is its number in the list.
type entry struct {
	Path       string `json:"path"`
	Before     string `json:"before"` // as digest says it
	After      string `json:"after"`
	Link       string `json:"link,omitempty"` // where it led, if it was a link that Write removes
	attributes        // of the file before; of a new one, what it gets
}

const manifest = "backup.json"

// digest is the content in few letters; empty: there is no file.
func digest(text []byte) string {
	if text == nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// readBackup reads a backup that is whole.
func readBackup(dir string) (*backup, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoBackup)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	b := &backup{dir: dir}
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("reading the backup %s: %w", dir, err)
	}
	if b.FormatVersion != 1 {
		return nil, fmt.Errorf("the backup %s has format %d; this spanctl knows 1", dir, b.FormatVersion)
	}
	return b, nil
}

func (b *backup) entry(path string) entry {
	for _, e := range b.Files {
		if e.Path == path {
			return e
		}
	}
	return entry{}
}

// has says whether the backup is of this change too.
func (b *backup) has(f File) bool {
	e := b.entry(f.Path)
	return e.Path != "" && e.Before == digest(f.Before) && e.After == digest(f.After)
}

// keep makes the backup, whole or not at all, and the directories that new files need.
func (c Changes) keep(root, dir string) (*backup, error) {
	b := &backup{FormatVersion: 1, dir: dir}
	for _, f := range c.Files {
		e, err := look(root, f)
		if err != nil {
			return nil, err
		}
		b.Files = append(b.Files, e)
		b.Made = append(b.Made, missing(root, f.Path)...)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("making the backup: %w", err)
	}
	part := dir + ".part" // of before a crash: it is of no use
	if err := errors.Join(os.RemoveAll(part), os.RemoveAll(dir)); err != nil {
		return nil, fmt.Errorf("making the backup: %w", err)
	}
	err := b.write(part, c.Files)
	if err == nil {
		err = os.Rename(part, dir)
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("making the backup: %w", errors.Join(err, os.RemoveAll(part)))
	}
	for _, f := range c.Files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, f.Path)), 0o755); err != nil {
			return nil, fmt.Errorf("making a directory: %w", err)
		}
	}
	return b, nil
}

// look is the entry of a file, which must be as it was planned from.
func look(root string, f File) (entry, error) {
	e := entry{Path: f.Path, Before: digest(f.Before), After: digest(f.After)}
	now, err := (&host{root: root}).read(f.Path)
	if err != nil {
		return e, err
	}
	if !same(now, f.Before) {
		return e, fmt.Errorf("%s: %w", f.Path, ErrChanged)
	}
	if now == nil {
		e.attributes = attributes{Mode: 0o644, UID: os.Geteuid(), GID: os.Getegid()}
		return e, nil
	}
	path := filepath.Join(root, f.Path)
	if f.After == nil {
		if e.Link, err = os.Readlink(path); err != nil && !errors.Is(err, syscall.EINVAL) {
			return e, fmt.Errorf("reading the configuration: %w", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return e, fmt.Errorf("reading the configuration: %w", err)
	}
	e.attributes = attributes{Mode: info.Mode().Perm(), Time: info.ModTime().UnixNano()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		e.UID, e.GID = int(stat.Uid), int(stat.Gid)
	}
	return e, nil
}

func (b *backup) write(dir string, files []File) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	own := attributes{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()}
	for i, f := range files {
		if f.Before == nil {
			continue
		}
		if err := writeSynced(filepath.Join(dir, strconv.Itoa(i)), f.Before, own); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err == nil {
		err = writeSynced(filepath.Join(dir, manifest), append(text, '\n'), own)
	}
	if err == nil {
		err = syncDirectory(dir)
	}
	return err
}

// restore makes a file what it was.
func (b *backup) restore(root string, e entry) error {
	path := filepath.Join(root, e.Path)
	if e.Before == "" {
		return remove(path)
	}
	if e.Link != "" {
		if to, err := os.Readlink(path); err == nil && to == e.Link {
			return nil
		}
		if err := os.Symlink(e.Link, path); err != nil {
			return fmt.Errorf("restoring a link: %w", err)
		}
		return syncDirectory(filepath.Dir(path))
	}
	number := 0
	for i := range b.Files {
		if b.Files[i].Path == e.Path {
			number = i
		}
	}
	text, err := os.ReadFile(filepath.Join(b.dir, strconv.Itoa(number)))
	if err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	if digest(text) != e.Before {
		return fmt.Errorf("backup of %s: %w", e.Path, ErrChanged)
	}
	if err := put(path, text, e.attributes); err != nil {
		return err
	}
	when := time.Unix(0, e.Time)
	return os.Chtimes(path, when, when)
}

// remove ends the backup; without its list it is none.
func (b *backup) remove() error {
	err := remove(filepath.Join(b.dir, manifest))
	if err == nil {
		err = os.RemoveAll(b.dir)
	}
	if err != nil {
		return fmt.Errorf("removing the backup: %w", err)
	}
	return nil
}
