//go:build vm

package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// A libvirtSite is a site whose guests are machines of a real libvirtd, which alone knows their names: two that are copied,
// and the audit guest, all of them up. A namespace hears what they send, and is no source. An agent runs.
type libvirtSite struct {
	*site
	hypervisor     *ovstest.Hypervisor
	web, db, audit *ovstest.Domain
	witness        *ovstest.Guest
	database       *onlooker
	agent          *process
}

// unknown is what the agent logs while libvirt does not answer.
const unknown = "names of guests are not known"

// byName needs the audit guest's port on a tap bridge, for what it leaves out.
const byName = "  audit: {sources: [{vm: \"web-*\"}, {vm: db}], exclude: [{protocol: tcp, port: 7788}], destinations: [{vm: audit}]}\n"

func newLibvirtSite(t *testing.T) *libvirtSite {
	t.Helper()
	s := &libvirtSite{site: newSite(t)}
	var err error
	s.hypervisor, err = s.lab.StartHypervisor(s.ctx)
	s.check(err)
	t.Setenv("LIBVIRT_DEFAULT_URI", s.hypervisor.URI())
	lib, qemu, err := s.hypervisor.Versions(s.ctx)
	s.check(err)
	t.Logf("libvirt %s, QEMU %s", lib, qemu)
	s.witness = s.add(ovstest.GuestConfig{Name: "witness", ExternalIDs: map[string]string{}})
	for name, domain := range map[string]**ovstest.Domain{"web-1": &s.web, "db": &s.db, "audit": &s.audit} {
		*domain, err = s.hypervisor.Define(s.ctx, name, 1)
		s.check(err)
	}
	s.database, err = lookOn(s.ctx, s.lab.DB)
	s.check(err)
	t.Cleanup(s.database.Close)
	s.agent = s.site.agent()
	s.want(exitOK, "apply", "-f", s.policy(byName))
	s.start(s.web, s.db, s.audit)
	s.wantCopied(s.audit.NIC(0), s.neighbors(), s.web.NIC(0), s.db.NIC(0))
	s.wantHealth(exitOK, plan.StateActive, "")
	if bridge := s.vsctl("port-to-br", s.portOf(s.audit.NIC(0))[0]); !strings.HasPrefix(bridge, "spanctl-") {
		t.Errorf("the audit guest's port is on %s, and not borrowed", bridge)
	}
	return s
}

// part is a part of the test on the same site.
func (s *libvirtSite) part(name string, f func(s *libvirtSite)) {
	s.Helper()
	s.sub(name, func(part *site) {
		p := *s
		p.site = part
		f(&p)
	})
}

// start starts domains, all at a time, and returns when they are up.
func (s *libvirtSite) start(domains ...*ovstest.Domain) {
	s.Helper()
	var wg sync.WaitGroup
	for _, d := range domains {
		wg.Go(func() {
			err := d.Start(s.ctx)
			if err == nil {
				err = d.Up(s.ctx)
			}
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

// neighbors are all who send and receive, with what they are called.
func (s *libvirtSite) neighbors(more ...neighbor) []neighbor {
	return append([]neighbor{s.web.NIC(0), s.db.NIC(0), s.witness}, more...)
}

// wantCopied has everybody send to everybody else, wants it to arrive, and wants in the audit guest, at that NIC, what the
// sources send and receive, each frame once. The guest db is always a source.
func (s *libvirtSite) wantCopied(at neighbor, all []neighbor, sources ...neighbor) {
	s.Helper()
	s.awaitActive("audit")
	s.wantFrom(at, all, sources...)
}

// wantFrom is wantCopied whatever the session's state.
func (s *libvirtSite) wantFrom(at neighbor, all []neighbor, sources ...neighbor) {
	s.Helper()
	s.meet(at, all)
	s.settle()
	atAudit, err := at.Capture(s.ctx)
	s.check(err)
	defer atAudit.Close()
	var want [][]byte
	for _, to := range all {
		atTo, err := to.Capture(s.ctx)
		s.check(err)
		var arrives [][]byte
		for _, from := range all {
			if from == to {
				continue
			}
			for range 5 {
				payload := ovstest.Payload("domain")
				frame := ovstest.UDP(from, to, 40000, 40001, payload)
				s.send(from, frame)
				s.check(atTo.WaitPayload(s.ctx, payload, 1))
				arrives = append(arrives, frame)
				if slices.Contains(sources, from) || slices.Contains(sources, to) {
					want = append(want, frame)
				}
			}
		}
		if to == s.witness {
			s.check(atTo.Fence(s.ctx, s.db.NIC(0), to))
		} else {
			s.check(atTo.Fence(s.ctx, s.witness, to))
		}
		s.wantExactly(atTo, arrives...)
		s.check(atTo.Close())
	}
	s.check(atAudit.Fence(s.ctx, s.db.NIC(0), s.witness))
	s.wantExactly(atAudit, want...)
}

// meet makes the switch know where everybody is, and returns when all copies of that have arrived.
func (s *libvirtSite) meet(at neighbor, all []neighbor) {
	s.Helper()
	atAudit, err := at.Capture(s.ctx)
	s.check(err)
	defer atAudit.Close()
	for _, from := range all {
		s.send(from, ovstest.UDP(from, ovstest.Broadcast, 9, 9, ovstest.Payload("hello")))
	}
	s.check(atAudit.Fence(s.ctx, s.db.NIC(0), s.witness))
}

// A stretch is what has arrived of a stream at a capture: when, by number.
type stretch map[int]time.Time

const streamed = "<streamed/"

func (s *libvirtSite) stretch(c *ovstest.Capture) stretch {
	s.Helper()
	got := stretch{}
	for _, f := range c.Frames() {
		if bytes.Contains(f.Data, []byte(streamed)) {
			n, err := strconv.Atoi(string(f.Data[len(f.Data)-8:]))
			s.check(err)
			if _, twice := got[n]; twice {
				s.Errorf("frame %d of the stream arrived twice", n)
			}
			got[n] = f.Time
		}
	}
	return got
}

// stream has the NIC send numbered frames to the witness, every millisecond from when the machine has it on.
func (s *libvirtSite) stream(n *ovstest.NIC) {
	s.Helper()
	s.check(n.Stream(s.ctx, ovstest.UDP(n, s.witness, 40002, 40003, []byte(streamed+"00000000"))))
}

// blind does what makes a new port of a source, which streams, and logs for how long it is not copied: from the row of its
// port until the mirror is in force, and by what its machine sends from the first frame on.
func (s *libvirtSite) blind(what string, at neighbor, happens func(stream func(*ovstest.NIC))) {
	s.Helper()
	s.meet(at, []neighbor{s.witness}) // or the switch floods, to sources too
	atAudit, err := at.Capture(s.ctx)
	s.check(err)
	defer atAudit.Close()
	atWitness := s.capture(s.witness)
	defer atWitness.Close()
	var port newcomer
	var inForce time.Time
	since := time.Now()
	mirrored := make(chan error, 1)
	go func() {
		err := s.database.wait(s.ctx, "the port", func() (is bool) { port, is = s.database.appeared("vnet", since); return is })
		if err == nil {
			_, inForce, err = s.database.blind(s.ctx, port)
		}
		mirrored <- err
	}()
	var nic *ovstest.NIC
	happens(func(n *ovstest.NIC) { nic = n; s.stream(n) })
	s.check(<-mirrored)
	enough := func(f []ovstest.Frame) bool { return ovstest.CountPayload(f, []byte(streamed)) >= 200 }
	s.check(atAudit.Wait(s.ctx, enough))
	s.check(atWitness.Wait(s.ctx, enough))
	sent, err := nic.Still(s.ctx)
	s.check(err)
	s.check(atWitness.Fence(s.ctx, nic, s.witness))
	s.check(atAudit.Fence(s.ctx, nic, s.witness))
	witnessed, copied := s.stretch(atWitness), s.stretch(atAudit)
	missed, length := s.missed(witnessed, copied)
	first := time.Duration(-1)
	for n := 1; n <= sent && first < 0; n++ {
		if when, is := witnessed[n]; is {
			first = when.Sub(port.seen)
		}
	}
	s.Logf("blind: %s %d ms from the port's row to the mirror in force; the guest's first frame came after %d ms, and of %d frames %d were not copied (%d ms)",
		what, inForce.Sub(port.seen).Milliseconds(), first.Milliseconds(), len(witnessed), missed, length.Milliseconds())
}

// missed is how many of the witnessed frames were not copied, and how long the time was from the first of them to the
// last. No copy is of a frame that was not there.
func (s *libvirtSite) missed(witnessed, copied stretch) (n int, length time.Duration) {
	s.Helper()
	var first, last time.Time
	for number, when := range witnessed {
		if _, is := copied[number]; is {
			continue
		}
		n++
		if first.IsZero() || when.Before(first) {
			first = when
		}
		if when.After(last) {
			last = when
		}
	}
	for number := range copied {
		if _, is := witnessed[number]; !is {
			s.Errorf("frame %d was copied, and is not witnessed", number)
		}
	}
	return n, last.Sub(first)
}

// portOf is the name and the UUID of a NIC's port.
func (s *libvirtSite) portOf(n *ovstest.NIC) [2]string {
	s.Helper()
	name, err := n.Port(s.ctx)
	s.check(err)
	return [2]string{name, s.vsctl("get", "Port", name, "_uuid")}
}

// Guests that are real domains are named by libvirt's names: whatever happens to a source - an end and a start, another name,
// a start that keeps libvirt busy, a NIC that is plugged in - the agent follows, and production does not notice.
func TestVMDomainsAreCopiedByName(t *testing.T) {
	s := newLibvirtSite(t)
	web, db, audit := s.web.NIC(0), s.db.NIC(0), s.audit.NIC(0)
	s.part("started again", func(s *libvirtSite) {
		before := s.portOf(web)
		s.check(s.web.Destroy(s.ctx))
		s.wantCopied(audit, []neighbor{db, s.witness}, db)
		s.blind("domain start", audit, func(stream func(*ovstest.NIC)) {
			s.check(s.web.Start(s.ctx))
			stream(web)
		})
		s.check(s.web.Up(s.ctx))
		s.wantCopied(audit, s.neighbors(), web, db)
		after := s.portOf(web)
		s.Logf("its port was %s, and is %s", before[0], after[0])
		if before[0] == after[0] || before[1] == after[1] {
			s.Errorf("its port was %s, and is %s", before, after)
		}
	})
	s.part("renamed", func(s *libvirtSite) {
		s.check(s.web.Destroy(s.ctx))
		s.check(s.web.Rename(s.ctx, "mail-1"))
		s.start(s.web)
		s.wantCopied(audit, s.neighbors(), db)
		s.check(s.web.Destroy(s.ctx))
		s.check(s.web.Rename(s.ctx, "web-7"))
		s.blind("domain start with a new name", audit, func(stream func(*ovstest.NIC)) {
			s.check(s.web.Start(s.ctx))
			stream(web)
		})
		s.check(s.web.Up(s.ctx))
		s.wantCopied(audit, s.neighbors(), web, db)
	})
	s.part("started slowly", func(s *libvirtSite) {
		slow, err := s.hypervisor.Define(s.ctx, "web-8", 1) // the agent has never heard of them
		s.check(err)
		other, err := s.hypervisor.Define(s.ctx, "web-9", 1)
		s.check(err)
		s.check(slow.Hold())
		said, started := len(s.agent.said.String()), make(chan error, 1)
		go func() { started <- slow.Start(s.ctx) }()
		s.await("the agent to go on without the name", func() bool { return strings.Contains(s.agent.said.String()[said:], unknown) })
		s.blind("domain start while libvirt is busy with another's", audit, func(stream func(*ovstest.NIC)) {
			s.check(other.Start(s.ctx))
			stream(other.NIC(0))
		})
		s.check(other.Up(s.ctx))
		port := s.database.port(s.portOf(slow.NIC(0))[0])
		if _, is := s.database.selected(port.uuid); is {
			s.Error("a guest is copied whose name nobody can know")
		}
		released := time.Now()
		s.check(slow.Release())
		_, inForce, err := s.database.blind(s.ctx, port)
		s.check(err)
		s.Logf("blind: domain start that keeps libvirt busy %d ms from the end of that to the mirror in force", inForce.Sub(released).Milliseconds())
		s.check(<-started)
		s.check(slow.Up(s.ctx))
		s.wantCopied(audit, s.neighbors(other.NIC(0), slow.NIC(0)), web, db, other.NIC(0), slow.NIC(0))
		s.check(other.Destroy(s.ctx))
		s.check(slow.Destroy(s.ctx))
	})
	s.part("plugged", func(s *libvirtSite) {
		var second *ovstest.NIC
		s.blind("NIC plugged in", audit, func(stream func(*ovstest.NIC)) {
			var err error
			second, err = s.db.Plug(s.ctx, func(n *ovstest.NIC) error { stream(n); return nil })
			s.check(err)
		})
		s.wantCopied(audit, s.neighbors(second), web, db, second)
		s.check(s.db.Unplug(s.ctx))
		s.wantCopied(audit, s.neighbors(), web, db)
	})
}

// The audit guest is a domain too, whose death and whose second NIC concern the copies alone, and that of libvirtd is nothing
// to anybody.
func TestVMDomainIsTheAuditGuest(t *testing.T) {
	s := newLibvirtSite(t)
	s.part("tcpdump", func(s *libvirtSite) { s.tcpdumpAgrees() })
	s.part("dies", func(s *libvirtSite) { s.auditGuestDies() })
	s.part("two NICs", func(s *libvirtSite) { s.twoNICs() })
	s.part("libvirtd dies", func(s *libvirtSite) { s.libvirtDies() })
	s.terminate(s.agent)
	s.want(exitOK, "delete", "--all")
	s.want(exitOK, "status")
	if port := s.portOf(s.audit.NIC(0))[0]; s.vsctl("port-to-br", port) != "br0" {
		t.Error("the audit guest's port is not back")
	}
}

// tcpdumpAgrees wants tcpdump to capture as many packets in the audit guest as are counted there.
func (s *libvirtSite) tcpdumpAgrees() {
	audit := s.audit.NIC(0)
	counted, err := audit.Capture(s.ctx)
	s.check(err)
	defer counted.Close()
	s.check(audit.Dump(s.ctx))
	s.wantCopied(audit, s.neighbors(), s.web.NIC(0), s.db.NIC(0))
	s.check(counted.Fence(s.ctx, s.db.NIC(0), s.witness))
	n := len(counted.Frames())
	captured, err := audit.Dumped(s.ctx, n)
	s.check(err)
	s.Logf("tcpdump in the audit guest captured %d packets", captured)
	if captured != n {
		s.Errorf("tcpdump captured %d packets, and %d were counted", captured, n)
	}
}

func (s *libvirtSite) auditGuestDies() {
	web, db, audit := s.web.NIC(0), s.db.NIC(0), s.audit.NIC(0)
	atWitness := s.capture(s.witness)
	s.stream(web)
	s.check(s.audit.Destroy(s.ctx))
	s.await("a session that waits", func() bool { return s.status(exitDegraded)["audit"].State == plan.StateWaiting })
	s.wantHealth(exitDegraded, plan.StateWaiting, "vm audit is not present")
	began := time.Now()
	first := make(chan error, 1)
	var blind time.Duration
	go func() {
		var err error
		blind, err = s.firstCopy(began)
		first <- err
	}()
	s.check(s.audit.Start(s.ctx))
	s.check(<-first)
	s.Logf("blind: audit domain start %d ms from its port's row to the first copy there", blind.Milliseconds())
	s.check(s.audit.Up(s.ctx))
	sent, err := web.Still(s.ctx)
	s.check(err)
	s.check(atWitness.Fence(s.ctx, db, s.witness))
	if got := s.stretch(atWitness); len(got) != sent {
		s.Errorf("%d frames of %d arrived while the audit guest was away and came", len(got), sent)
	}
	s.wantCopied(audit, s.neighbors(), web, db)
	s.wantHealth(exitOK, plan.StateActive, "")
}

// firstCopy is how long it takes from the row of the audit guest's next port to the first frame of a stream that is there.
func (s *libvirtSite) firstCopy(began time.Time) (time.Duration, error) {
	var port newcomer
	err := s.database.wait(s.ctx, "the port", func() (is bool) { port, is = s.database.appeared("vnet", began); return is })
	if err != nil {
		return 0, err
	}
	if _, err = s.lab.VSCtl(s.ctx, "--no-wait", "wait-until", "Interface", port.name, "admin_state=up"); err != nil {
		return 0, err
	}
	c, err := s.lab.CapturePort(s.ctx, port.name, ovstest.Outgoing())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.WaitPayload(s.ctx, []byte(streamed), 1); err != nil {
		return 0, err
	}
	frames := c.Frames()
	return frames[slices.IndexFunc(frames, func(f ovstest.Frame) bool { return bytes.Contains(f.Data, []byte(streamed)) })].Time.Sub(port.seen), nil
}

// twoNICs plugs a second NIC into the audit guest. Until the session says which it means, what it copied before goes on.
func (s *libvirtSite) twoNICs() {
	web, db, first := s.web.NIC(0), s.db.NIC(0), s.audit.NIC(0)
	second, err := s.audit.Plug(s.ctx, func(*ovstest.NIC) error { return nil })
	s.check(err)
	s.await("the agent to notice", func() bool {
		h := s.status(exitDegraded)["audit"]
		return h.Report != nil && h.Report.State == plan.StateRefused
	})
	s.wantHealth(exitDegraded, plan.StateRefused, "choose one with nic: N")
	s.wantFrom(first, s.neighbors(second), web, db)
	for n, at := range []*ovstest.NIC{first, second} {
		s.want(exitOK, "apply", "-f", s.policy(strings.Replace(byName, "vm: audit", fmt.Sprintf("vm: audit, nic: %d", n), 1)))
		s.wantCopied(at, s.neighbors([]*ovstest.NIC{second, first}[n]), web, db)
	}
	s.check(s.audit.Destroy(s.ctx))
	s.start(s.audit)
	s.wantCopied(second, s.neighbors(first), web, db)
	s.check(s.audit.Unplug(s.ctx))
	s.await("a session that waits", func() bool { return s.status(exitDegraded)["audit"].State == plan.StateWaiting })
	s.want(exitOK, "apply", "-f", s.policy(byName))
	s.wantCopied(first, s.neighbors(), web, db)
}

func (s *libvirtSite) libvirtDies() {
	web, db, audit := s.web.NIC(0), s.db.NIC(0), s.audit.NIC(0)
	s.meet(audit, s.neighbors())
	atAudit, err := audit.Capture(s.ctx)
	s.check(err)
	defer atAudit.Close()
	atWitness := s.capture(s.witness)
	s.stream(web)
	before := s.site.database()
	said := len(s.agent.said.String())
	s.check(s.hypervisor.Kill(s.ctx))
	s.await("the agent to notice", func() bool { return strings.Contains(s.agent.said.String()[said:], unknown) })
	if out := s.want(exitDegraded, "status"); !strings.Contains(out, "what it copied before goes on") {
		s.Errorf("status says\n%s", out)
	}
	// The agent renews its lease, in external_ids.
	s.wantSame("without libvirtd", before, s.site.database(), ofItself, []string{"external_ids"})
	s.check(s.hypervisor.Start(s.ctx))
	s.await("a status that is well", func() bool { code, _, _ := s.spanctl("status"); return code == exitOK })
	s.wantSame("with libvirtd again", before, s.site.database(), ofItself, []string{"external_ids"})
	_, err = web.Still(s.ctx)
	s.check(err)
	s.check(atAudit.Fence(s.ctx, web, s.witness))
	s.check(atWitness.Fence(s.ctx, web, s.witness))
	witnessed := s.stretch(atWitness)
	missed, _ := s.missed(witnessed, s.stretch(atAudit))
	s.Logf("blind: libvirtd killed and started, %d of %d frames were not copied", missed, len(witnessed))
	if missed > 0 {
		s.Errorf("%d frames were not copied", missed)
	}
	s.wantCopied(audit, s.neighbors(), web, db)
	s.check(s.web.Destroy(s.ctx))
	s.blind("domain start after libvirtd's", audit, func(stream func(*ovstest.NIC)) {
		s.check(s.web.Start(s.ctx))
		stream(web)
	})
	s.check(s.web.Up(s.ctx))
	s.wantCopied(audit, s.neighbors(), web, db)
}
