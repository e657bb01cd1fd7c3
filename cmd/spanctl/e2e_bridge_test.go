package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"spanctl/ovs/migrate"
	"spanctl/ovs/ovstest"
)

// A bridgeSite is a site whose guests are on a Linux bridge of the kernel's, br0, on which the host is too; Open vSwitch is
// there and has no bridge.
type bridgeSite struct {
	*site
	dir string // --state-dir
}

func newBridgeSite(t *testing.T, guests ...string) *bridgeSite {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	t.Cleanup(cancel)
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: t.Name(), Bridges: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &bridgeSite{site: &site{T: t, ctx: ctx, lab: lab, guests: map[string]*ovstest.Guest{}}, dir: filepath.Join(lab.Dir, "bridges")}
	s.check(lab.AddLinuxBridge("br0", netip.MustParsePrefix("10.9.0.250/24")))
	for _, name := range guests {
		s.add(ovstest.GuestConfig{Name: name, Bridge: "br0", Linux: true})
	}
	t.Cleanup(s.endWatchdogs)
	return s
}

// datapath is that of the bridges of Open vSwitch: of ovs-vswitchd itself, unless the tests run on a kernel that has one.
func datapath() string { return cmp.Or(os.Getenv("SPANCTL_LAB_DATAPATH"), "netdev") }

// endWatchdogs ends what outlives spanctl, and shows what it had to say of a test that failed.
func (s *bridgeSite) endWatchdogs() {
	files, _ := filepath.Glob(s.dir + "/*/watchdog.pid")
	for _, file := range files {
		text, err := os.ReadFile(file)
		s.check(err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		s.check(err)
		if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(line), s.dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if log, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "watchdog.log")); s.Failed() && len(log) > 0 {
			s.Logf("the watchdog said:\n%s", log)
		}
	}
}

// bridge starts "spanctl bridge ..." on the host.
func (s *bridgeSite) bridge(args ...string) *process {
	s.Helper()
	args = append([]string{"bridge"}, append(args, "--state-dir", s.dir, "--root", s.root())...)
	inside := append(s.lab.Inside(), "spanctl")
	return s.startCommand(exec.CommandContext(s.ctx, inside[0], append(append(inside[1:], args...), "--db", s.lab.DB)...), nil, args)
}

// bridgeIn starts "spanctl bridge ..." on the host, in a mount namespace of its own that the shell's commands prepare.
func (s *bridgeSite) bridgeIn(prepare, remote, dir string, args ...string) *process {
	s.Helper()
	args = append([]string{"bridge"}, append(args, "--db", remote, "--state-dir", dir, "--root", s.root())...)
	inside := append(s.lab.Inside(), "unshare", "--mount", "sh", "-c", prepare+` && exec spanctl "$@"`, "sh")
	return s.startCommand(exec.CommandContext(s.ctx, inside[0], append(inside[1:], args...)...), nil, args)
}

// root is where the host's configuration files are: not those of this machine.
func (s *bridgeSite) root() string { return filepath.Join(s.lab.Dir, "root") }

// bridgeWant runs "spanctl bridge ..." on the host, wants the code and returns what it says.
func (s *bridgeSite) bridgeWant(code int, args ...string) string {
	s.Helper()
	p := s.bridge(args...)
	s.wantExit(p, code)
	return p.said.String()
}

// host runs a command on the host and returns what it writes.
func (s *bridgeSite) host(args ...string) string {
	s.Helper()
	inside := append(s.lab.Inside(), args...)
	out, err := exec.CommandContext(s.ctx, inside[0], inside[1:]...).CombinedOutput()
	if err != nil {
		s.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// journal is what is on disk of br0's migration, zero without.
func (s *bridgeSite) journal() migrate.Journal {
	var j migrate.Journal
	text, err := os.ReadFile(filepath.Join(s.dir, "br0", "journal.json"))
	if err == nil {
		s.check(json.Unmarshal(text, &j))
	}
	return j
}

// migrate starts a migration of br0 and returns when it is to be confirmed.
func (s *bridgeSite) migrate(args ...string) *process {
	s.Helper()
	p := s.bridge(append([]string{"migrate", "br0", "--datapath", datapath()}, args...)...)
	s.awaitQuestion(p)
	return p
}

// awaitQuestion waits until a migration asks for its confirmation: it has let the lock go by then.
func (s *bridgeSite) awaitQuestion(p *process) {
	s.Helper()
	asks := func() bool { return strings.Contains(p.said.String(), "Confirm within") }
	s.await("the migration", func() bool {
		select {
		case <-p.done:
			if !asks() {
				s.Fatalf("it ends with %d:\n%s", p.exit(), p.said.String())
			}
		default:
		}
		return asks()
	})
}

func (s *bridgeSite) awaitPhase(phase migrate.Phase) {
	s.Helper()
	s.await("phase "+string(phase), func() bool { return s.journal().Phase == phase })
}

// volatile is what ip(8) tells that is another after a while, or on another device.
var volatile = regexp.MustCompile(`(?m)^\d+: |(valid|preferred)_lft \d+sec|expires \d+sec| (STALE|REACHABLE|DELAY|PROBE)\b|group default|qlen \d+|qdisc \S+|state \w+|NO-CARRIER,`)

// onDevice is what the host has on a device, by ip(8), which knows nothing of spanctl.
func (s *bridgeSite) onDevice(name string) string {
	s.Helper()
	text := ""
	for _, args := range [][]string{
		{"address", "show", "dev", name},
		{"route", "show", "table", "all", "dev", name},
		{"-6", "route", "show", "table", "all", "dev", name},
		{"rule"},
		{"-6", "rule"},
		{"neighbour", "show", "dev", name, "nud", "permanent"},
		{"neighbour", "show", "proxy", "dev", name},
	} {
		text += "# ip " + strings.Join(args, " ") + "\n" + s.host(append([]string{"ip"}, args...)...)
	}
	// A device of the userspace datapath is always promiscuous.
	return strings.ReplaceAll(volatile.ReplaceAllString(text, ""), ",PROMISC,", ",")
}

// linuxBridge is all of br0 as a Linux bridge, likewise.
func (s *bridgeSite) linuxBridge() string {
	s.Helper()
	// Timers run, and the kernel numbers ports anew.
	timers := regexp.MustCompile(`\S*_timer +\S+|port_(id|no) \S+|designated_port \S+|ifindex \d+|@\S+`)
	text := timers.ReplaceAllString(s.host("ip", "-details", "link", "show", "dev", "br0")+s.host("ip", "-details", "link", "show", "master", "br0"), "")
	text = volatile.ReplaceAllString(text, "")
	for entry := range strings.Lines(s.host("bridge", "fdb", "show", "br", "br0")) {
		if strings.Contains(entry, "static") { // somebody has given it
			text += entry
		}
	}
	return s.onDevice("br0") + text
}

// wantSameText says where two texts differ.
func (s *site) wantSameText(what, before, after string) {
	s.Helper()
	if before == after {
		return
	}
	had := map[string]int{}
	for line := range strings.Lines(before) {
		had[line]++
	}
	for line := range strings.Lines(after) {
		had[line]--
	}
	for line, n := range had {
		if n != 0 {
			s.Errorf("%s: %+d of %q", what, -n, line)
		}
	}
}

// ofSwitch are the names of the bridges of Open vSwitch.
func (s *bridgeSite) ofSwitch() string { return s.vsctl("list-br") }

func TestE2EBridgeMigrateConfirmRevert(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before, l3 := s.linuxBridge(), s.onDevice("br0")
	p := s.migrate()
	s.wantSameText("the host after migrate", l3, s.onDevice("br0"))
	s.exchange(s.guests["a"], s.guests["b"], 5)
	t.Log(s.bridgeWant(exitOK, "list"))
	s.bridgeWant(exitOK, "confirm", "br0")
	s.wantExit(p, exitOK)
	t.Log(p.said.String())
	s.wantSameText("the host after confirm", l3, s.onDevice("br0"))
	s.exchange(s.guests["a"], s.guests["b"], 5)
	if got := s.ofSwitch(); got != "br0" {
		t.Errorf("Open vSwitch has bridges %q", got)
	}
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantSameText("the bridge after revert", before, s.linuxBridge())
	s.exchange(s.guests["a"], s.guests["b"], 5)
	if got := s.ofSwitch(); got != "" {
		t.Errorf("Open vSwitch has bridges %q", got)
	}
}
