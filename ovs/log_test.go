package ovs_test

import (
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// TestCommentIsInTheLog leaves who did what in the database's log, with the
// changes.
func TestCommentIsInTheLog(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	conn := dial(t, lab.DB)
	before := transactions(t, lab)
	for _, comment := range []string{
		`spanctl apply by root@host (pid 1): CHG-4711 "quoted"`, "two\nlines", "ünïcode ☃ 'and' \\ more", strings.Repeat("long ", 2000),
	} {
		for i, planner := range []func() error{
			func() error { _, err := conn.Apply(within(t, patience), put(t, session), comment); return err },
			func() error { _, err := conn.Apply(within(t, patience), without(), comment); return err },
		} {
			check(t, planner())
			if sent := transactions(t, lab) - before; sent != 1 {
				t.Fatalf("step %d of %.20q: %d transactions", i, comment, sent)
			}
			log := tool(t, "ovsdb-tool", "show-log", "-mm", filepath.Join(lab.Dir, "conf.db"))
			record := log[strings.LastIndex(log, "\nrecord "):]
			// The log holds it, with the line ends of its own.
			for line := range strings.SplitSeq(comment, "\n") {
				if !strings.Contains(record, line) {
					t.Errorf("record lacks %.60q:\n%s", line, record)
				}
			}
			if want := [][]string{{"insert row", "spanctl-audit"}, {"delete row"}}[i]; !containsAll(record, "table Mirror", want) {
				t.Errorf("record lacks %q:\n%s", want, record)
			}
			before++
		}
	}
}

func containsAll(text, first string, rest []string) bool {
	for _, part := range append(rest, first) {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// TestOneTransactionWhateverChanges puts many kinds of changes, on several
// bridges, in one transaction, and raises the revision and next_cfg once.
func TestOneTransactionWhateverChanges(t *testing.T) {
	t.Parallel()
	lab := start(t, ovstest.Config{Bridges: []string{"br0", "br1", "br2"}})
	shell(t, lab, "set open . ovs_version=3.1.0 -- add-port br0 a1 -- add-port br0 a9 tag=5 -- add-port br1 b1 -- add-port br1 b9 tag=5 -- add-port br2 c1 tag=7 -- add-port br2 c9")
	apply(t, lab, put(t, `
one: {sources: [{interface: a1}], destinations: [{interface: a9}]}
two: {sources: [{interface: b1}], destinations: [{interface: b9}]}
three: {sources: [{role: all, bridge: br2}], destinations: [{interface: c9}]}`))
	shell(t, lab, "set Mirror spanctl-three snaplen=99")
	before := transactions(t, lab)
	planner := put(t, `
one: {sources: [{interface: a1}], destinations: [{vlan: 99}]}
two: {sources: [{interface: b1}], destinations: [{interface: b9}], enabled: false}
four: {sources: [{interface: c1, vlans: [1-5]}], destinations: [{interface: c9}]}`)
	applied := apply(t, lab, planner)
	if sent := transactions(t, lab) - before; sent != 1 || applied.NextCfg != 2 {
		t.Errorf("%d transactions, next_cfg %d; changes %+v", sent, applied.NextCfg, applied.Plan.Changes)
	}
	rows := dump(t, lab)
	for _, want := range []string{"spanctl/revision 2\n", "spanctl/session/four ", "output_vlan 99", "Port a9\n  tag 5\nPort b9\n  tag 5\nPort c1\n  tag 7\n"} {
		if !strings.Contains(rows, want) {
			t.Errorf("rows lack %q:\n%s", want, rows)
		}
	}
	if strings.Contains(rows, "snaplen") {
		t.Errorf("drift is not mended:\n%s", rows)
	}
}
