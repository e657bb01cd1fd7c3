package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// domainXML is what libvirt gives a hook, without what no hook of ours looks at.
func domainXML(name, uuid, metadata string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(name)) // into memory
	return fmt.Sprintf(`<domain type='kvm' id='7'>
  <name>%s</name>
  <uuid>%s</uuid>
  <description>&lt;uuid&gt;00000000-0000-0000-0000-000000000000&lt;/uuid&gt;</description>
  <metadata>
    <!-- <spanctl:sessions xmlns:spanctl="urn:spanctl">commented</spanctl:sessions> -->
    <other:sessions xmlns:other="urn:other">theirs</other:sessions>
    %s
  </metadata>
  <devices>
    <interface type='bridge'>
      <source bridge='br0'/>
      <virtualport type='openvswitch'>
        <parameters interfaceid='5d744f21-ba4a-4d6e-bdb2-30a35ff3207d'/>
      </virtualport>
      <target dev='vnet0'/>
    </interface>
  </devices>
</domain>
`, escaped.String(), uuid, metadata)
}

func metadata(sessions string) string {
	return `<s:sessions xmlns:s="urn:spanctl">` + sessions + `</s:sessions>`
}

// libvirtGuest adds a guest as libvirt does, without any name.
func (s *site) libvirtGuest(name string) (uuid string) {
	s.Helper()
	n := len(s.guests)
	uuid = fmt.Sprintf("6fd1b8a0-2f0c-4c70-a0d8-6c5f3c6b8f%02x", n)
	s.add(ovstest.GuestConfig{Name: name, Port: fmt.Sprintf("vnet%d", n), ExternalIDs: map[string]string{
		"attached-mac": fmt.Sprintf("52:54:00:00:00:%02x", n), "iface-id": fmt.Sprintf("5d744f21-ba4a-4d6e-bdb2-30a35ff320%02x", n),
		"iface-status": "active", "vm-id": uuid,
	}})
	return uuid
}

// runLibvirtHook calls the hook as libvirt does: a tag is there from the start of a guest, goes with its row, and no guest is
// kept from starting.
func runLibvirtHook(t *testing.T, dir string) {
	s := newSite(t)
	script, stubs := filepath.Join(dir, "spanctl"), s.TempDir()
	s.program(stubs, "logger", "exit 1\n") // syslog is the machine's, and may not be there
	start := func(domain, xml string, operation ...string) string {
		s.Helper()
		said := ""
		for _, op := range append(operation, "started") {
			said = s.hook(command{stdin: xml, path: stubs}, script, domain, op, "begin", "-")
		}
		return said
	}
	// web is copied for its name, db for what its metadata asks.
	uuids := map[string]string{}
	for guest, domain := range map[string][2]string{"web": {"web-1", ""}, "db": {"db", metadata(" audit,\n ids ")}, "mail": {"mail", ""}, "dns": {"dns", ""}, "audit": {"audit", ""}} {
		uuids[guest] = s.libvirtGuest(guest)
		s.wantSilent(start(domain[0], domainXML(domain[0], uuids[guest], domain[1]), "prepare", "start"))
		s.wantID(s.guests[guest].Port(), "vm-id", `"`+uuids[guest]+`"`)
	}
	db := s.guests["db"]
	s.wantID(db.Port(), "spanctl", `"audit,ids"`)
	s.want(exitOK, "apply", "-f", filepath.Join(dir, "policy.yaml"))
	s.wantCopies(1, "web", "mail", "web", "db")
	s.wantCopies(1, "db", "mail", "web", "db")
	s.wantCopies(0, "mail", "dns", "web", "db")

	// It starts again under another port's name: the row is a new one, and so is its tag.
	s.check(db.Stop(s.ctx))
	s.check(db.Rename("vnet20"))
	s.check(db.Start(s.ctx))
	s.want(exitOK, "apply")
	s.wantCopies(0, "db", "mail", "web", "dns")
	s.wantSilent(start("db", domainXML("db", uuids["db"], metadata("audit"))))
	s.applyPending()
	s.wantCopies(1, "db", "mail", "web", "dns")

	// The row stays, and its domain asks for nothing any more.
	s.wantSilent(start("db", domainXML("db", uuids["db"], "")))
	s.wantID("vnet20", "spanctl", "")
	s.applyPending()
	s.wantCopies(0, "db", "mail", "web", "dns")

	s.sub("names", func(s *site) {
		for _, name := range []string{
			`"quoted" \ 'and' $(touch ` + stubs + `/touched) ; & | {a=b,c:d} [*] -- --id=@x`, "-n", "ünïcode 𝄞", "a\tb", "two  spaces", "*", "", "[]",
		} {
			s.wantSilent(start(name, domainXML(name, uuids["db"], metadata("audit"))))
			s.wantID("vnet20", "spanctl", "audit")
			if got, want := s.vsctl("--bare", "--columns=external_ids", "find", "Interface", "name=vnet20"), "vm-name="+strings.ReplaceAll(name, "\t", ""); !strings.Contains(got, want) {
				s.Errorf("domain %q: the row has %s", name, got)
			}
		}
		if _, err := os.Stat(filepath.Join(stubs, "touched")); err == nil {
			s.Error("a name was run")
		}
	})
	s.sub("nothing stops a guest", func(s *site) {
		for what, said := range map[string]string{
			"no sessions": start("db", domainXML("db", uuids["db"], metadata("Audit; $(reboot)"))),
			"no XML":      start("db", "<domain"),
			"nothing":     start("db", ""),
			"no UUID":     start("db", domainXML("db", "x'; reboot", "")),
			"no database": s.hook(command{stdin: domainXML("db", uuids["db"], ""), path: stubs, environ: []string{"OVS_RUNDIR=/nowhere"}}, script, "db", "started", "begin", "-"),
			"no tools":    s.hook(command{stdin: domainXML("db", uuids["db"], ""), environ: []string{"PATH=/nowhere"}}, "/bin/sh", script, "db", "started", "begin", "-"),
		} {
			if !strings.Contains(said, "domain db: ") {
				s.Errorf("%s: it says %q", what, said)
			}
		}
		s.wantID("vnet20", "spanctl", "")
		for _, operation := range []string{"migrate", "restore", "reconnect", "stopped"} {
			s.wantSilent(s.hook(command{stdin: "<domain/>", path: stubs}, script, "db", operation, "begin", "-"))
		}
		s.wantSilent(s.hook(command{path: stubs}, script))
		s.wantSilent(start("elsewhere", domainXML("elsewhere", "00000000-0000-0000-0000-000000000001", metadata("audit"))))
	})
}
