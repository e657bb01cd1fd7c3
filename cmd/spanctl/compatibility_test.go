package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// docs/reference/compatibility.md says what was seen working where. It is made of what the suites printed, when they ran
// with RUNS=DIR (see the Makefile), by make compatibility RUNS=DIR.

var runsDir = flag.String("runs", "", "write the table of compatibility anew, from what test suites have printed into files of this folder")

const compatibilityFile = "../../docs/reference/compatibility.md"

// features are the rows of the table. A test is of the first feature that its name fits.
var features = []struct {
	name  string
	tests *regexp.Regexp
}{
	{"`spanctl bridge`: a Linux bridge becomes one of Open vSwitch, and back, also over reboots", regexp.MustCompile(`^TestVMReboots|^TestE2E(Kernel)?Bridge[A-Z]`)},
	{"libvirt, its real domains and names", regexp.MustCompile(`^TestVMDomain|^TestE2E(GuestsByTheNamesOfLibvirt|Libvirt|NamesOfGuests)`)},
	{"virtual machines of QEMU", regexp.MustCompile(`^TestVM`)},
	{"XAPI (XCP-ng, XenServer): its rows and their life", regexp.MustCompile(`^TestE2EXAPI`)},
	{"OpenNebula's request for mirroring", regexp.MustCompile(`^TestE2EOpenNebula`)},
	{"OVN: its mirrors beside ours, logical ports", regexp.MustCompile(`^TestE2EOVN`)},
	{"Suricata as receiver of ERSPAN", regexp.MustCompile(`^TestE2EARealIDS`)},
	{"schemas older and newer than the installed one", regexp.MustCompile(`^TestE2ESchema`)},
	{"what only the kernel's datapath can: its own erspan devices, ERSPAN Type I, tunnels routed over a mirrored bridge", regexp.MustCompile(`^TestE2EKernel`)},
	{"the agent", regexp.MustCompile(`^TestE2E(Agent|AnAgent)`)},
	{"feedback: copies that are not copied", regexp.MustCompile(`^TestE2E(Feedback|JoinedBridges|FlowFeedback|FlowTwins)`)},
	{"isolation: nothing gets out of an audit guest, or by a tunnel", regexp.MustCompile(`^TestE2E(Isolation|FlowIsolation|WhatAuditGuestsInject|WhatEntersTheTapBridge)`)},
	{"flow tier: include, exclude, balance, sample, limits, snaplen, sharing", regexp.MustCompile(`^TestE2EFlow`)},
	{"hub tier: several bridges and destinations; GRE, ERSPAN II and III, VXLAN, Geneve over IPv4 and IPv6", regexp.MustCompile(`^TestE2EHub`)},
	{"trace", regexp.MustCompile(`^TestE2ETrace`)},
	{"RSPAN", regexp.MustCompile(`^TestE2ERSPAN`)},
	{"VLANs of access, trunk and native ports", regexp.MustCompile(`^TestE2E(AccessPorts|AuditPortOfEveryVLANMode)`)},
	{"running connections follow", regexp.MustCompile(`^TestE2E(RunningConnections|HandMadeMirrorLeaves)`)},
	{"foreign mirrors, tunnels and names are respected", regexp.MustCompile(`^TestE2E(Foreign|MirrorLimit|AnotherWriter)`)},
	{"killed, interrupted, concurrent spanctl", regexp.MustCompile(`^TestE2E(Killed|Interrupted|TwoSpanctl)`)},
	{"restarts of guests, ovs-vswitchd and ovsdb-server", regexp.MustCompile(`^TestE2E(RestartedAndNew|MirrorsOutlive|ProductionGoesOn|StatusTellsOfARestarted|NoMACTable)`)},
	{"status, history, versions", regexp.MustCompile(`^TestE2E(Status|History|Versions)`)},
	{"direct tier", regexp.MustCompile(`^TestE2E`)},
}

// What TestE2EVersions prints of where it runs, a column of the table; of what it runs with; and how go test -v says that a
// test has ended. TestKernel has a machine's tests as its own subtests.
var (
	environmentLine = regexp.MustCompile(`(?m)^ +\S+\.go:\d+: ran on: (.+)$`)
	besideLine      = regexp.MustCompile(`(?m)^ +\S+\.go:\d+: ran with: (.+)$`)
	outcomeLine     = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (?:TestKernel/)?(Test[A-Za-z0-9]+) \(`)
)

// TestE2EVersions prints what the suite ran on and with.
func TestE2EVersions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	datapath := map[string]string{"netdev": "userspace", "system": "kernel"}[s.vsctl("get", "Bridge", "br0", "datapath_type")]
	var kernel unix.Utsname
	s.check(unix.Uname(&kernel))
	release, _, _ := strings.Cut(unix.ByteSliceToString(kernel.Release[:]), "-")
	server := strings.Trim(s.vsctl("get", "Open_vSwitch", ".", "ovs_version"), `"`)
	if datapath == "" || server == "" || release == "" {
		t.Errorf("the datapath is %q, Open vSwitch %q, the kernel %q", datapath, server, release)
	}
	t.Logf("ran on: Open vSwitch %s, %s datapath, Linux %s", server, datapath, release)
	for _, program := range []struct{ name, of string }{
		{"libvirtd", "libvirt"}, {"qemu-system-x86_64", "QEMU"}, {"ovn-controller", "OVN"}, {"suricata", "Suricata"},
	} {
		flag := "--version"
		if program.name == "suricata" {
			flag = "-V"
		}
		said, err := exec.CommandContext(s.ctx, program.name, flag).Output()
		if err != nil {
			continue // its own tests tell
		}
		if version := regexp.MustCompile(`\d+\.\d+(\.\d+)?`).FindString(string(said)); version != "" {
			t.Logf("ran with: %s %s", program.of, version)
		}
	}
}

// TestCompatibility holds that the table has every feature, and tells of nothing that failed. With -runs it writes it.
func TestCompatibility(t *testing.T) {
	if *runsDir != "" {
		table, err := compatibility(*runsDir)
		if err == nil {
			err = os.WriteFile(compatibilityFile, []byte(table), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(compatibilityFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range features {
		if !strings.Contains(string(data), "\n| "+f.name+" |") {
			t.Errorf("%s has no feature %q: make compatibility", compatibilityFile, f.name)
		}
	}
	if strings.Contains(string(data), "failed") {
		t.Errorf("%s tells of what failed", compatibilityFile)
	}
}

// compatibility is the document of what suites have printed.
func compatibility(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no suite's output in %s: run make test test-all RUNS=%s first: %w", dir, dir, os.ErrNotExist)
	}
	outcomes := map[string]map[string]string{} // by environment and test
	beside := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		where := environmentLine.FindStringSubmatch(string(data))
		if where == nil {
			return "", fmt.Errorf("%s does not say what it ran on: TestE2EVersions was not among the tests", file)
		}
		if outcomes[where[1]] == nil {
			outcomes[where[1]] = map[string]string{}
		}
		for _, m := range outcomeLine.FindAllStringSubmatch(string(data), -1) {
			if outcomes[where[1]][m[2]] != "FAIL" {
				outcomes[where[1]][m[2]] = m[1]
			}
		}
		for _, m := range besideLine.FindAllStringSubmatch(string(data), -1) {
			beside[m[1]] = true
		}
	}
	columns := slices.Sorted(maps.Keys(outcomes))
	var b strings.Builder
	b.WriteString(`# Compatibility

What the project's own tests saw working, on which Open vSwitch and datapath: real switches, real packets counted one by
one. A cell says how many tests of the feature passed there; one that is empty was not run there, which does not say that
it would fail. Generated from what the suites printed (make compatibility); do not edit.

`)
	row := func(first string, cells []string) {
		fmt.Fprintf(&b, "| %s | %s |\n", first, strings.Join(cells, " | "))
	}
	row("", columns)
	b.WriteString("|---" + strings.Repeat("|---", len(columns)) + "|\n")
	for _, f := range features {
		var cells []string
		for _, column := range columns {
			cells = append(cells, passedOf(outcomes[column], f.name))
		}
		row(f.name, cells)
	}
	fmt.Fprintf(&b, "\nBeside them ran %s.\n", strings.Join(slices.Sorted(maps.Keys(beside)), ", "))
	b.WriteString(compatibilityNotes)
	return b.String(), nil
}

// passedOf says how the tests of a feature ended.
func passedOf(outcomes map[string]string, feature string) string {
	passed, failed := 0, 0
	for test, outcome := range outcomes {
		if featureOf(test) != feature {
			continue
		}
		if outcome == "PASS" {
			passed++
		} else {
			failed++
		}
	}
	switch {
	case failed > 0:
		return fmt.Sprintf("%d failed", failed)
	case passed > 0:
		return fmt.Sprint(passed)
	}
	return ""
}

// featureOf is "" of what is not an end-to-end test.
func featureOf(test string) string {
	for _, f := range features {
		if f.tests.MatchString(test) {
			return f.name
		}
	}
	return ""
}

// compatibilityNotes are what the table cannot say.
const compatibilityNotes = `
- Open vSwitch from 2.7 on: schemas of 2.7, 2.8, 2.12, 2.13 and one later than all were tried, with 3.1's ovs-vswitchd. What a
  server lacks is found in its schema when spanctl connects; a mirror's filter is used from ovs_version 3.4 on. Without what
  all policies need, or what this one does, the answer is a refusal that names it (exit code 4).
- ERSPAN Type I is sent by a device of the kernel (erspan_ver 0) that is a port and a destination. Open vSwitch itself sends none.
- XAPI and OpenNebula are their rows and requests, written as they write them: neither ran. libvirt, its domains, OVN and Suricata did.
- The reboots are of whole Debian 12 systems in QEMU, by ifupdown and by systemd-networkd, on the kernel's datapath. make
  test-all boots each once after its migration; make test-reboot also after a power cut, and after going back.
`
