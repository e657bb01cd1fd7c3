package main

import (
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// runProxmoxHookscript calls the script as Proxmox VE does, for guests, containers, and a guest that comes from another node.
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
