package persist

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// Manager is who makes the bridge at boot. Its value is its name.
type Manager string

const (
	None           Manager = "nobody"
	Ifupdown       Manager = "ifupdown"
	Networkd       Manager = "systemd-networkd"
	Netplan        Manager = "netplan"
	NetworkManager Manager = "NetworkManager"
	NetworkScripts Manager = "network-scripts" // ifcfg files of Red Hat's releases before 9
	Libvirt        Manager = "libvirt"
)

// Changes are what the configuration of the boot needs.
type Changes struct {
	Manager Manager
	Files   []File   // sorted by path; empty: the files are as they should be
	Boot    []string // what happens at boot, in this order
	Notes   []string // what else a user must know
}

// File is a file as it is and as it is to be.
type File struct {
	Path   string // absolute, seen from the root directory
	Before []byte // nil: there is none
	After  []byte // nil: it goes
}

// Paths are those of the files.
func (c Changes) Paths() (paths []string) {
	for _, f := range c.Files {
		paths = append(paths, f.Path)
	}
	return paths
}

// Diff shows the files in the unified format.
func (c Changes) Diff() string {
	var b strings.Builder
	for _, f := range c.Files {
		before, after := f.Path, f.Path
		if f.Before == nil {
			before = "/dev/null"
		}
		if f.After == nil {
			after = "/dev/null"
		}
		text := diff.Diff(before, f.Before, after, f.After)
		if len(text) == 0 { // an empty file comes or goes
			fmt.Fprintf(&b, "--- %s\n+++ %s\n", before, after)
			continue
		}
		_, text, _ = bytes.Cut(text, []byte("\n")) // "diff BEFORE AFTER"
		b.Write(text)
	}
	return b.String()
}

// same says whether a file is such content; nil is none.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
