package ovs_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
)

var rewrite = flag.Bool("update", false, "write the rows of testdata/apply anew")

// TestApply plays each testdata/apply/*.txtar on a database with bridge br0.
// Its sections are steps in their order:
//
//	vsctl    transactions of other hands: ovs-vsctl's arguments, one a line
//	apply    sessions that are put into the intent and applied; none: mends
//	delete   sessions that are deleted, by name; none: all
//	rows     what the database must hold now
//	nothing  what an empty plan does: no transaction
//
// Every apply and delete must be one transaction, and repeating it none; ports
// that are no longer needed go in one of their own.
func TestApply(t *testing.T) {
	files, err := filepath.Glob("testdata/apply/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no tests", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			check(t, err)
			lab := start(t, ovstest.Config{})
			for i := range archive.Files {
				step := &archive.Files[i]
				text := strings.TrimSpace(string(step.Data))
				switch step.Name {
				case "vsctl":
					for line := range strings.Lines(text) {
						shell(t, lab, line)
					}
				case "apply":
					carryOut(t, lab, put(t, string(step.Data)), true)
				case "nothing":
					carryOut(t, lab, put(t, string(step.Data)), false)
				case "delete":
					carryOut(t, lab, without(strings.Fields(text)...), true)
				case "rows":
					got := dump(t, lab)
					if *rewrite {
						step.Data = []byte(got)
						continue
					}
					sameRows(t, got, string(step.Data))
				default:
					t.Fatalf("no step is called %q", step.Name)
				}
				if t.Failed() {
					t.Fatalf("step %d: %s", i+1, step.Name)
				}
			}
			if *rewrite {
				check(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			}
		})
	}
}

// shell runs ovs-vsctl with arguments as a shell reads them.
func shell(t *testing.T, lab *ovstest.Lab, line string) {
	t.Helper()
	out, err := exec.CommandContext(within(t, patience), "sh", "-c", "exec ovs-vsctl --no-wait --db="+lab.DB+" "+line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// carryOut applies a plan, which is one transaction if there are changes, and
// again, which is none, but for what the change has made superfluous.
func carryOut(t *testing.T, lab *ovstest.Lab, planner ovs.Planner, changes bool) {
	t.Helper()
	once := func(want bool) {
		before := transactions(t, lab)
		applied := apply(t, lab, planner)
		sent := transactions(t, lab) - before
		if applied.Committed != want || applied.Plan.Empty() == want || sent != btoi(want) {
			t.Errorf("committed %v in %d transactions, want %v; changes %+v", applied.Committed, sent, want, applied.Plan.Changes)
		}
	}
	once(changes)
	left, err := planner(look(t, lab))
	check(t, err)
	if tidy := left.Tidy(); changes && !tidy.Empty() && len(tidy.Changes) == len(left.Changes) {
		once(true)
	}
	once(false)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
