package ovstest_test

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// needVM leaves tests of virtual machines to make test-vm, which gets the kernel for them and names it.
func needVM(t *testing.T) {
	t.Helper()
	if os.Getenv(ovstest.VMVariable) == "" {
		t.Skip("make test-vm runs it")
	}
}

func vm(ctx context.Context, t *testing.T, lab *ovstest.Lab, name string) *ovstest.VM {
	t.Helper()
	v, err := lab.AddVM(ctx, ovstest.GuestConfig{Name: name})
	check(t, err)
	return v
}

func TestVMSendsAndReceives(t *testing.T) {
	needVM(t)
	ctx, lab := start(t, ovstest.Config{})
	began := time.Now()
	a := vm(ctx, t, lab, "a")
	t.Log("booted in", time.Since(began))
	g := guest(ctx, t, lab, "g")
	b := vm(ctx, t, lab, "b")
	check(t, b.Serve(ctx, 80, 50000))
	atA, err := a.Capture(ctx, ovstest.Outgoing())
	check(t, err)
	atB, err := b.Capture(ctx)
	check(t, err)
	n, err := a.Fetch(ctx, netip.AddrPortFrom(b.Addr(), 80), 20000)
	check(t, err)
	if n != 50000 {
		t.Errorf("fetched %d bytes", n)
	}
	check(t, atA.Fence(ctx, g, a))
	check(t, atB.Fence(ctx, a, b))
	for _, f := range atA.Frames() {
		t.Log(f.Outgoing, ovstest.Describe(f.Data))
	}
	for _, f := range atB.Frames() {
		t.Log("b", f.Outgoing, ovstest.Describe(f.Data))
	}
}
