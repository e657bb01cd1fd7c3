package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Guard has a bridge of Open vSwitch removed at the next boot, before ovs-vswitchd makes it: its database keeps it over a
// power failure, and the configuration files, which say until a migration is confirmed that there is a Linux bridge of that
// name, would fail to make that. It does so once, in no other run of the kernel than the next, and never while this one
// (bootID, as random(4) has it) lasts, whoever restarts ovs-vswitchd. Without a unit of ovs-vswitchd it does nothing.
func Guard(root, bridge, bootID string) error {
	h := &host{root: root}
	unit, err := h.unit("ovs-vswitchd.service")
	if unit == nil || err != nil {
		return err
	}
	// Both come into a command of the shell.
	if strings.ContainsAny(bridge+bootID, "'\"\\$%` /\n") {
		return fmt.Errorf("no name for a unit of systemd: %q", bridge)
	}
	file := guardOf(bridge)
	text := fmt.Appendf(nil, `# spanctl bridge: %s is to be confirmed.
[Service]
ExecStartPre=-/bin/sh -c 'grep -q %s /proc/sys/kernel/random/boot_id || { ovs-vsctl --no-wait -- --if-exists del-br %s; rm -f %s; }'
`, bridge, bootID, bridge, file)
	if err := os.MkdirAll(filepath.Join(root, path.Dir(file)), 0o755); err != nil {
		return fmt.Errorf("guarding the next boot: %w", err)
	}
	return put(filepath.Join(root, file), text, attributes{UID: os.Geteuid(), GID: os.Getegid()})
}

// Unguard undoes Guard.
func Unguard(root, bridge string) error {
	file := filepath.Join(root, guardOf(bridge))
	err := removeIfThere(file)
	if err == nil { // it must not come back with a power failure
		err = syncDirectory(filepath.Dir(file))
	}
	if err == nil {
		err = os.Remove(filepath.Dir(file))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("guarding the next boot no longer: %w", err)
	}
	return nil
}

func guardOf(bridge string) string {
	return "/etc/systemd/system/ovs-vswitchd.service.d/spanctl-" + bridge + ".conf"
}
