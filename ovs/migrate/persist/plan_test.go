package persist_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"spanctl/ovs/migrate/persist"
)

var rewrite = flag.Bool("update", false, "write what is wanted anew")

// TestGolden plans each testdata/*.txtar: a layout, the files of a host, and what must come out. The host has Debian 12's
// Open vSwitch, unless it says otherwise. Then the changes are written, planned again, and restored.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			check(t, err)
			root, layout, want := t.TempDir(), persist.Layout{}, (*txtar.File)(nil)
			if !strings.Contains(string(archive.Comment), "no Open vSwitch") {
				installOpenVSwitch(t, root)
			}
			for i := range archive.Files {
				f := &archive.Files[i]
				switch f.Name {
				case "layout":
					check(t, json.Unmarshal(f.Data, &layout))
				case "want":
					want = f
				default:
					write(t, root, f.Name, string(f.Data))
				}
			}
			before := tree(t, root)
			changes, err := persist.Plan(root, layout)
			got := show(changes, err)
			if *rewrite {
				want.Data = []byte(got)
				check(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			} else if diff := cmp.Diff(string(want.Data), got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if err == nil {
				wantWritten(t, root, layout, changes, before)
			}
		})
	}
}

// wantWritten writes the changes, twice, and wants the files to say what they are to, nothing to be left to plan, and
// Restore to bring back what was.
func wantWritten(t *testing.T, root string, layout persist.Layout, changes persist.Changes, before map[string]string) {
	t.Helper()
	backup := filepath.Join(t.TempDir(), "kept")
	for range 2 {
		check(t, changes.Write(root, backup))
		for _, f := range changes.Files {
			text, err := os.ReadFile(filepath.Join(root, f.Path))
			if f.After == nil && !errors.Is(err, fs.ErrNotExist) || f.After != nil && string(text) != string(f.After) {
				t.Errorf("%s is %q, %v", f.Path, text, err)
			}
		}
	}
	again, err := persist.Plan(root, layout)
	check(t, err)
	if len(again.Files) > 0 || again.Manager != changes.Manager && again.Manager != persist.None {
		t.Errorf("planned again: %s", show(again, nil))
	}
	if len(changes.Files) == 0 {
		if err := persist.Restore(root, backup); !errors.Is(err, persist.ErrNoBackup) {
			t.Errorf("Restore of nothing: %v", err)
		}
		return
	}
	check(t, persist.Restore(root, backup))
	if diff := cmp.Diff(before, tree(t, root)); diff != "" {
		t.Errorf("restored: -want +got\n%s", diff)
	}
}

// show is what a user is told.
func show(c persist.Changes, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "by %s\n%s", c.Manager, c.Diff())
	for _, list := range []struct {
		name string
		of   []string
	}{{"boot", c.Boot}, {"note", c.Notes}} {
		for _, text := range list.of {
			fmt.Fprintf(&b, "%s: %s\n", list.name, text)
		}
	}
	return b.String()
}

// installOpenVSwitch puts there what says that Debian's package starts at boot.
func installOpenVSwitch(t *testing.T, root string) {
	t.Helper()
	write(t, root, "usr/lib/systemd/system/openvswitch-switch.service", "[Unit]\nBefore=network.target\n")
	write(t, root, "usr/lib/systemd/system/ovs-vswitchd.service", "[Unit]\nBefore=network.target networking.service\n")
	wants := filepath.Join(root, "etc/systemd/system/multi-user.target.wants")
	check(t, os.MkdirAll(wants, 0o755))
	check(t, os.Symlink("/lib/systemd/system/openvswitch-switch.service", filepath.Join(wants, "openvswitch-switch.service")))
}

// write writes a file; "-> TARGET" alone makes a link of it.
func write(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	if target, ok := strings.CutPrefix(text, "-> "); ok {
		check(t, os.Symlink(strings.TrimSpace(target), path))
		return
	}
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

// tree is all that is below a directory: contents, modes and links.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	check(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[name] = info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			all[name] += " " + target
			return err
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			all[name] += info.ModTime().String() + string(text)
			return err
		}
		return nil
	}))
	return all
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
