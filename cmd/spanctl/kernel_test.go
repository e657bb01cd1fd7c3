//go:build vm

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// TestKernel is what make test-kernel runs: tests of this package, built static, in one virtual machine whose kernel has
// Open vSwitch's datapath, each as a subtest of its name. It needs SPANCTL_VM, as the tests of virtual machines do. With
// SPANCTL_KERNEL_RUN it runs the tests that this regular expression finds, whatever they are.
func TestKernel(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 29*time.Minute)
	defer cancel()
	program := filepath.Join(t.TempDir(), "spanctl.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "vm", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the tests: %v: %s", err, out)
	}
	pattern := "^(TestE2EKernel.*|" + strings.Join(kernelTests, "|") + ")$"
	if only := os.Getenv("SPANCTL_KERNEL_RUN"); only != "" {
		pattern = only
	}
	list, err := exec.CommandContext(ctx, program, "-test.list", pattern).Output()
	if err != nil {
		t.Fatalf("listing the tests: %v", err)
	}
	names := strings.Fields(string(list))
	if len(names) == 0 {
		t.Fatalf("no test is called %s", pattern)
	}
	for _, name := range kernelTests {
		if matched, err := regexp.MatchString(pattern, name); err != nil || matched && !slices.Contains(names, name) {
			t.Errorf("there is no %s: %v", name, err)
		}
	}
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := ovstest.Program{
			Name: t.Name(), File: program, Programs: []string{"ip", "bridge", "cat", "nsenter"}, CPUs: 2, Memory: 2048,
			Args: []string{"-test.v", "-test.parallel=2", "-test.timeout=28m", "-test.run=" + pattern},
			Env:  []string{ovstest.DatapathVariable + "=system", "SPANCTL_TIMEOUT=60s"}, // an emulated machine is slow
		}.Run(ctx, writer)
		_ = writer.Close() // it never fails
		ended <- err
	}()
	ran := relate(t, reader)
	_ = reader.Close() // who still writes is not waited for
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, name := range names {
		if !ran[name] {
			t.Errorf("%s did not run to its end", name)
		}
	}
}

// verdict is the line by which a test that is no subtest ends.
var verdict = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \((\S+)\)$`)

// running is a line that says which test the following lines are of.
var running = regexp.MustCompile(`^=== (?:RUN|NAME|CONT|PAUSE) +(\S+)$`)

// relate makes each test that ends in the output of a verbose run a subtest, with all that it has said if it did not pass,
// and returns which.
func relate(t *testing.T, output io.Reader) (ran map[string]bool) {
	ran = map[string]bool{}
	said := map[string][]string{} // by test that is no subtest
	current := ""
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := running.FindStringSubmatch(line); m != nil {
			current, _, _ = strings.Cut(m[1], "/")
		}
		m := verdict.FindStringSubmatch(line)
		if m == nil {
			said[current] = append(said[current], line)
			continue
		}
		name := m[2]
		ran[name] = true
		t.Run(name, func(t *testing.T) {
			t.Logf("%s inside, in %s", m[1], m[3])
			if m[1] != "PASS" {
				t.Error(strings.Join(said[name], "\n"))
			}
			for _, line := range said[name] {
				if _, fact, found := strings.Cut(line, ": ran "); found { // TestE2EVersions
					t.Log("ran " + fact)
				}
			}
		})
		delete(said, name)
		current = ""
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	for name, rest := range said {
		if len(rest) > 0 && name == "" && t.Failed() || name != "" && !ran[name] {
			t.Logf("%s: %s", name, strings.Join(rest, "\n"))
		}
	}
	return ran
}
