package persist

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Write makes the files what they are to be, below the root directory, all or none. What they are now it keeps in a new
// directory first, as Restore wants it: backup, which is no path below root.
//
// To do it again does nothing. After a crash it goes on where it was, for the same changes or for those that Plan says
// then. It is ErrChanged if a file is not as it was planned from, and ErrOtherBackup if the directory is there from other
// changes: nothing is changed then.
func (c Changes) Write(root, backup string) error {
	if len(c.Files) == 0 {
		return nil
	}
	kept, err := readBackup(backup)
	switch {
	case errors.Is(err, ErrNoBackup):
		if kept, err = c.keep(root, backup); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	for _, f := range c.Files {
		if !kept.has(f) {
			return fmt.Errorf("%s %w", backup, ErrOtherBackup)
		}
	}
	if err := c.check(root); err != nil {
		return err
	}
	for i, f := range c.Files {
		if err := step(root, f, kept); err != nil {
			for _, done := range c.Files[:i+1] {
				err = errors.Join(err, kept.restore(root, kept.entry(done.Path)))
			}
			return err
		}
	}
	return nil
}

// check says whether each file is as it was planned from, or as it is to be.
func (c Changes) check(root string) error {
	for _, f := range c.Files {
		now, err := (&host{root: root}).read(f.Path)
		if err != nil {
			return err
		}
		if !same(now, f.Before) && !same(now, f.After) {
			return fmt.Errorf("%s: %w", f.Path, ErrChanged)
		}
	}
	return nil
}

// step makes one file what it is to be, unless it is.
func step(root string, f File, kept *backup) error {
	now, err := (&host{root: root}).read(f.Path)
	switch {
	case err != nil || same(now, f.After):
		return err
	case f.After == nil:
		return remove(filepath.Join(root, f.Path))
	}
	return put(filepath.Join(root, f.Path), f.After, kept.entry(f.Path).attributes)
}

// Restore undoes Write: it makes the files what they were before it, byte for byte, and removes what Write has made,
// the backup last. It is ErrNoBackup if there is none, and ErrChanged, with nothing changed, if somebody has written a file
// since; his is the newer will.
func Restore(root, backup string) error {
	kept, err := restorable(root, backup)
	if err != nil {
		return err
	}
	for _, e := range kept.Files {
		if err := kept.restore(root, e); err != nil {
			return err
		}
	}
	for _, made := range kept.Made {
		err := os.Remove(filepath.Join(root, made))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
			return fmt.Errorf("removing a directory: %w", err)
		}
	}
	return kept.remove()
}

// Restorable says whether Restore would find something and could do it, by its errors.
func Restorable(root, backup string) error {
	_, err := restorable(root, backup)
	return err
}

func restorable(root, dir string) (*backup, error) {
	kept, err := readBackup(dir)
	if err != nil {
		return nil, err
	}
	h := &host{root: root}
	for _, e := range kept.Files {
		now, err := h.read(e.Path)
		if err != nil {
			return nil, err
		}
		if sum := digest(now); sum != e.Before && sum != e.After {
			return nil, fmt.Errorf("%s: %w since its backup in %s", e.Path, ErrChanged, dir)
		}
	}
	return kept, nil
}

// attributes are what a file has beside its content.
type attributes struct {
	Mode fs.FileMode `json:"mode"`
	UID  int         `json:"uid"`
	GID  int         `json:"gid"`
	Time int64       `json:"time,omitempty"` // of its last change, in ns since 1970; 0: not kept
}

// put writes a file whole: who reads it sees the old one or the new one, also after a crash. A link stays one, and the file
// it leads to is written.
func put(path string, text []byte, a attributes) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir, name := filepath.Split(path)
	// Neither "source interfaces.d/*" nor systemd reads it. One of before a crash is written over.
	part := filepath.Join(dir, "."+name+".spanctl")
	err := writeSynced(part, text, a)
	if err == nil {
		err = os.Rename(part, path)
	}
	if err == nil {
		err = syncDirectory(dir)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, removeIfThere(part)))
	}
	return nil
}

func writeSynced(path string, text []byte, a attributes) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = errors.Join(file.Chown(a.UID, a.GID), file.Chmod(cmp.Or(a.Mode, 0o644)))
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func remove(path string) error {
	if err := removeIfThere(path); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// missing are the directories on the way to a path that are not there, the innermost first, seen from root.
func missing(root, path string) (dirs []string) {
	for dir := filepath.Dir(path); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(root, dir)); err == nil {
			break
		}
		dirs = append(dirs, "/"+strings.TrimPrefix(dir, "/"))
	}
	return dirs
}
