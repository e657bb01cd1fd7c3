package ovstest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// victim is set in a second run of this binary, which starts a lab, tells about it, and waits to be killed; victimVM, if
// it has a virtual machine too, and victimDomain, if libvirt has started one.
const (
	victim       = "OVSTEST_VICTIM"
	victimVM     = "OVSTEST_VICTIM_VM"
	victimDomain = "OVSTEST_VICTIM_DOMAIN"
)

func TestMain(m *testing.M) {
	if end := os.Getenv(victim); end != "" {
		if err := beVictim(end); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func beVictim(end string) error {
	ctx := context.Background()
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: "Victim"})
	if err != nil {
		return err
	}
	g, err := lab.AddGuest(ctx, ovstest.GuestConfig{Name: "g"})
	if err != nil {
		return err
	}
	if _, err := g.Capture(ctx); err != nil {
		return err
	}
	if os.Getenv(victimVM) != "" {
		if _, err := lab.AddVM(ctx, ovstest.GuestConfig{Name: "vm"}); err != nil {
			return err
		}
	}
	if os.Getenv(victimDomain) != "" {
		if err := startDomain(ctx, lab); err != nil {
			return err
		}
	}
	fmt.Println(lab.Dir, netns(lab.PID()), netns(g.PID()))
	if end == "panic" {
		panic("as asked")
	}
	select {}
}

func startDomain(ctx context.Context, lab *ovstest.Lab) error {
	h, err := lab.StartHypervisor(ctx)
	if err != nil {
		return err
	}
	d, err := h.Define(ctx, "domain", 1)
	if err != nil {
		return err
	}
	return d.Start(ctx)
}

func netns(pid int) string {
	inode, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return inode
}

// processes is every process whose command line has the text in it or whose network namespace is one of these.
func processes(t *testing.T, text string, namespaces ...string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	check(t, err)
	var found []string
	for _, dir := range all {
		line, _ := os.ReadFile(dir + "/cmdline") // it may have ended meanwhile
		inode, _ := os.Readlink(dir + "/ns/net")
		hit := strings.Contains(string(line), text)
		for _, n := range namespaces {
			hit = hit || inode == n
		}
		if hit {
			found = append(found, dir+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// eventually waits for a condition with a deadline.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("timed out: %s", what)
		case <-tick.C:
		}
	}
}

func devices(t *testing.T) int {
	t.Helper()
	all, err := net.Interfaces()
	check(t, err)
	return len(all)
}

func TestNothingIsLeftHoweverTheProcessEnds(t *testing.T) {
	for _, end := range []string{"kill", "interrupt", "panic"} {
		t.Run(end, func(t *testing.T) { wantNothingLeft(t, end, 4) })
	}
}

// wantNothingLeft ends a victim, which has so many processes: two daemons, two namespaces, and what it has by the
// environment.
func wantNothingLeft(t *testing.T, end string, many int, environ ...string) {
	t.Helper()
	before := devices(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), victim+"="+end), environ...)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	check(t, err)
	told := strings.Fields(line)
	if have := processes(t, told[0], told[1:]...); end != "panic" && len(have) != many {
		t.Errorf("want %d processes, have %q", many, have)
	}
	switch end {
	case "kill":
		check(t, cmd.Process.Kill())
	case "interrupt":
		check(t, cmd.Process.Signal(syscall.SIGINT))
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it ended well")
	}
	eventually(t, "processes end", func() bool { return len(processes(t, told[0], told[1:]...)) == 0 })
	if after := devices(t); after != before {
		t.Errorf("%d devices, %d before", after, before)
	}
	start(t, ovstest.Config{DatabaseOnly: true})
	if _, err := os.Stat(told[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the next lab left %s: %v", told[0], err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	g := guest(ctx, t, lab, "g")
	c := capture(ctx, t, g)
	inodes := []string{netns(lab.PID()), netns(g.PID())}
	check(t, lab.Close())
	check(t, lab.Close())
	if left := processes(t, lab.Dir, inodes...); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if _, err := os.Stat(lab.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	if err := c.Wait(ctx, func([]ovstest.Frame) bool { return false }); !errors.Is(err, ovstest.ErrClosed) {
		t.Errorf("Wait on a closed lab's capture: %v", err)
	}
	if _, err := lab.AddGuest(ctx, ovstest.GuestConfig{Name: "late"}); !errors.Is(err, ovstest.ErrClosed) {
		t.Errorf("AddGuest on a closed lab: %v", err)
	}
}

func TestEndOfContextClosesTheLab(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: t.Name(), DatabaseOnly: true})
	check(t, err)
	cancel()
	eventually(t, "the directory goes", func() bool {
		_, err := os.Stat(lab.Dir)
		return errors.Is(err, os.ErrNotExist)
	})
}
