//go:build vm

package ovstest_test

import (
	"testing"

	"spanctl/ovs/ovstest"
)

// libvirt starts, renames and ends machines, and plugs NICs; what they send and receive is known inside of them. The death
// of libvirtd is nothing to them.
func TestVMDomain(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	h, err := lab.StartHypervisor(ctx)
	check(t, err)
	d, err := h.Define(ctx, "v", 1)
	check(t, err)
	g := guest(ctx, t, lab, "g")
	atG := capture(ctx, t, g)
	pass := func(n *ovstest.NIC) {
		t.Helper()
		c, err := n.Capture(ctx)
		check(t, err)
		payload := ovstest.Payload("domain")
		check(t, n.Send(ovstest.UDP(n, g, 1, 2, payload)))
		check(t, g.Send(ovstest.UDP(g, n, 1, 2, payload)))
		check(t, atG.WaitPayload(ctx, payload, 1))
		check(t, c.WaitPayload(ctx, payload, 1))
		check(t, c.Close())
	}
	for range 2 {
		check(t, d.Start(ctx))
		check(t, d.Up(ctx))
		pass(d.NIC(0))
		check(t, h.Kill(ctx))
		pass(d.NIC(0))
		check(t, h.Start(ctx))
		second, err := d.Plug(ctx, func(*ovstest.NIC) error { return nil })
		check(t, err)
		pass(second)
		check(t, d.Unplug(ctx))
		pass(d.NIC(0))
		if err := d.Rename(ctx, d.Name()+"w"); err == nil {
			t.Error("a domain that runs has another name")
		}
		check(t, d.Destroy(ctx))
		check(t, d.Rename(ctx, d.Name()+"w"))
	}
}

func TestVMDomainIsGoneHoweverTheProcessEnds(t *testing.T) {
	for _, end := range []string{"kill", "interrupt"} {
		// Its holder, libvirtd and what has put it there, and QEMU.
		t.Run(end, func(t *testing.T) { wantNothingLeft(t, end, 8, victimDomain+"=1") })
	}
}
