//go:build vm

package main

import (
	"bytes"
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// The tests of virtual machines (TestVM…) are those that make test-vm builds, by the tag vm, and runs with a kernel for them
// in SPANCTL_VM: they need QEMU and Debian's kernel, and minutes rather than seconds on a slow machine.

// A vmSite is a site with two virtual machines, an audit guest that is a third, a physical neighbour and the host's own
// port, and the mission's own policy applied. Everybody knows where everybody is.
type vmSite struct {
	*site
	a, b, audit *ovstest.VM
	up          *ovstest.Guest
	host        *ovstest.HostPort
}

func newVMSite(t *testing.T) *vmSite {
	t.Helper()
	s := &vmSite{site: newSite(t)}
	s.boot(map[string]**ovstest.VM{"a": &s.a, "b": &s.b, "audit": &s.audit})
	s.up = s.uplink("up")
	var err error
	s.host, err = s.lab.HostIP(s.ctx, "br0", netip.MustParsePrefix("10.9.0.100/24"))
	s.check(err)
	s.check(s.b.Serve(s.ctx, webPort, 30_000))
	s.check(s.b.Serve(s.ctx, replicationPort, 10_000))
	s.meet()
	s.want(exitOK, "apply", "-f", filepath.Join("..", "..", "examples", "everything-but-replication", "policy.yaml"))
	s.settle()
	return s
}

// meet makes the switch know where everybody is, and returns when its flows do.
func (s *vmSite) meet() {
	s.Helper()
	s.greet(s.up, s.a, s.b, s.host)
	s.settle()
}

// webPort is one that the policy does not leave out.
const webPort = 80

// boot starts virtual machines, all at a time.
func (s *site) boot(machines map[string]**ovstest.VM) {
	s.Helper()
	var wg sync.WaitGroup
	for name, machine := range machines {
		wg.Go(func() {
			var err error
			*machine, err = s.lab.AddVM(s.ctx, ovstest.GuestConfig{Name: name, ExternalIDs: map[string]string{"vm-id": name}})
			if err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	if s.Failed() {
		s.FailNow()
	}
}

// A neighbor sends and receives: a virtual machine, or a namespace.
type neighbor interface {
	ovstest.Sender
	Capture(context.Context, ...ovstest.CaptureOption) (*ovstest.Capture, error)
}

// watch records all that crosses a neighbour's own device.
func (s *vmSite) watch(n neighbor) *ovstest.Capture {
	s.Helper()
	c, err := n.Capture(s.ctx, ovstest.Outgoing())
	s.check(err)
	s.Cleanup(func() { _ = c.Close() })
	return c
}

// pass sends datagrams one after the other, each when the one before has arrived.
func (s *vmSite) pass(n int, from ovstest.Sender, to ovstest.Endpoint, at *ovstest.Capture) (sent [][]byte) {
	s.Helper()
	for range n {
		payload := ovstest.Payload("vm")
		frame := ovstest.UDP(from, to, 40000, 40001, payload)
		s.send(from, frame)
		s.check(at.WaitPayload(s.ctx, payload, 1))
		sent = append(sent, frame)
	}
	return sent
}

// wantProduction has everybody talk to everybody: datagrams, and TCP of the machines' own stacks, with replication among
// it. It wants everybody to have exactly what was sent to him, as it was sent, and returns what was sent, each frame once.
func (s *vmSite) wantProduction(n int) (kept, replicated [][]byte) {
	s.Helper()
	atA, atB, atUp := s.watch(s.a), s.watch(s.b), s.watch(s.up)
	other := s.pass(n, s.b, s.up, atUp)
	other = append(other, s.pass(n, s.up, s.b, atB)...)
	s.pass(n, s.a, s.b, atB)
	s.pass(n, s.b, s.a, atA)
	s.pass(n, s.a, s.up, atUp)
	s.pass(n, s.up, s.a, atA)
	fromHost := s.pass(n, s.host, s.a, atA)
	s.fetch(webPort, 20_000, 30_000)
	s.fetch(replicationPort, 20_000, 10_000)
	s.check(atA.Fence(s.ctx, s.b, s.a))
	s.check(atB.Fence(s.ctx, s.a, s.b))
	s.check(atUp.Fence(s.ctx, s.a, s.up))

	var sent []ovstest.Frame
	for _, c := range []*ovstest.Capture{atA, atB, atUp} {
		s.check(c.Err())
		sent = append(sent, slices.DeleteFunc(slices.Clone(c.Frames()), func(f ovstest.Frame) bool { return !f.Outgoing })...)
	}
	all := fromHost
	for _, f := range sent {
		if !bytes.Contains(f.Data, []byte("<fence/")) {
			all = append(all, f.Data)
		}
	}
	for who, n := range map[string]struct {
		neighbor
		at *ovstest.Capture
	}{"a": {s.a, atA}, "b": {s.b, atB}, "up": {s.up, atUp}} {
		var got, want [][]byte
		mac := string(n.HardwareAddr())
		for _, f := range n.at.Frames() {
			if !f.Outgoing {
				got = append(got, f.Data)
			}
		}
		for _, frame := range all {
			if to := string(frame[:6]); to == mac || to[0]&1 == 1 && string(frame[6:12]) != mac {
				want = append(want, frame)
			}
		}
		s.wantFrames(who+": ", got, want)
	}
	for _, frame := range all {
		if replicates(ovstest.Frame{Data: frame}) {
			replicated = append(replicated, frame)
		} else {
			kept = append(kept, frame)
		}
	}
	if len(kept) < 7*n+40 || len(replicated) < 20 || len(other) != 2*n {
		s.Errorf("%d packets sent, and %d of replication", len(kept), len(replicated))
	}
	return kept, replicated
}

// fetch has machine a send so many bytes to b's port over TCP, and have others back.
func (s *vmSite) fetch(port uint16, up, down int) {
	s.Helper()
	n, err := s.a.Fetch(s.ctx, netip.AddrPortFrom(s.b.Addr(), port), up)
	s.check(err)
	if n != down {
		s.Errorf("port %d sends %d bytes, want %d", port, n, down)
	}
}

// wantCopied is wantProduction with every frame but replication copied once into the audit guest.
func (s *vmSite) wantCopied(n int) (received, leftOut int) {
	s.Helper()
	atAudit, err := s.audit.Capture(s.ctx)
	s.check(err)
	defer atAudit.Close()
	kept, replicated := s.wantProduction(n)
	s.check(atAudit.Fence(s.ctx, s.a, s.b))
	s.wantExactly(atAudit, kept...)
	s.Logf("the audit guest received %d packets, with fences; sent were %d, and %d of replication",
		len(atAudit.Frames()), len(kept), len(replicated))
	return len(atAudit.Frames()), len(replicated)
}

// port is the UUID of the audit guest's Port row.
func (s *vmSite) port() string {
	s.Helper()
	return s.vsctl("get", "Port", s.audit.Port(), "_uuid")
}

// The product's claim, with virtual machines: inside of the audit guest there is every packet that the others exchange,
// with each other, with the outside and with the host, but replication. Production does not notice when it is killed, and
// everything is copied again when it has been started again, by the agent alone.
func TestVMEverythingIsCopiedIntoTheAuditGuest(t *testing.T) {
	s := newVMSite(t)
	received, leftOut := s.wantCopied(20)
	var h jsonHealth
	s.await("the counts of mirror and rules", func() bool {
		h = s.status(exitOK)["audit"]
		return len(h.Mirrors) == 1 && h.Mirrors[0].Packets != nil && *h.Mirrors[0].Packets >= uint64(received+leftOut) &&
			h.LeftOut != nil && *h.LeftOut >= uint64(leftOut)
	})
	if *h.Mirrors[0].Packets != uint64(received+leftOut) || *h.LeftOut != uint64(leftOut) {
		t.Errorf("the mirror counts %d packets, of which %d are left out; %d were received, and %d are of replication",
			*h.Mirrors[0].Packets, *h.LeftOut, received, leftOut)
	}
	agent := s.agent()
	first := s.port()

	s.audit.Kill()
	s.vsctl("--no-wait", "wait-until", "Interface", s.audit.Port(), "link_state=down")
	s.wantHealth(exitDegraded, plan.StateDegraded, "link is down")
	s.wantProduction(20)
	s.check(s.audit.Stop(s.ctx))
	s.await("a session that waits", func() bool { return s.status(exitDegraded)["audit"].State == plan.StateWaiting })
	s.wantHealth(exitDegraded, plan.StateWaiting, "vm audit is not present")
	s.wantProduction(20)
	s.check(s.audit.Start(s.ctx))
	s.awaitActive("audit")
	s.settle()
	s.wantCopied(20)
	second := s.port()

	// A hypervisor that starts it anew finds the rows of before, and replaces them. If the mirror still selects all of the
	// bridge, the new port too, the bridge forgets where everybody is when that is borrowed (docs/decisions/0010).
	s.audit.Kill()
	s.check(s.audit.Start(s.ctx))
	s.awaitActive("audit")
	s.meet()
	s.wantCopied(20)
	if third := s.port(); first == second || second == third {
		t.Errorf("the audit guest's port was %s, %s and %s", first, second, third)
	}
	s.wantHealth(exitOK, plan.StateActive, "")
	s.terminate(agent)
	s.want(exitOK, "delete", "--all")
	s.wantProduction(20)
}
