package persist_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanctl/ovs/migrate/persist"
)

// changes are of three files below a new root, with a place for the backup: one is changed, one goes, one comes.
func changes(t *testing.T) (root, kept string, c persist.Changes) {
	t.Helper()
	root, kept = t.TempDir(), filepath.Join(t.TempDir(), "kept")
	write(t, root, "etc/a", "a\n")
	check(t, os.Chmod(filepath.Join(root, "etc/a"), 0o640))
	write(t, root, "etc/b", "b\n")
	return root, kept, persist.Changes{Files: []persist.File{
		{Path: "/etc/a", Before: []byte("a\n"), After: []byte("A\n")},
		{Path: "/etc/b", Before: []byte("b\n")},
		{Path: "/etc/d/c", After: []byte("C\n")},
	}}
}

func want(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if text == "" && !errors.Is(err, os.ErrNotExist) || string(got) != text {
			t.Errorf("%s: %q, %v; want %q", name, got, err, text)
		}
	}
}

func TestWriteKeepsModes(t *testing.T) {
	root, kept, c := changes(t)
	check(t, c.Write(root, kept))
	want(t, root, map[string]string{"etc/a": "A\n", "etc/b": "", "etc/d/c": "C\n"})
	info, err := os.Stat(filepath.Join(root, "etc/a"))
	check(t, err)
	if info.Mode() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
}

// Files that are not as they were planned from: nothing is written, and no backup is left.
func TestWriteOfStaleChanges(t *testing.T) {
	for _, name := range []string{"etc/a", "etc/b", "etc/d/c"} {
		root, kept, c := changes(t)
		write(t, root, name, "somebody's\n")
		before := tree(t, root)
		if err := c.Write(root, kept); !errors.Is(err, persist.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, tree(t, root)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

// Somebody has written since: his will is not undone.
func TestRestoreOfChanged(t *testing.T) {
	root, kept, c := changes(t)
	check(t, c.Write(root, kept))
	write(t, root, "etc/a", "somebody's\n")
	before := tree(t, root)
	if err := persist.Restore(root, kept); !errors.Is(err, persist.ErrChanged) {
		t.Error(err)
	}
	if diff := cmp.Diff(before, tree(t, root)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// A write that cannot be done undoes those before it. A directory in the place of the part file is in the way.
func TestWriteThatFailsIsUndone(t *testing.T) {
	root, kept, c := changes(t)
	check(t, os.MkdirAll(filepath.Join(root, "etc/d/.c.spanctl/x"), 0o755))
	if err := c.Write(root, kept); err == nil {
		t.Error("written")
	}
	want(t, root, map[string]string{"etc/a": "a\n", "etc/b": "b\n", "etc/d/c": ""})
	check(t, os.RemoveAll(filepath.Join(root, "etc/d/.c.spanctl")))
	check(t, c.Write(root, kept)) // the backup is there
	want(t, root, map[string]string{"etc/a": "A\n", "etc/b": "", "etc/d/c": "C\n"})
}

// Killed at any moment, it goes on, or is undone. What a moment leaves is made here: some files written, parts of others.
func TestWriteGoesOnAfterACrash(t *testing.T) {
	for n := range 4 {
		root, kept, c := changes(t)
		before := tree(t, root)
		check(t, c.Write(root, kept))
		for _, f := range c.Files[n:] { // not yet
			if f.Before == nil {
				check(t, os.Remove(filepath.Join(root, f.Path)))
			} else {
				write(t, root, f.Path, string(f.Before))
			}
		}
		write(t, root, "etc/.a.spanctl", "par")
		rest := persist.Changes{Files: c.Files[n:]} // what Plan says then
		check(t, rest.Write(root, kept))
		want(t, root, map[string]string{"etc/a": "A\n", "etc/b": "", "etc/d/c": "C\n"})
		check(t, persist.Restore(root, kept))
		after := tree(t, root)
		if _, err := os.Stat(filepath.Join(root, "etc/d")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its directory is left: %v", err)
		}
		for _, name := range []string{"etc/a", "etc/b"} {
			if n == 0 && after[name] != before[name] {
				t.Errorf("%s: %q, want %q", name, after[name], before[name])
			}
		}
		if err := persist.Restore(root, kept); !errors.Is(err, persist.ErrNoBackup) {
			t.Errorf("Restore again: %v", err)
		}
	}
}

func TestWriteOfOtherChanges(t *testing.T) {
	root, kept, c := changes(t)
	check(t, c.Write(root, kept))
	other := persist.Changes{Files: []persist.File{{Path: "/etc/a", Before: []byte("A\n"), After: []byte("B\n")}}}
	if err := other.Write(root, kept); !errors.Is(err, persist.ErrOtherBackup) {
		t.Error(err)
	}
	want(t, root, map[string]string{"etc/a": "A\n"})
}

func TestWriteLeavesNothingElse(t *testing.T) {
	root, kept, c := changes(t)
	check(t, c.Write(root, kept))
	names := slices.Sorted(maps.Keys(tree(t, root)))
	if diff := cmp.Diff([]string{
		".", "etc", "etc/a", "etc/d", "etc/d/c",
	}, names); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
