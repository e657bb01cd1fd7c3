//go:build vm

package main

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// Tests of what only a kernel with Open vSwitch's datapath has (TestE2EKernel…): TestKernel runs them. Its own devices for
// tunnels unpack copies, and send them.

// ip runs ip(8) in the namespace in which launch starts programs.
func (s *site) ip(launch func(*exec.Cmd) error, format string, args ...any) {
	s.Helper()
	var said strings.Builder
	cmd := exec.Command("ip", strings.Fields(fmt.Sprintf(format, args...))...)
	cmd.Stdout, cmd.Stderr = &said, &said
	s.check(launch(cmd))
	if err := cmd.Wait(); err != nil {
		s.Fatalf("%s: %v: %s", cmd, err, said.String())
	}
}

// What a collector's kernel unpacks, by devices of its own for each kind of tunnel, is the very frames that were copied.
func TestE2EKernelUnpacksWhatTunnelsBring(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg     ovstest.CollectorConfig
		host    string   // the tunnels' other end
		devices []string // in the order of sixDestinations' tunnels
	}{
		"IPv4": {ovstest.CollectorConfig{Name: "sensor", MTU: 1600}, "192.0.2.1", []string{
			"erspan oseq key 100 local %[1]s remote %[2]s erspan_ver 1", "erspan oseq key 101 local %[1]s remote %[2]s erspan_ver 2",
			"gretap key 7 local %[1]s remote %[2]s", "vxlan id 100 local %[1]s remote %[2]s dstport 4789 noudpcsum", "geneve id 200 remote %[2]s",
		}},
		"IPv6": {ovstest.CollectorConfig{
			Name: "sensor", MTU: 1600,
			Host: netip.MustParsePrefix("2001:db8::1/64"), IP: netip.MustParsePrefix("2001:db8::10/64"),
		}, "2001:db8::1", []string{
			"ip6erspan oseq key 100 local %[1]s remote %[2]s erspan_ver 1", "ip6erspan oseq key 101 local %[1]s remote %[2]s erspan_ver 2",
			"ip6gretap key 7 local %[1]s remote %[2]s", "vxlan id 100 local %[1]s remote %[2]s dstport 4789 udp6zerocsumrx", "geneve id 200 remote %[2]s udp6zerocsumrx",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newHubSite(t)
			a, b, sensor := s.guests["a"], s.guests["b"], s.addCollector(c.cfg)
			session, tunnels := sixDestinations(sensor.Addr())
			s.apply(session)
			s.settle()
			at := map[string]*ovstest.Capture{}
			for i, tunnel := range tunnels {
				device := fmt.Sprintf("tun%d", i)
				s.ip(sensor.Launch, "link add "+device+" mtu 1500 type "+c.devices[i], sensor.Addr(), c.host)
				s.ip(sensor.Launch, "link set %s up", device)
				capture, err := sensor.CaptureDevice(s.ctx, device)
				s.check(err)
				at[tunnel] = capture
			}
			frames := everyKind(a, b)
			for _, frame := range frames {
				s.send(a, frame)
			}
			for _, tunnel := range tunnels {
				s.check(at[tunnel].Fence(s.ctx, a, b))
				var got [][]byte
				for _, f := range at[tunnel].Frames() {
					got = append(got, f.Data)
				}
				s.wantFrames(tunnel+", unpacked: ", got, s.sendable("gre", s.sendable(tunnel, frames))) // VXLAN sends all, and does not unpack all
				s.check(at[tunnel].Close())
			}
		})
	}
}

// A tunnel of the kernel's own, a port of a bridge by the administrator's hand, is a destination as any port is: ERSPAN of
// type I goes no other way. Its packets are the host's, and where they leave by a bridge that is copied none of them is.
func TestE2EKernelDevicesAreDestinations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, device, wire string }{
		{"ERSPAN I", "erspan local %[1]s remote %[2]s erspan_ver 0", "erspan I"},
		{"ERSPAN II", "erspan seq key 5 local %[1]s remote %[2]s erspan_ver 1 erspan 3", "erspan II session 5 index 3"},
		{"GRE", "gretap key 9 local %[1]s remote %[2]s", "gre key 9"},
		{"VXLAN", "vxlan id 11 local %[1]s remote %[2]s dstport 4790", "vxlan vni 11 port 4790"},
		{"Geneve", "geneve id 12 remote %[2]s", "geneve vni 12 port 6081"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := newUnderlay(t)
			u.ip(u.lab.Launch, "link add tun1 mtu 1500 type "+c.device, u.host.Addr(), u.sensor.Addr())
			u.ip(u.lab.Launch, "link set tun1 up")
			u.vsctl("add-port", "br0", "tun1")
			const session = "  audit: {sources: [%s], destinations: [{interface: tun1, dedicated: true}]}\n"
			list := []string{"{role: all}"}
			if c.name == "ERSPAN I" {
				// By another bridge than that which is copied, first: a mirror alone.
				list = []string{"{role: all, bridge: br0}", "{role: all}", "{role: uplink}", "{role: guest}"}
			}
			for _, sources := range list {
				u.apply(fmt.Sprintf(session, sources))
				u.settle()
				tap := u.vsctl("--bare", "--columns=name", "find", "Bridge", "external_ids:spanctl-managed=true")
				if (tap == "") != strings.Contains(sources, "br0") {
					t.Errorf("%s: the tap bridge is %q", sources, tap)
				}
				at, crowd := u.capture(u.sensor), u.crowd()
				u.check(fire(crowd.shots))
				u.check(at.Fence(u.ctx, u.v, u.sensor))
				u.check(at.Fence(u.ctx, u.w, u.sensor))
				var want [][]byte
				for _, shot := range crowd.shots {
					who := map[string]string{"{role: all, bridge: br0}": "a b", "{role: all}": "a b v w sensor host", "{role: uplink}": "sensor", "{role: guest}": "a b v w"}[sources]
					if u.picked(shot, strings.Fields(who), strings.Fields(who)) {
						want = append(want, shot.frame)
					}
				}
				var copies, others [][]byte
				for _, f := range at.Frames() {
					if a, ok := decode(f.Data); ok && a.tunnel == c.wire {
						copies = append(copies, a.inner)
					} else {
						others = append(others, f.Data)
					}
				}
				u.wantFrames(sources+": ", copies, want)
				u.wantFrames(sources+", on the wire: ", others, append(crowd.seen, crowd.seenOf...))
				u.check(at.Err())
			}
			u.wantNoLoop()
			u.wantNoChanges()
			u.want(exitOK, "delete", "--all")
		})
	}
}

// What guards are for: without them a tunnel by the bridge that it is copied from does loop, until the MTU ends it.
func TestE2EKernelLoopsWithoutGuards(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	u.vsctl("add-port", "br-ext", "gre1", "--", "set", "Interface", "gre1", "type=gre", "options:remote_ip="+u.sensor.Addr().String(), "options:key=9",
		"--", "--id=@out", "get", "Port", "gre1", "--", "--id=@m", "create", "Mirror", "name=by-hand", "select_all=true", "output_port=@out",
		"--", "add", "Bridge", "br-ext", "mirrors", "@m")
	u.settle()
	at := u.capture(u.sensor)
	frame := udp(u.v, u.w)
	u.send(u.v, frame)
	u.check(at.Wait(u.ctx, func([]ovstest.Frame) bool { return len(arrivals(at)["gre key 9"]) >= 4 }))
	depth := 0
	for _, one := range arrivals(at)["gre key 9"] {
		inside := 0
		for a, ok := decode(one.inner); ok; a, ok = decode(a.inner) {
			inside++
		}
		depth = max(depth, inside)
	}
	t.Logf("one frame became %d packets, up to %d inside each other", len(arrivals(at)["gre key 9"]), depth+1)
	if depth < 2 {
		t.Error("no copy was copied")
	}
}

// Where the way is too narrow for a copy the kernel sends it in fragments, also by a bridge that is copied: no fragment is
// copied, and the collector has each frame whole.
func TestE2EKernelSendsLargeCopiesInFragments(t *testing.T) {
	t.Parallel()
	u := newUnderlay(t)
	u.vsctl("set", "Interface", "br-ext", "mtu_request=1500")
	u.ip(u.sensor.Launch, "link add ids0 mtu 1500 type erspan oseq key 100 local %s remote %s erspan_ver 1", u.sensor.Addr(), u.host.Addr())
	u.ip(u.sensor.Launch, "link set ids0 up")
	if out := u.apply(u.everywhere()); !strings.Contains(out, "sent in fragments") {
		t.Errorf("apply does not say that large copies are sent in fragments:\n%s", out)
	}
	u.settle()
	unpacked, err := u.sensor.CaptureDevice(u.ctx, "ids0")
	u.check(err)
	wire := u.capture(u.sensor)
	var sent [][]byte
	for _, length := range []int{1400, 1450, 1451, 1500, 1514} {
		for _, pair := range [][2]*ovstest.Guest{{u.a, u.b}, {u.v, u.w}} {
			frame := ovstest.UDP(pair[0], pair[1], 1000, 2000, append(ovstest.Payload("large"), make([]byte, length)...)[:length-42])
			u.send(pair[0], frame)
			sent = append(sent, frame)
		}
	}
	u.check(unpacked.Fence(u.ctx, u.v, u.w))
	u.wantExactly(unpacked, sent...)
	whole, parts := 0, 0
	for _, f := range wire.Frames() {
		if f.Data[20]&0x3f != 0 || f.Data[21] != 0 { // more fragments, or an offset
			parts++
		} else {
			whole++
		}
	}
	if most := len(sent); parts == 0 || parts%2 != 0 || parts/2+whole > most+2*3 {
		t.Errorf("on the wire are %d packets and %d fragments, of %d copies", whole, parts, most)
	}
	u.wantNoLoop()
}
