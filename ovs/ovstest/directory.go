package ovstest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every directory and namespace of every lab.
const prefix = "spanctl-lab"

// longest socket a lab has: 108 bytes with the closing zero, unix(7).
const longestSocket = len("/ovs-vswitchd.4194304.ctl") + len("-1234567890")

// makeDirectory makes the lab's directory, PREFIX-PID-NAME-RANDOM, and removes those of processes that are no more.
func makeDirectory(name string) (string, error) {
	base, err := rootedTemp()
	if err != nil {
		return "", err
	}
	pattern := fmt.Sprintf("%s-%d-%s-", prefix, os.Getpid(), name)
	if over := len(base) + 1 + len(pattern) + longestSocket - 107; over > 0 && base == os.TempDir() {
		base = "/tmp"
	} else if over > 0 {
		pattern = fmt.Sprintf("%s-%d-%s-", prefix, os.Getpid(), name[:max(0, len(name)-over)])
	}
	sweep(base)
	dir, err := os.MkdirTemp(base, pattern)
	if err != nil {
		return "", fmt.Errorf("making the lab's directory: %w", err)
	}
	return dir, nil
}

// sweep removes the directories that labs of killed processes left. What it cannot remove stays for the next.
func sweep(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, prefix+"-*-*")) // the pattern is well-formed
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix+"-"), "-")
		pid, err := strconv.Atoi(owner)
		if err != nil || pid <= 0 || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		_ = os.RemoveAll(dir)
	}
}

// clean makes a name fit for a file: letters, digits, dots and underscores, 32 at most.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_':
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), 32)]
}
