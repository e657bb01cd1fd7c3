package ovs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

// TestSecrets holds that an IPsec key is read from the file that the policy
// names, written to where ovs-monitor-ipsec reads it, and shown nowhere.
func TestSecrets(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	vsctl(t, lab, "set", "Bridge", "br0", "datapath_type=system")
	file := filepath.Join(t.TempDir(), "psk")
	session := fmt.Sprintf("a: {sources: [{interface: vif1.0, direction: from}], destinations: [{gre: {remote: 192.0.2.1, key: 1, psk_file: %s}}]}", file)
	write := func(text string) { check(t, os.WriteFile(file, []byte(text), 0o600)) }
	conn := dial(t, lab.DB)
	refused := func(what string) {
		t.Helper()
		before := dump(t, lab)
		if _, err := conn.Apply(within(t, patience), put(t, session), t.Name()); !errors.Is(err, ovs.ErrSecret) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", what, err)
		}
		sameRows(t, dump(t, lab), before)
	}
	refused("no file")
	write(" \n")
	refused("empty file")

	write("hush-1\nhush-2\n")
	refused("two lines")
	write(strings.Repeat("x", 2000))
	refused("large file")
	check(t, os.Chmod(file, 0o644))
	write("hush-1\n")
	refused("file that all can read")
	check(t, os.Chmod(file, 0o600))
	shown := fmt.Sprintf("%+v", *apply(t, lab, put(t, session)))
	rows := dump(t, lab)
	if want := "options:psk hush-1\n"; !strings.Contains(rows, want) || !strings.Contains(rows, "external_ids:spanctl-psk-file "+file) {
		t.Errorf("rows lack %q:\n%s", want, rows)
	}
	carryOut(t, lab, put(t, session), false)

	write("hush-2\n") // a new key is taken in
	p, err := put(t, session)(look(t, lab))
	check(t, err)
	if p.Empty() {
		t.Error("a new key is not seen")
	}
	shown += fmt.Sprintf("%+v %+v", p.Changes, *apply(t, lab, put(t, session)))
	if rows := dump(t, lab); !strings.Contains(rows, "options:psk hush-2\n") || strings.Contains(rows, "hush-1") {
		t.Errorf("rows are\n%s", rows)
	}
	shown += describeSnapshot(look(t, lab))
	if strings.Contains(shown, "hush") || !strings.Contains(shown, plan.Secret) {
		t.Error("the key is shown")
	}
	// Without the file what stands goes on; another session notices nothing.
	check(t, os.Remove(file))
	carryOut(t, lab, put(t, "b: {sources: [{interface: vif1.0}], destinations: [{interface: vif9.0}]}"), true)
	if !strings.Contains(dump(t, lab), "options:psk hush-2\n") {
		t.Error("the key is gone")
	}
}
