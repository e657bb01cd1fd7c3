package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// plug are the commands that plug the audit guest into a bridge, as a hypervisor's scripts do.
func plug(bridge string) []string {
	return []string{
		"--", "--if-exists", "del-port", "vif-audit",
		"--", "add-port", bridge, "vif-audit", "--", "set", "Interface", "vif-audit", "external_ids:vm-id=audit",
	}
}

// Scripts that name the audit guest's bridge cannot touch it while it is borrowed; those that do not, and other hands,
// make it an ordinary port of a bridge. Status tells, the next apply borrows it again, and delete gives it back to where
// it was last.
func TestE2EIsolationAuditGuestPluggedByOthers(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	e.learnTunnels("gre")
	for command, says := range map[string]string{
		"del-port br0 vif-audit":             "bridge br0 does not have a port vif-audit",
		"--if-exists del-port br0 vif-audit": "bridge br0 does not have a port vif-audit",
		"add-port br0 vif-audit":             "a port named vif-audit already exists on bridge spanctl-",
		"--may-exist add-port br0 vif-audit": "vif-audit is actually attached to bridge spanctl-",
	} {
		if _, err := e.lab.VSCtl(e.ctx, strings.Fields(command)...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ovs-vsctl %s: %v, want %s", command, err, says)
		}
	}
	e.wantNoChanges()
	e.wantCopied("borrowed", 1)

	for _, c := range []struct {
		hand, bridge string
		status       bool
		do           func()
	}{
		{"del-port and add-port", "br0", false, func() { e.vsctl(plug("br0")...) }},
		{"a restart of the guest", "br0", false, func() { e.restartAudit() }},
		{"a move of the row", "br0", true, func() { e.move(e.audit.Port(), e.taps()[0], "br0") }},
		{"add-port to another bridge", "br1", false, func() { e.vsctl(plug("br1")...) }},
	} {
		c.do()
		e.settle()   // flows of the port as a destination are gone
		e.mute(true) // it is a guest of production like others
		hello := ovstest.UDP(e.audit, ovstest.Broadcast, 9, 9, ovstest.Payload("hello"))
		for _, h := range e.halves {
			if h.bridge != c.bridge {
				continue
			}
			at, atAudit := e.capture(h.x), e.capture(e.audit)
			e.send(e.audit, hello)
			e.check(at.WaitPayload(e.ctx, hello[42:], 1))
			e.check(atAudit.Fence(e.ctx, h.x, e.audit))
		}
		e.storm()
		e.wantIsolated(c.hand)
		e.wantArrived(c.hand)
		change := "borrowed from bridge " + c.bridge + ", which is kept in external_ids"
		if said := e.want(exitOK, "plan"); !strings.Contains(said, change) {
			t.Errorf("%s: plan says\n%s", c.hand, said)
		}
		if c.status { // which takes seconds
			e.wantHealth(exitDegraded, plan.StateDegraded, "Port vif-audit is not as it should be ("+change)
		}
		e.mute(false)
		e.want(exitOK, "apply")
		e.wantNoChanges()
		e.wantCopied(c.hand+", borrowed again", 1)
		e.check(fire(e.invasion()))
		e.wantIsolated(c.hand + ", borrowed again")
	}
	e.want(exitOK, "delete", "--all")
	if on := e.vsctl("port-to-br", e.audit.Port()); on != "br1" {
		t.Errorf("the audit guest is given back to %s", on)
	}
	e.vsctl(plug("br0")...)
	e.wantGone("in the end")
}

// restartAudit stops the audit guest, looks at what is without it, and starts it.
func (e *enclosure) restartAudit() {
	e.Helper()
	e.check(e.audit.Stop(e.ctx))
	e.mute(true)
	e.storm()
	e.wantIsolated("audit guest off")
	e.wantArrived("audit guest off")
	e.want(exitDegraded, "apply") // one of several destinations is absent
	e.check(e.audit.Start(e.ctx))
}

// move moves a Port row from one bridge to another.
func (s *site) move(port, from, to string) {
	s.Helper()
	uuid := s.vsctl("get", "Port", port, "_uuid")
	var ops []string
	for _, step := range [][2]string{{from, "delete"}, {to, "insert"}} {
		ops = append(ops, fmt.Sprintf(`{"op":"mutate","table":"Bridge","where":[["name","==",%q]],"mutations":[["ports",%q,["uuid",%q]]]}`, step[0], step[1], uuid))
	}
	s.check(s.lab.Transact(s.ctx, ops...))
}

// The tap bridge is deleted by hand, and the audit guest's port with it: production goes on, the next apply serves the
// collector, and the one after the guest is plugged again serves it too.
func TestE2EIsolationTapBridgeDeletedByHand(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	e.learnTunnels("gre")
	e.vsctl("del-br", e.taps()[0])
	e.storm()
	e.wantIsolated("tap bridge deleted")
	e.wantArrived("tap bridge deleted")
	e.wantHealth(exitDegraded, plan.StateDegraded, "vm audit is not present")
	e.want(exitDegraded, "apply")
	e.settle()
	atSensor := e.capture(e.sensor)
	e.storm()
	e.invade("gre")
	e.wantIsolated("without the audit guest")
	e.check(atSensor.Fence(e.ctx, e.halves[0].x, e.halves[0].y))
	last := e.passages[len(e.passages)-1]
	if n := ovstest.CountPayload(atSensor.Frames(), []byte(last.mark)); n != 1 {
		t.Errorf("%d copies at the collector", n)
	}
	e.vsctl(plug("br0")...)
	e.want(exitOK, "apply")
	e.wantNoChanges()
	e.check(fire(e.invasion()))
	e.wantCopied("plugged again", 1)
	e.want(exitOK, "delete", "--all")
	e.wantGone("in the end")
}

// The bridge that a port was borrowed from is deleted: the session goes on with what is left. When there is a bridge of
// that name again the port is given back to it; if there is none it stays on the tap bridge, which is kept for it, and
// plan says so before.
func TestE2EIsolationHomeDeletedByHand(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	e.learnTunnels("gre")
	gone, left := e.halves[0], e.halves[1:]
	guests := []*ovstest.Guest{gone.x, gone.y, gone.up}
	deleteHome := func() {
		e.vsctl("del-br", "br0")
		e.halves = left
		e.sniffers = slices.DeleteFunc(e.sniffers, func(s *sniffer) bool { return s.bridge == "br0" })
		e.storm()
		e.wantIsolated("home deleted")
		e.wantArrived("home deleted")
		e.wantHealth(exitDegraded, plan.StateDegraded, "no longer needed")
		e.want(exitOK, "apply")
		e.wantCopied("home deleted, applied", 1)
	}
	deleteHome()

	e.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev", `other-config:hwaddr="`+gone.host.HardwareAddr().String()+`"`)
	for _, g := range guests {
		e.check(g.Stop(e.ctx))
		e.check(g.Start(e.ctx))
	}
	e.halves, e.passages = append([]*half{gone}, left...), nil
	e.sniff(gone)
	e.greet(gone.x, gone.y, gone.up)
	e.want(exitOK, "apply")
	e.wantNoChanges()
	e.hostless = true
	e.check(fire(e.invasion()))
	e.wantCopied("home is there again", 1)
	e.want(exitOK, "delete", "--all")
	e.wantGone("home is there again")

	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	deleteHome()
	tap := e.taps()[0]
	if said := e.want(exitOK, "delete", "--all", "--dry-run"); !strings.Contains(said, "tap bridge "+tap+" is kept for what has no other bridge to go back to: vif-audit") {
		t.Errorf("plan says\n%s", said)
	}
	e.want(exitOK, "delete", "--all")
	if ports := e.vsctl("list-ports", tap); ports != "vif-audit" {
		t.Errorf("tap bridge %s holds %s", tap, ports)
	}
	e.wantNoChanges()
	e.vsctl("del-port", "vif-audit")
	e.want(exitOK, "apply")
	if taps := e.taps(); len(taps) != 0 {
		t.Errorf("left: %s", taps)
	}
}
