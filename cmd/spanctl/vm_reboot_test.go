//go:build vm

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanctl/ovs/ovstest"
)

// TestVMReboots… are those that make test-reboot builds, by the tag vm: they boot a whole Debian three or four times each,
// without KVM; with -short twice, for the boot after a migration.

// An installation is how a host is configured.
type installation struct {
	files    map[string]string
	services []string // that are enabled, beside Open vSwitch
	disabled []string
	crash    bool   // the power fails before a migration is confirmed
	reload   string // has the files read again
	again    string // brings the network up again
}

var (
	byIfupdown = installation{
		files: map[string]string{
			"etc/network/interfaces": `source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

auto lan1
iface lan1 inet manual
	pre-up ip link add lan1 address 52:54:00:09:00:c9 type dummy || true

# the guests' bridge
auto br0
iface br0 inet static
	address 10.9.0.200/24
	gateway 10.9.0.1
	bridge_ports enp0s16 lan1
	bridge_stp off
	bridge_fd 0
	bridge_hw 52:54:00:09:00:c8
	up ip route add 198.51.100.0/24 via 10.9.0.1

iface br0 inet6 static
	address fd00:9::c8/64
`,
		},
		crash: true,
		again: "systemctl restart networking",
	}
	byNetworkd = installation{
		files: map[string]string{
			"etc/systemd/network/10-lan1.netdev": "[NetDev]\nName=lan1\nKind=dummy\nMACAddress=52:54:00:09:00:c9\n",
			"etc/systemd/network/20-br0.netdev":  "[NetDev]\nName=br0\nKind=bridge\nMACAddress=52:54:00:09:00:c8\n",
			"etc/systemd/network/20-br0.network": `[Match]
Name=br0

[Network]
Address=10.9.0.200/24
Address=fd00:9::c8/64
Gateway=10.9.0.1

[Route]
Destination=198.51.100.0/24
Gateway=10.9.0.1
`,
			"etc/systemd/network/30-ports.network": "[Match]\nName=enp0s16 lan1\n\n[Network]\nBridge=br0\n",
			"etc/network/interfaces":               "auto lo\niface lo inet loopback\n",
		},
		services: []string{"systemd-networkd", "systemd-networkd-wait-online"},
		disabled: []string{"networking"},
		reload:   "networkctl reload",
		again:    "systemctl restart systemd-networkd",
	}
)

func TestVMRebootsIfupdown(t *testing.T) { reboots(t, byIfupdown) }
func TestVMRebootsNetworkd(t *testing.T) { reboots(t, byNetworkd) }

// reboots boots a host with a Linux bridge, moves that to Open vSwitch and reboots, moves it back and reboots: each time
// the host must have the network that it had.
func reboots(t *testing.T, how installation) {
	t.Parallel()
	lab, err := ovstest.Start(t.Context(), ovstest.Config{Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &rebooted{T: t, ctx: t.Context()}
	_, err = lab.AddGuest(h.ctx, ovstest.GuestConfig{Name: "peer", IP: netip.MustParsePrefix("10.9.0.1/24")})
	h.check(err)
	h.host, err = lab.AddSystem(h.ctx, ovstest.SystemConfig{Name: "host", Files: how.install})
	h.check(err)

	h.wantBridge("bridge")
	before := h.network()
	t.Logf("by the Linux bridge: %s", before)
	for _, part := range []string{"198.51.100.0/24", "fd00:9::c8", "52:54:00:09:00:c8"} {
		if !strings.Contains(before, part) {
			t.Fatalf("%s is not there", part)
		}
	}

	t.Log(h.spanctl("plan"))
	if how.crash && !testing.Short() {
		h.shell(untilMigrated)
		h.run("ovs-vsctl", "br-exists", "br0")
		h.check(h.host.Crash(h.ctx))
		h.wantBridge("bridge")
		h.wantNetwork(before)
	}
	t.Log(h.spanctl("migrate", "--check-gateway", "--confirm", "10m"))
	h.wantBridge("openvswitch")
	if how.reload != "" {
		h.shell(how.reload)
	}
	h.shell("ovs-vsctl set Port lan1 tag=7 -- --id=@m create Mirror name=kept select_all=true -- set Bridge br0 mirrors=@m")
	h.wantOurs(before)
	h.check(h.host.Reboot(h.ctx))
	h.wantOurs(before)
	h.shell(how.again)
	h.wantOurs(before)

	t.Log(h.spanctl("revert"))
	h.wantBridge("bridge")
	h.wantNetwork(before)
	if testing.Short() {
		return
	}
	h.check(h.host.Reboot(h.ctx))
	h.wantBridge("bridge")
	h.wantNetwork(before)
}

// untilMigrated starts a migration, and ends when that is to be confirmed.
const untilMigrated = `: >/var/tmp/migrate
spanctl bridge migrate br0 --timeout 5m --confirm 1h >>/var/tmp/migrate 2>&1 &
tail --pid $! --lines +1 --follow /var/tmp/migrate | grep -q 'Confirm within' || { cat /var/tmp/migrate; exit 1; }`

// wantOurs wants br0 to be Open vSwitch's, with the network of before and the rows of the test.
func (h *rebooted) wantOurs(before string) {
	h.Helper()
	h.wantBridge("openvswitch")
	h.wantNetwork(before)
	h.wantRows()
}

// install puts spanctl and the files there.
func (i installation) install(root string) error {
	build := exec.Command("go", "build", "-o", filepath.Join(root, "usr/sbin/spanctl"), "spanctl/cmd/spanctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building spanctl: %w: %s", err, out)
	}
	for name, text := range i.files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for verb, services := range map[string][]string{"enable": i.services, "disable": i.disabled} {
		for _, service := range services {
			if out, err := exec.Command("chroot", root, "systemctl", verb, service).CombinedOutput(); err != nil {
				return fmt.Errorf("%s %s: %w: %s", verb, service, err, out)
			}
		}
	}
	return nil
}

// rebooted is a host under test.
type rebooted struct {
	*testing.T
	ctx  context.Context
	host *ovstest.System
}

func (h *rebooted) run(args ...string) string {
	h.Helper()
	out, err := h.host.Run(h.ctx, args...)
	h.check(err)
	return out
}

func (h *rebooted) shell(script string) string {
	h.Helper()
	return h.run("sh", "-c", script)
}

// spanctl runs "spanctl bridge ..." for br0. An emulated machine takes its time.
func (h *rebooted) spanctl(verb string, flags ...string) string {
	h.Helper()
	return h.run(append([]string{"spanctl", "bridge", verb, "br0", "--timeout", "5m"}, flags...)...)
}

func (h *rebooted) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// wantBridge wants br0 to be of the kind, no other Linux bridge to be there, the peer to answer, and nothing to have failed.
func (h *rebooted) wantBridge(kind string) {
	h.Helper()
	if failed := h.run("systemctl", "--failed", "--no-legend", "--plain"); failed != "" {
		h.Errorf("failed: %s%s", failed, h.shell("journalctl -b --no-pager -p warning | tail -50"))
	}
	var links []struct {
		Name string `json:"ifname"`
		Info struct {
			Kind string `json:"info_kind"`
		} `json:"linkinfo"`
	}
	h.check(json.Unmarshal([]byte(h.run("ip", "-json", "-details", "link")), &links))
	got := map[string]string{}
	for _, l := range links {
		if l.Name == "br0" || l.Info.Kind == "bridge" {
			got[l.Name] = l.Info.Kind
		}
	}
	if diff := cmp.Diff(map[string]string{"br0": kind}, got); diff != "" {
		h.Errorf("bridges: -want +got\n%s", diff)
	}
	if out, err := h.host.Run(h.ctx, "ping", "-c", "1", "-w", "30", "10.9.0.1"); err != nil {
		h.Errorf("%v\n%s%s", err, out, h.shell("ip addr; ip route; ovs-vsctl show; journalctl -b --no-pager | tail -100"))
	}
}

// network is what the host's network is: br0's address and MTU, its IP addresses, and all routes.
func (h *rebooted) network() string {
	h.Helper()
	lines := strings.Split(h.shell(`echo "link $(cat /sys/class/net/br0/address) $(cat /sys/class/net/br0/mtu)"
ip -oneline addr show dev br0 | sed 's/^[0-9]*: //; s/ tentative//; s/\\.*//'
ip -4 route show table all
ip -6 route show dev br0`), "\n")
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

func (h *rebooted) wantNetwork(want string) {
	h.Helper()
	if diff := cmp.Diff(want, h.network()); diff != "" {
		h.Errorf("network: -want +got\n%s", diff)
	}
}

// wantRows wants the ports and the mirror of before the boot.
func (h *rebooted) wantRows() {
	h.Helper()
	for _, port := range []string{"enp0s16", "lan1"} {
		h.run("ovs-vsctl", "--timeout=120", "wait-until", "Interface", port, "ofport!=[]", "ofport!=-1")
	}
	got := h.shell("ovs-vsctl list-ports br0; ovs-vsctl get Port lan1 tag; ovs-vsctl --columns=name --bare find Mirror")
	if diff := cmp.Diff("enp0s16\nlan1\n7\nkept\n", got); diff != "" {
		h.Errorf("rows: -want +got\n%s", diff)
	}
}
