package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"spanctl/ovs/migrate"
)

// TestE2EBridgeFullDisk has no room where the journal is: nothing is changed without one. Where the disk fills up later, everything
// is put back all the same, and the journal says so when there is room again.
func TestE2EBridgeFullDisk(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	dir := filepath.Join(s.lab.Dir, "small")
	s.check(os.Mkdir(dir, 0o700))
	small := "mount -t tmpfs -o size=256k small " + dir
	migrateIn := func(prepare, confirm string) *process {
		return s.bridgeIn(prepare, s.lab.DB, dir, "migrate", "br0", "--datapath", datapath(), "--confirm", confirm)
	}
	p := migrateIn(small+" && ! head -c 1m /dev/zero >"+dir+"/filler", "10m")
	s.wantExit(p, exitError)
	if said := p.said.String(); !strings.Contains(said, "no space left on device") {
		t.Errorf("without room it says\n%s", said)
	}
	s.wantLinuxBridge("without room", before)

	p = migrateIn(small, "2s")
	s.awaitQuestion(p)
	inside := func(pid int, name string) string { return filepath.Join(fmt.Sprintf("/proc/%d/root", pid), dir, name) }
	text, err := os.ReadFile(inside(p.cmd.Process.Pid, "br0/watchdog.pid"))
	s.check(err)
	watchdog, err := strconv.Atoi(strings.TrimSpace(string(text)))
	s.check(err)
	t.Cleanup(func() { _ = syscall.Kill(watchdog, syscall.SIGKILL) }) // it may have ended
	if err := os.WriteFile(inside(p.cmd.Process.Pid, "filler"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("there is still room")
	}
	s.wantExit(p, exitError)
	if said := p.said.String(); !strings.Contains(said, "no space left on device") {
		t.Errorf("when the disk is full it says\n%s", said)
	}
	s.wantLinuxBridge("when the disk is full", before)
	s.check(os.Remove(inside(watchdog, "filler")))
	s.await("the watchdog's end", func() bool { return syscall.Kill(watchdog, 0) != nil })
}

// TestE2EBridgeRelativePaths migrates with paths that are right in its working directory alone, and is killed: the watchdog finds
// the database, and what is on disk.
func TestE2EBridgeRelativePaths(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	before := s.linuxBridge()
	base, socket := filepath.Split(strings.TrimPrefix(s.lab.DB, "unix:"))
	dir, err := filepath.Rel(base, s.dir)
	s.check(err)
	p := s.bridgeIn("cd "+base, "unix:"+socket, dir, "migrate", "br0", "--datapath", datapath(), "--confirm", "2s")
	s.awaitQuestion(p)
	p.kill()
	s.awaitPhase(migrate.Reverted)
	s.wantLinuxBridge("with relative paths", before)
}

// TestE2EBridgeJumbo keeps frames larger than those of Ethernet, also where the Linux bridge is made anew.
func TestE2EBridgeJumbo(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.host("sh", "-e", "-c", "for device in vif-a vif-b br0; do ip link set dev $device mtu 9000; done")
	before := s.linuxBridge()
	s.migrate().kill()
	s.bridgeWant(exitOK, "confirm", "br0")
	for _, device := range []string{"br0", "vif-a"} {
		if link := s.host("ip", "link", "show", "dev", device); !strings.Contains(link, "mtu 9000") {
			t.Errorf("%s", link)
		}
	}
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantLinuxBridge("with large frames", before)
}
