package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tools is a folder with an ovs-ofctl that counts how often spanctl has called it, and at one of these calls does what the
// test says.
type tools struct{ dir string }

// fakeOFCtl: count is in the file count; at and how are in the environment.
const fakeOFCtl = `#!/bin/sh
dir=${0%/*}
n=$(($(cat $dir/count) + 1))
echo $n >$dir/count
if [ $n = "$FAKE_AT" ]; then
	case $FAKE_HOW in
	"killed before") kill -9 $PPID; exit 1 ;;
	"killed after") PATH=$FAKE_PATH ovs-ofctl "$@"; kill -9 $PPID; exit 1 ;;
	fails) echo "ovs-ofctl: as the test has it" >&2; exit 1 ;;
	hangs) exec sleep 600 ;;
	esac
fi
PATH=$FAKE_PATH
exec ovs-ofctl "$@"
`

func (s *site) tools() *tools {
	s.Helper()
	f := &tools{s.TempDir()}
	s.check(os.WriteFile(filepath.Join(f.dir, "ovs-ofctl"), []byte(fakeOFCtl), 0o700))
	return f
}

// start starts spanctl with them; at its call number at, if there is one, that happens. Calls are counted from 1.
func (f *tools) start(s *site, at int, how string, args ...string) *process {
	s.Helper()
	s.check(os.WriteFile(filepath.Join(f.dir, "count"), []byte("0\n"), 0o600))
	path := os.Getenv("PATH")
	return s.startWith([]string{"PATH=" + f.dir + ":" + path, "FAKE_PATH=" + path, fmt.Sprintf("FAKE_AT=%d", at), "FAKE_HOW=" + how}, s.lab.DB, args...)
}

// calls is how many there were.
func (f *tools) calls(s *site) int {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "count"))
	s.check(err)
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	s.check(err)
	return n
}

// Where ovs-ofctl fails or hangs before the last transaction, apply says so and leaves nothing; where it does so after it,
// what cannot be told is told. Where it is not there nothing is begun.
func TestE2EFlowToolFails(t *testing.T) {
	t.Parallel()
	for how, c := range map[string]struct {
		codes []int // when it reads, when it sets
		says  string
	}{
		"fails": {[]int{exitUnreachable, exitRefused}, "refused by Open vSwitch: ovs-ofctl: as the test has it"},
		"hangs": {[]int{exitUnreachable}, "no answer to ovs-ofctl"},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := newFlowSite(t)
			tools, file := f.tools(), f.policy(flowSession)
			before := f.unrevised()
			f.wantExit(tools.start(f.site, 0, "", "apply", "-f", file), exitOK)
			calls, undone := tools.calls(f.site), 0
			f.want(exitOK, "delete", "--all")
			for at := 1; at <= calls; at++ {
				p := tools.start(f.site, at, how, "apply", "-f", file, "--timeout", "1500ms")
				code, said := p.exit(), p.said.String()
				if len(f.stored()) > 0 { // by the last transaction
					if code != exitOK && (code != exitDegraded || !strings.Contains(said, "cannot be read") && !strings.Contains(said, "not yet seen in force")) {
						t.Errorf("%s at call %d of %d, committed: apply exits %d and says %s", how, at, calls, code, said)
					}
					f.want(exitOK, "delete", "--all")
				} else if undone++; !slices.Contains(c.codes, code) || !strings.Contains(said, c.says) || strings.Contains(said, "inert may") {
					t.Errorf("%s at call %d of %d: apply exits %d and says %s", how, at, calls, code, said)
				}
				f.wantSame(fmt.Sprintf("%s at call %d of %d", how, at, calls), before, f.unrevised(), ofItself, configuration)
			}
			if undone < 4 {
				t.Errorf("only %d of %d calls were before the last transaction", undone, calls)
			}
		})
	}
	t.Run("is not there", func(t *testing.T) {
		t.Parallel()
		f := newFlowSite(t)
		before := f.database()
		p := f.startWith([]string{"PATH=/nowhere"}, f.lab.DB, "apply", "-f", f.policy(flowSession))
		if code, said := p.exit(), p.said.String(); code != exitUnreachable || !strings.Contains(said, "install Open vSwitch's tools (openvswitch-common)") || strings.Contains(said, "inert may") {
			t.Errorf("apply exits %d and says %s", code, said)
		}
		f.wantSame("without ovs-ofctl", before, f.unrevised(), ofItself, configuration, []string{"external_ids"})
		f.apply(flowSession)
		p = f.startWith([]string{"PATH=/nowhere"}, f.lab.DB, "status")
		if code, said := p.exit(), p.said.String(); code != exitDegraded || !strings.Contains(said, "cannot be read") {
			t.Errorf("status exits %d and says %s", code, said)
		}
	})
}
