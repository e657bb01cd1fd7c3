package main

import (
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A fault is what somebody else's hand does under a session, and some of the words by which status tells.
type fault struct {
	name string
	do   func(e *enclosure)
	told []string
}

// clear empties the mirrors of bridges.
func (e *enclosure) clear(bridges ...string) {
	e.Helper()
	var args []string
	for _, b := range bridges {
		args = append(args, "--", "clear", "Bridge", b, "mirrors")
	}
	e.vsctl(args...)
}

// wantContained does what faults do, one after another. Each time nothing leaks, status says what is wrong, and the
// next apply mends it.
func (e *enclosure) wantContained(kind string, faults ...fault) {
	e.Helper()
	e.want(exitOK, "apply", "-f", e.policy(e.watching(kind)))
	e.learnTunnels(kind)
	e.wantCopied("at first", 1)
	for _, f := range faults {
		f.do(e)
		e.storm()
		e.invade(kind)
		e.wantIsolated(f.name)
		e.wantArrived(f.name)
		health := e.status(exitDegraded)["audit"]
		for _, words := range f.told {
			if said := strings.Join(health.Problems, "\n"); !strings.Contains(said, words) {
				e.Errorf("%s: status says\n%s\nand nothing of %q", f.name, said, words)
			}
		}
		e.want(exitOK, "apply")
		e.wantNoChanges()
		e.check(fire(e.invasion()))
		e.wantCopied(f.name+", mended", 1)
	}
	e.want(exitOK, "delete", "--all")
	e.wantGone("in the end")
}

func TestE2EIsolationWithoutMirrorsOfSources(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	e.wantContained("erspan",
		fault{"br0 cleared", func(e *enclosure) { e.clear("br0") }, []string{"not copied: br0, eth-up0, vif-a, vif-b"}},
		fault{"br0 and br1 cleared", func(e *enclosure) { e.clear("br0", "br1") }, []string{"not copied: br0, eth-up0, vif-a, vif-b, br1, eth-up1, vif-c, vif-d"}},
	)
}

func TestE2EIsolationWithoutMirrorsOfTapBridge(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	e.wantContained("erspan",
		fault{"tap bridge cleared", func(e *enclosure) { e.clear(e.taps()...) }, []string{"Mirror spanctl-vif-audit is not as it should be"}},
		fault{"all cleared", func(e *enclosure) { e.clear(append(e.taps(), "br0", "br1")...) }, []string{"not copied", "Mirror spanctl-vif-audit is not"}},
		fault{"tap bridge cleared again", func(e *enclosure) { e.clear(e.taps()...) }, nil},
	)
}

func TestE2EIsolationAfterEmergencyReset(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	reset := fault{"emer-reset", func(e *enclosure) { e.vsctl("emer-reset") }, []string{"not copied", "Mirror spanctl-vif-audit is not", "Bridge spanctl-"}}
	e.wantContained("gre", reset, reset)
}

// Where mirrors and parking are taken away the tap bridge joins everything: those who watch see it, and apply mends it.
func TestE2EIsolationIsWatched(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	e.learnTunnels("gre")
	for _, bridge := range append(e.taps(), "br0", "br1") {
		e.vsctl("clear", "Bridge", bridge, "mirrors")
		for _, port := range strings.Fields(e.vsctl("list-ports", bridge)) {
			if strings.HasPrefix(port, "spanctl-") {
				e.vsctl("clear", "Port", port, "trunks", "vlan_mode", "--", "set", "Port", port, "protected=false")
			}
		}
	}
	e.check(fire(append(e.traffic(), e.invasion()...)))
	for _, sniffer := range e.sniffers {
		for _, from := range []string{alien, "br0", "br1"} {
			if sniffer.bridge != "br-ext" && sniffer.bridge != from {
				e.check(sniffer.Wait(e.ctx, func(frames []ovstest.Frame) bool {
					return slices.ContainsFunc(frames, func(f ovstest.Frame) bool { return e.stray(sniffer, f.Data) == from })
				}))
			}
		}
	}
	e.want(exitOK, "apply")
	e.wantNoChanges()
	e.settle()
	for _, h := range e.halves {
		e.greet(h.x, h.y, h.up, h.host) // some were in another's name
	}
	e.strays() // of before
	e.passages = nil
	e.storm()
	e.wantCopied("mended", 1)
}

// Each port of the tap bridge, of the patches to it and each turn is deleted by hand.
func TestE2EIsolationPortsDeletedByHand(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	e.learnTunnels("gre")
	turns := []string{e.turnOf("br0"), e.turnOf("br1")}
	var ports []string
	for _, bridge := range append(e.taps(), "br0", "br1") {
		for _, port := range strings.Fields(e.vsctl("list-ports", bridge)) {
			if strings.HasPrefix(port, "spanctl-") {
				ports = append(ports, port)
			}
		}
	}
	for _, port := range ports {
		turn := slices.Contains(turns, port)
		e.vsctl("del-port", port)
		e.storm()
		e.wantIsolated(port + " deleted")
		e.wantArrived(port + " deleted")
		if !turn { // which is made when it is needed
			e.want(exitPending, "plan", "--detailed-exitcode")
		}
		e.want(exitOK, "apply")
		e.wantNoChanges()
		if !turn {
			e.check(fire(e.invasion()))
			e.wantCopied(port+" made again", 1)
		}
	}
	t.Log(ports)
	e.want(exitOK, "delete", "--all")
	e.wantGone("in the end")
}
