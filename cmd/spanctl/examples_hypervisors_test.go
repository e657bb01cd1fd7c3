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

func runProxmoxHookscript(t *testing.T, dir string) {
	s := newSite(t)
	script, pve := filepath.Join(dir, "spanctl.sh"), s.TempDir()
	configure := func(file, text string) {
		s.Helper()
		s.writeFile(filepath.Join(pve, file), text)
	}
	hook := func(args ...string) string {
		s.Helper()
		return s.hook(command{environ: []string{"PVE_DIR=" + pve}}, script, args...)
	}
	for guest, port := range map[string]string{"web": "tap104i0", "db": "fwln105o1", "mail": "veth106i0", "dns": "tap1040i0", "audit": "tap110i1"} {
		s.add(ovstest.GuestConfig{Name: guest, Port: port, ExternalIDs: map[string]string{}})
	}
	configure("qemu-server/104.conf", "#tags%3A spanctl-comment\nboot: order=scsi0\nname: web-1\nnet0: virtio=BC:24:11:00:00:01,bridge=br0\n\n[before]\nname: old\ntags: spanctl-old\n")
	configure("nodes/other/qemu-server/105.conf", "name: db\ntags: prod;spanctl-audit;Spanctl-no;spanctl-ids;spanctl-a.b\n")
	configure("lxc/106.conf", "hostname: mail\n")
	configure("qemu-server/1040.conf", "tags: prod\n")
	configure("qemu-server/110.conf", "name: audit\n")
	for _, vmid := range []string{"104", "106", "1040", "110"} {
		for _, phase := range []string{"pre-start", "post-start"} {
			s.wantSilent(hook(vmid, phase))
		}
	}
	s.wantSilent(s.hook(command{environ: []string{"PVE_DIR=" + pve, "PVE_MIGRATED_FROM=other"}}, script, "105", "post-start"))
	for port, want := range map[string][2]string{
		"tap104i0": {"web-1", ""}, "fwln105o1": {"db", `"audit,ids"`}, "veth106i0": {"mail", ""}, "tap1040i0": {`""`, ""}, "tap110i1": {"audit", ""},
	} {
		s.wantID(port, "vm-name", want[0])
		s.wantID(port, "spanctl", want[1])
	}
	s.want(exitOK, "apply", "-f", filepath.Join(dir, "policy.yaml"))
	s.wantCopies(1, "web", "mail", "web", "db")
	s.wantCopies(1, "db", "mail", "web", "db")
	s.wantCopies(0, "mail", "dns", "web", "db")

	// It is tagged anew, and the script run by hand.
	configure("lxc/106.conf", "hostname: mail\ntags: spanctl-audit\n")
	configure("qemu-server/105.conf", "name: db\n")
	s.wantSilent(hook("106", "post-start"))
	s.wantSilent(hook("105", "post-start"))
	s.wantID("fwln105o1", "spanctl", "")
	s.applyPending()
	s.wantCopies(1, "mail", "dns", "web", "mail")
	s.wantCopies(0, "db", "dns", "web", "mail")

	configure("qemu-server/107.conf", "name: web-2\n")
	s.wantSilent(hook("107", "post-start")) // it has no port here
	s.wantSilent(hook())
	for what, said := range map[string]string{
		"no configuration": hook("108", "post-start"),
		"no number":        hook("../104", "post-start"),
		"no database":      s.hook(command{environ: []string{"PVE_DIR=" + pve, "OVS_RUNDIR=/nowhere"}}, script, "104", "post-start"),
		"no tools":         s.hook(command{environ: []string{"PVE_DIR=" + pve, "PATH=/nowhere"}}, "/bin/sh", script, "104", "post-start"),
	} {
		if !strings.Contains(said, "are not tagged") {
			s.Errorf("%s: it says %q", what, said)
		}
	}
}

// vifOpenvswitch is what xl's script of that name does to Open vSwitch, and how it fails.
const vifOpenvswitch = `
[ -z "$FAILS" ] || exit 3
case $1/$2 in
online/type_if=vif) port=$vif ;;
add/type_if=tap) port=$INTERFACE ;;
offline/*) exec ovs-vsctl --timeout=30 -- --if-exists del-port $vif ;;
*) exit 0 ;;
esac
name=$(xenstore-read "$XENBUS_PATH/vifname" 2>/dev/null) && port=$name
ovs-vsctl --timeout=30 -- --if-exists del-port $port -- add-port br0 $port \
	-- set interface $port external-ids:"xen-vm-name"="$VM" -- set interface $port external-ids:"xen-vm-uuid"="uuid-of-$VM"
`

func runXenVIFScript(t *testing.T, dir string) {
	s := newSite(t)
	scripts, store := s.TempDir(), s.TempDir()
	s.program(scripts, "vif-openvswitch", vifOpenvswitch)
	s.program(scripts, "xenstore-read", `cat "`+store+`/$1"`+"\n")
	for _, name := range []string{"vif-spanctl", "vif-spanctl.audit", "vif-spanctl.ids+audit", "vif-spanctl-none", "vif-spanctl.", "vif-spanctl.A b"} {
		s.check(os.Symlink(filepath.Join(dir, "vif-spanctl"), filepath.Join(scripts, name)))
	}
	vif := func(guest, vm, script string, args ...string) string {
		s.Helper()
		port := s.guests[guest].Port()
		return s.hook(command{path: scripts, environ: []string{"VM=" + vm, "XENBUS_PATH=backend/vif/" + guest, "vif=" + port, "INTERFACE=" + port}},
			filepath.Join(scripts, script), args...)
	}
	online := []string{"online", "type_if=vif"}
	for guest, one := range map[string]struct{ port, vm, script string }{
		"web":   {"vif1.0", "web-1", "vif-openvswitch"},
		"quiet": {"vif2.0", "web-2", "vif-spanctl-none"},
		"db":    {"vif3.0", "db", "vif-spanctl.ids+audit"},
		"mail":  {"vif4.0", "mail", "vif-openvswitch"},
		"dns":   {"vif5.0", "dns", "vif-openvswitch"},
		"audit": {"vif9.0", "audit", "vif-openvswitch"},
	} {
		s.add(ovstest.GuestConfig{Name: guest, Port: one.port})
		s.wantSilent(vif(guest, one.vm, one.script, online...))
	}
	s.wantID("vif2.0", "spanctl-role", "none")
	s.wantID("vif3.0", "spanctl", `"ids,audit"`)
	s.wantID("vif3.0", "xen-vm-name", "db")
	s.want(exitOK, "apply", "-f", filepath.Join(dir, "policy.yaml"))
	s.wantCopies(1, "web", "mail", "web", "db")
	s.wantCopies(1, "db", "mail", "web", "db")
	s.wantCopies(0, "quiet", "mail", "web", "db")
	s.wantCopies(0, "mail", "dns", "web", "db")

	// A guest that is started again asks for something else; another has an emulated device, and a name of its own.
	s.wantSilent(vif("db", "db", "vif-openvswitch", online...))
	s.wantID("vif3.0", "spanctl", "")
	s.wantSilent(vif("mail", "mail", "vif-spanctl.audit", "add", "type_if=tap"))
	s.applyPending()
	s.wantCopies(1, "mail", "dns", "web", "mail")
	s.wantCopies(0, "db", "dns", "web", "mail")
	s.writeFile(filepath.Join(store, "backend/vif/dns/vifname"), "vif5.0\n")
	s.wantSilent(s.hook(command{path: scripts, environ: []string{"VM=dns", "XENBUS_PATH=backend/vif/dns", "vif=vif77.0"}}, filepath.Join(scripts, "vif-spanctl.audit"), online...))
	s.wantID("vif5.0", "spanctl", "audit")

	for _, script := range []string{"vif-spanctl", "vif-spanctl.A b"} {
		if said := vif("db", "db", script, online...); !strings.Contains(said, "vif3.0 is not marked") {
			s.Errorf("%s says %q", script, said)
		}
	}
	s.wantSilent(vif("db", "db", "vif-spanctl.audit", "offline", "type_if=vif"))
	if code, _, _ := s.run(command{path: scripts, environ: []string{"FAILS=yes"}}, filepath.Join(scripts, "vif-spanctl.audit"), online...); code != 3 {
		s.Errorf("when vif-openvswitch exits 3 it exits %d", code)
	}
}
