package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

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

// runXenVIFScript calls the script as xl does, beside a vif-openvswitch of the test.
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
