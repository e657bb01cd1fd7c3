package main

import (
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// What the audit guest and the collector send goes nowhere, in any VLAN: while rules copy, and also when somebody has removed
// them, or has the tap bridge flood what no rule takes, or both. The next apply mends it.
func TestE2EFlowIsolation(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	const kind = "erspan"
	e.want(exitOK, "apply", "-f", e.policy(strings.Replace(e.watching(kind), "destinations:", replication+"\n    destinations:", 1)))
	e.learnTunnels(kind)
	e.wantCopied("at first", 1)
	tap := e.taps()[0]
	noRules := func() {
		_, err := e.lab.OFCtl(e.ctx, "del-flows", tap)
		e.check(err)
	}
	standalone := func() { e.vsctl("set", "Bridge", tap, "fail_mode=standalone") }
	for _, f := range []struct {
		name string
		do   func()
	}{
		{"as it should be", func() {}},
		{"rules removed", noRules},
		{"standalone", standalone},
		{"standalone, rules removed", func() { standalone(); noRules() }},
		{"rules removed, then standalone", func() { noRules(); standalone() }},
		{"flooding by a rule", func() {
			_, err := e.lab.OFCtl(e.ctx, "add-flow", tap, "priority=1000 actions=NORMAL")
			e.check(err)
		}},
	} {
		f.do()
		e.storm()
		e.everyVLAN()
		e.invade(kind)
		e.wantIsolated(f.name)
		e.wantArrived(f.name)
		e.want(exitOK, "apply")
		e.wantNoChanges()
		e.wantCopied(f.name+", mended", 1)
	}
	e.want(exitOK, "delete", "--all")
	e.wantGone("in the end")
}

// everyVLAN lets the audit guest send to all and to a guest in every VLAN.
func (e *enclosure) everyVLAN() {
	e.Helper()
	first := e.sniffers[0]
	for vid := range uint16(4096) {
		for _, to := range []ovstest.Endpoint{ovstest.Broadcast, e.halves[0].x} {
			e.send(e.audit, ovstest.Tagged(ovstest.UDP(e.audit, to, 1000, 2000, ovstest.Payload(alien)), vid))
		}
		if vid%64 == 63 { // the switch takes so many at a time
			e.check(first.Fence(e.ctx, e.neighbour(first.guest), first.guest))
		}
	}
}
