//go:build vm

package persist_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanctl/ovs/migrate/persist"
	"spanctl/ovs/ovstest"
)

// TestVM… are those that make test-reboot builds, by the tag vm: they boot a whole Debian three times each, without KVM.

// inside is set where this binary runs in a system: it says what to do there, to the layout in layoutVariable.
const (
	inside         = "PERSIST_INSIDE"
	layoutVariable = "PERSIST_LAYOUT"
)

func TestMain(m *testing.M) {
	if do := os.Getenv(inside); do != "" {
		if err := insideSystem(do); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func insideSystem(do string) error {
	var layout persist.Layout
	if err := json.Unmarshal([]byte(os.Getenv(layoutVariable)), &layout); err != nil {
		return err
	}
	const backup = "/var/lib/spanctl/bridge/br0/configuration"
	if do == "restore" {
		return persist.Restore("/", backup)
	}
	changes, err := persist.Plan("/", layout)
	if err != nil {
		return err
	}
	fmt.Print(show(changes, nil))
	return changes.Write("/", backup)
}

// bridged is the layout of the tests' hosts: the uplink, and a port that the host makes itself, in a VLAN.
var bridged = persist.Layout{
	Bridge: "br0", MAC: "52:54:00:09:00:c8", Ports: []persist.Port{{Name: ovstest.SystemNIC}, {Name: "lan1", Tag: 7}},
}

// An installation is how a host is configured.
type installation struct {
	files    map[string]string
	services []string // that are enabled, beside Open vSwitch
	disabled []string
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
	pre-up ip link add lan1 type dummy || true

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
		again: "systemctl restart networking",
	}
	byNetworkd = installation{
		files: map[string]string{
			"etc/systemd/network/10-lan1.netdev": "[NetDev]\nName=lan1\nKind=dummy\n",
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
		again:    "systemctl restart systemd-networkd",
	}
)

func TestVMRebootsIfupdown(t *testing.T) { reboots(t, byIfupdown) }
func TestVMRebootsNetworkd(t *testing.T) { reboots(t, byNetworkd) }

// reboots boots a host with a Linux bridge, moves that to Open vSwitch and reboots, moves it back and reboots: each time
// the host must have the network that it had.
func reboots(t *testing.T, how installation) {
	ctx := t.Context()
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: t.Name()})
	check(t, err)
	t.Cleanup(func() { check(t, lab.Close()) })
	_, err = lab.AddGuest(ctx, ovstest.GuestConfig{Name: "peer", IP: netip.MustParsePrefix("10.9.0.1/24")})
	check(t, err)
	system, err := lab.AddSystem(ctx, ovstest.SystemConfig{Name: "host", Files: how.install})
	check(t, err)
	h := &rebooted{T: t, ctx: ctx, host: system}

	h.wantBridge("bridge")
	before := h.network()
	t.Logf("by the Linux bridge: %s", before)
	if !strings.Contains(before, "198.51.100.0/24") || !strings.Contains(before, "fd00:9::c8") || !strings.Contains(before, bridged.MAC) {
		t.Fatal("it is not as it was configured")
	}

	t.Log(h.do("write"))
	h.shell(`set -e
ip link del br0
ovs-vsctl add-br br0 -- set Bridge br0 other_config:hwaddr='"52:54:00:09:00:c8"' -- add-port br0 enp0s16 -- add-port br0 lan1 tag=7 \
	-- --id=@m create Mirror name=kept select_all=true -- set Bridge br0 mirrors=@m`)
	check(t, h.host.Reboot(ctx))
	h.wantBridge("openvswitch")
	h.wantNetwork(before)
	h.wantRows()
	h.shell(how.again)
	h.wantBridge("openvswitch")
	h.wantNetwork(before)
	h.wantRows()

	h.do("restore")
	h.shell("ovs-vsctl del-br br0")
	check(t, h.host.Reboot(ctx))
	h.wantBridge("bridge")
	h.wantNetwork(before)
}

// install puts the files and this binary there.
func (i installation) install(root string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(root, "usr/local/sbin/persist"), os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Close(); err != nil {
		return err
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
	check(h.T, err)
	return out
}

func (h *rebooted) shell(script string) string {
	h.Helper()
	return h.run("sh", "-c", script)
}

// do has this binary do that in the system.
func (h *rebooted) do(what string) string {
	h.Helper()
	layout, err := json.Marshal(bridged)
	check(h.T, err)
	return h.run("env", inside+"="+what, layoutVariable+"="+string(layout), "/usr/local/sbin/persist")
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
	check(h.T, json.Unmarshal([]byte(h.run("ip", "-json", "-details", "link")), &links))
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
		h.Errorf("%v\n%s%s", err, out, h.shell("ip addr; ip route; ovs-vsctl show; journalctl -b --no-pager | grep -i -E 'openv|vswitch|network|br0' | tail -60"))
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
	got := h.shell("ovs-vsctl list-ports br0; ovs-vsctl get Port lan1 tag; ovs-vsctl --columns=name --bare find Mirror")
	if diff := cmp.Diff("enp0s16\nlan1\n7\nkept\n", got); diff != "" {
		h.Errorf("rows: -want +got\n%s", diff)
	}
}
