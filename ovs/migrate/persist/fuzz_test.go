package persist

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// seeds are the files of the golden tests whose name ends so.
func seeds(f *testing.F, suffixes ...string) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no golden files", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range txtar.Parse(text).Files {
			for _, suffix := range suffixes {
				if strings.HasSuffix(file.Name, suffix) || strings.Contains(file.Name, "/interfaces") && suffix == "interfaces" {
					f.Add(string(file.Data))
				}
			}
		}
	}
}

// Whatever a file says, what is not changed stays byte for byte: all of it when it is only read; when it is written anew, all
// lines of stanzas of others. And what is written anew needs no more.
func FuzzInterfaces(f *testing.F) {
	seeds(f, "interfaces")
	f.Fuzz(func(t *testing.T, text string) {
		if got := parseInterfaces("", text).text(); got != text {
			t.Fatalf("read: %q is %q", text, got)
		}
		for _, l := range []Layout{
			{
				Bridge: "br0", MAC: "52:54:00:00:00:01",
				Ports: []Port{{Name: "eth0", Tag: 1}, {Name: "bond1", Members: []string{"eth2"}}},
			},
			{Bridge: "br0", New: "ovsbr0"},
		} {
			for _, proxmox := range []bool{false, true} {
				once := rewritten(l, text, proxmox)
				if twice := rewritten(l, once, proxmox); twice != once {
					t.Errorf("proxmox %v: %q is written %q, and again %q", proxmox, text, once, twice)
				}
				wantOthers(t, l, text, once)
			}
		}
	})
}

func rewritten(l Layout, text string, proxmox bool) string {
	file := parseInterfaces("", text)
	u := &ifupdown{host: &host{Layout: l}, files: []*interfaces{file}}
	ports := u.listed()
	u.rewrite(&Changes{}, file, ports, proxmox)
	return file.text()
}

// wantOthers wants the lines that have none of the layout's names, and are not in a stanza that has, to be there in order.
func wantOthers(t *testing.T, l Layout, text, now string) {
	t.Helper()
	names := []string{l.Bridge, l.name(), "eth0", "bond1", "eth2"}
	ours := func(words []string) bool {
		for _, word := range words {
			for _, name := range names {
				if word == name {
					return true
				}
			}
		}
		return false
	}
	file := parseInterfaces("", text)
	for _, line := range file.lines {
		if ours(line.words) || line.header >= 0 && ours(file.lines[line.header].words) {
			continue
		}
		before, after, found := strings.Cut(now, line.raw)
		if !found {
			t.Fatalf("%q is gone, or not in its place: %q is written %q (after %q)", line.raw, text, now, before)
		}
		now = after
	}
}

func FuzzUnitFile(f *testing.F) {
	seeds(f, ".network", ".netdev", ".nmconnection")
	f.Fuzz(func(t *testing.T, text string) {
		if got := parseUnitFile(text).text(); got != text {
			t.Fatalf("%q is %q", text, got)
		}
	})
}
