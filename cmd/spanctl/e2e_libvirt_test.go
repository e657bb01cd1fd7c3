package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A domainSite is a site whose guests are libvirt's: their ports carry the UUID, and libvirt alone knows the name.
type domainSite struct {
	*site
	libvirt *ovstest.Libvirt
	names   map[string]string // by UUID
	uri     string            // LIBVIRT_DEFAULT_URI of spanctl
}

const named = "  audit: {sources: [{vm: \"web-*\", direction: from}], destinations: [{vm: audit}]}\n"

func newDomainSite(t *testing.T) *domainSite {
	t.Helper()
	s := &domainSite{site: newSite(t), names: map[string]string{}}
	for _, name := range []string{"web-1", "web-2", "db-1", "audit"} {
		s.addDomain(name)
	}
	var err error
	s.libvirt, err = s.lab.StartLibvirt(s.ctx, s.names)
	s.check(err)
	s.uri = s.libvirt.URI()
	return s
}

func (s *domainSite) addDomain(name string) {
	s.Helper()
	uuid := fmt.Sprintf("6695eb01-f6a4-8304-79aa-%012d", len(s.names))
	s.names[uuid] = name
	s.add(ovstest.GuestConfig{Name: name, ExternalIDs: map[string]string{"vm-id": uuid}})
}

// rename gives a domain another name; the guest's port is as it was.
func (s *domainSite) rename(from, to string) {
	s.Helper()
	s.names[s.uuid(from)] = to
	s.check(s.libvirt.SetDomains(s.names))
}

// run runs spanctl in a process whose environment names libvirt, and wants the code; it returns all that is said.
func (s *domainSite) run(code int, args ...string) string {
	s.Helper()
	p := s.startWith([]string{"LIBVIRT_DEFAULT_URI=" + s.uri}, s.lab.DB, args...)
	s.wantExit(p, code)
	return p.said.String()
}

// wantCopied has every guest send to all, and wants at the audit guest's what those send that are named. A port that
// receives copies receives nothing else: with no name, what all have sent.
func (s *domainSite) wantCopied(guests ...string) {
	s.Helper()
	s.settle()
	audit := s.guests["audit"]
	atAudit := s.capture(audit)
	var want [][]byte
	last := "db-1" // whose frames arrive
	for _, name := range []string{"web-1", "web-2", "db-1"} {
		frame := udp(s.guests[name], ovstest.Broadcast)
		s.send(s.guests[name], frame)
		if len(guests) == 0 || slices.Contains(guests, name) {
			want, last = append(want, frame), name
		}
	}
	s.check(atAudit.Fence(s.ctx, s.guests[last], audit))
	s.wantExactly(atAudit, want...)
}

// Sources, except and destinations name libvirt's domains by globs; a domain that is renamed is another.
func TestE2EGuestsByTheNamesOfLibvirt(t *testing.T) {
	t.Parallel()
	s := newDomainSite(t)
	s.run(exitOK, "apply", "-f", s.policy(named))
	s.wantCopied("web-1", "web-2")
	s.run(exitOK, "status")
	if out := s.run(exitOK, "apply"); !strings.HasPrefix(out, "No changes") {
		t.Errorf("apply has something to do:\n%s", out)
	}
	s.rename("web-2", "retired")
	s.rename("db-1", "web-9")
	s.run(exitOK, "apply")
	s.wantCopied("web-1", "db-1")
	s.run(exitOK, "apply", "-f", s.policy(strings.Replace(named, "destinations", "except: [{vm: web-9}], destinations", 1)))
	s.wantCopied("web-1")
	s.rename("audit", "sensor")
	if out := s.run(exitOK, "apply"); !strings.Contains(out, "vm audit is not present") {
		t.Errorf("the destination has another name, and apply says\n%s", out)
	}
	s.wantCopied()
}

// Without any setting libvirt is asked where it always is, and for the hypervisor that it has.
func TestE2ELibvirtIsFoundWhereItIs(t *testing.T) {
	t.Parallel()
	s := newDomainSite(t)
	args := append(s.libvirt.Inside(), "env", "-u", "LIBVIRT_DEFAULT_URI", "spanctl", "apply", "-f", s.policy(named), "--db", s.lab.DB)
	out, err := exec.CommandContext(s.ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.wantCopied("web-1", "web-2")
}

// Where libvirt is not, and where it does not answer, ids in OVSDB are all that selects, and status says what is missing.
// Nothing that stands by a name ends because of that, and nothing is copied that except may mean.
func TestE2ENamesOfGuestsAreNotKnown(t *testing.T) {
	t.Parallel()
	s := newDomainSite(t)
	for _, c := range []struct {
		name, uri, why string
		freeze         bool
	}{
		{name: "no libvirt", uri: "test+unix:///default?socket=" + s.lab.Dir + "/nobody", why: "no libvirt at " + s.lab.Dir + "/nobody"},
		{name: "no answer", uri: s.libvirt.URI(), why: "no answer in time", freeze: true},
	} {
		s.sub(c.name, func(part *site) {
			s := &domainSite{site: part, libvirt: s.libvirt, names: s.names, uri: c.uri}
			wantWhy := func(what, out string) {
				s.Helper()
				if !strings.Contains(out, "is no id in OVSDB, and which guests have that name is not known: ") || !strings.Contains(out, c.why) {
					s.Errorf("%s does not say %q:\n%s", what, c.why, out)
				}
			}
			if c.freeze {
				s.check(s.libvirt.Freeze())
			}
			wantWhy("plan", s.run(exitOK, "plan", "-f", s.policy(named)))
			s.run(exitOK, "apply", "-f", s.policy(named))
			wantWhy("status", s.run(exitOK, "status"))
			s.wantCopied()
			s.run(exitOK, "apply", "-f", s.policy(strings.ReplaceAll(strings.ReplaceAll(named, "web-*", s.uuid("web-1")), "vm: audit", "vm: "+s.uuid("audit"))))
			s.wantCopied("web-1") // by UUID as ever
			wantWhy("apply", s.run(exitRefused, "apply", "-f", s.policy("  other: {sources: [{role: guest}], except: [{vm: db-1}], destinations: [{vlan: 99}]}\n")))
			if c.freeze {
				s.check(s.libvirt.Thaw())
			}

			known := &domainSite{site: part, libvirt: s.libvirt, names: s.names, uri: s.libvirt.URI()}
			known.run(exitOK, "apply", "-f", s.policy(named))
			s.wantCopied("web-1", "web-2")
			if c.freeze {
				s.check(s.libvirt.Freeze())
			}
			if out := s.run(exitDegraded, "apply"); !strings.HasPrefix(out, "No changes") {
				s.Errorf("without names apply has something to do:\n%s", out)
			}
			s.wantCopied("web-1", "web-2")
			out := s.run(exitDegraded, "status")
			wantWhy("status", out)
			if !strings.Contains(out, "what it copied before goes on") {
				s.Errorf("status says\n%s", out)
			}
			if c.freeze {
				s.check(s.libvirt.Thaw())
			}
			s.run(exitOK, "delete", "--all")
		})
	}
}

// Over a remote connection libvirt is not asked: what stands by names goes on.
func TestE2ENamesOfGuestsOverARemoteConnection(t *testing.T) {
	t.Parallel()
	s := newDomainSite(t)
	local, remote := s.lab.DB, s.overTCP()
	for _, policy := range []string{named, "  audit: {sources: [{role: guest, direction: from}], except: [{vm: db-1}], destinations: [{vm: " + s.uuid("audit") + "}]}\n"} {
		s.lab.DB = local
		s.run(exitOK, "apply", "-f", s.policy(policy))
		s.lab.DB = remote
		if out := s.run(exitOK, "apply"); !strings.HasPrefix(out, "No changes") {
			t.Errorf("apply has something to do:\n%s", out)
		}
		if out := s.run(exitOK, "status"); !strings.Contains(out, "libvirt is asked on its host alone") {
			t.Errorf("status says\n%s", out)
		}
		s.wantCopied("web-1", "web-2")
	}
	s.run(exitOK, "delete", "--all")
	s.wantCopied()
}

func (s *domainSite) uuid(name string) string {
	for uuid, is := range s.names {
		if is == name {
			return uuid
		}
	}
	s.Fatal("no domain", name)
	return ""
}
