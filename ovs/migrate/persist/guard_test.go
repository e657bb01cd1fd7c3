package persist_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanctl/ovs/migrate/persist"
)

func TestGuard(t *testing.T) {
	root := t.TempDir()
	check(t, persist.Guard(root, "br0", "no-service"))
	if all := tree(t, root); len(all) != 1 {
		t.Errorf("without a service: %v", all)
	}
	installOpenVSwitch(t, root)
	before := tree(t, root)
	for _, bridge := range []string{"br0", "br1", "br0"} {
		check(t, persist.Guard(root, bridge, "0000-1111"))
	}
	text, err := os.ReadFile(filepath.Join(root, "etc/systemd/system/ovs-vswitchd.service.d/spanctl-br0.conf"))
	check(t, err)
	does := "'grep -q 0000-1111 /proc/sys/kernel/random/boot_id || { ovs-vsctl --no-wait -- --if-exists del-br br0; "
	if !strings.Contains(string(text), does) {
		t.Errorf("it says\n%s", text)
	}
	check(t, persist.Unguard(root, "br0"))
	check(t, persist.Unguard(root, "br0"))
	check(t, persist.Unguard(root, "br1"))
	if diff := cmp.Diff(before, tree(t, root)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if err := persist.Guard(root, "br0'; rm -rf /", "0000"); err == nil {
		t.Error("a name that the shell would read is taken")
	}
}
