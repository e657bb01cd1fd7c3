package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// Twins are two hosts with a wire between them, the uplink of each one's br0, on which are guests x and y and the host
// itself: all of it is copied to the other host, over that same wire.
type twins struct {
	*testing.T
	ctx   context.Context
	hosts [2]*twin
	wire  *ovstest.Capture // all frames in both directions
}

type twin struct {
	*site
	x, y *ovstest.Guest
	host *ovstest.HostPort
	kind string // of the tunnel that it sends its copies by; empty if it copies nothing
}

// uplink is the name of either end of the wire.
const uplink = "eth-wire"

// newTwins starts them; nobody knows yet where the other is.
func newTwins(t *testing.T, v6 bool, mtu int, kinds [2]string) *twins {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	w := &twins{T: t, ctx: ctx}
	for i := range w.hosts {
		h := &twin{site: newSite(t), kind: kinds[i]}
		w.hosts[i] = h
		guest := func(n byte) *ovstest.Guest {
			return h.add(ovstest.GuestConfig{
				Name: string("xy"[n]), MAC: net.HardwareAddr{2, 11, 0, 0, byte(i), n}, IP: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i), 10 + n}), 16),
			})
		}
		address := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), 24)
		if v6 {
			address = netip.MustParsePrefix(fmt.Sprintf("fd00::%d/64", 1+i))
		}
		var err error
		if i == 0 { // or both have the same MAC address
			h.host, err = h.lab.HostIP(ctx, "br0", address)
			h.check(err)
		}
		h.x, h.y = guest(0), guest(1)
		if i == 1 {
			h.host, err = h.lab.HostIP(ctx, "br0", address)
			h.check(err)
		}
		h.vsctl("set", "Interface", "br0", fmt.Sprintf("mtu_request=%d", mtu))
	}
	w.hosts[0].check(ovstest.Wire(w.hosts[0].lab, w.hosts[1].lab, uplink, mtu))
	for _, h := range w.hosts {
		h.vsctl("add-port", "br0", uplink, "--", "set", "Interface", uplink, "external_ids:spanctl-role=uplink")
	}
	c, err := w.hosts[0].lab.CapturePort(ctx, uplink, ovstest.Outgoing())
	w.hosts[0].check(err)
	w.wire = c
	return w
}

// session is that of one of them.
func (w *twins) session(i int) string {
	more := map[string]string{"gre": "key: 7", "erspan": "session: 100", "vxlan": "vni: 7", "geneve": "vni: 7"}[w.hosts[i].kind]
	return fmt.Sprintf("  all: {sources: [{role: all}], destinations: [{%s: {remote: %q, %s}}]}\n", w.hosts[i].kind, w.hosts[1-i].host.Addr(), more)
}

// stations are the guests and the host.
func (h *twin) stations() []ovstest.Sender { return []ovstest.Sender{h.x, h.y, h.host} }

// greet makes both bridges know where everybody is.
func (w *twins) greet() {
	w.Helper()
	for i, h := range w.hosts {
		at := w.hosts[1-i].capture(w.hosts[1-i].x)
		for _, from := range h.stations() {
			hello := ovstest.UDP(stranger(from), ovstest.Broadcast, 9, 9, ovstest.Payload("hello"))
			h.send(from, hello, ovstest.Tagged(hello, 10))
			h.check(at.WaitPayload(w.ctx, hello[42:], 2))
		}
	}
}

// A trip is a frame that is sent on one of the hosts, and whether it crosses the wire.
type trip struct {
	on      int
	from    ovstest.Sender
	frame   []byte
	payload []byte
	crosses bool
}

// trips are frames of everybody to everybody and to all, bare and tagged, long and short, whole and in fragments.
func (w *twins) trips() []trip {
	var list []trip
	for i, h := range w.hosts {
		for _, from := range h.stations() {
			add := func(to ovstest.Endpoint, crosses bool) {
				for _, size := range []int{0, 1472} {
					payload := append(ovstest.Payload("trip"), bytes.Repeat([]byte{0}, 1472)...)[:max(size, 20)]
					list = append(list, trip{i, from, datagram(from, to, payload), payload, crosses})
				}
				payload := ovstest.Payload("tagged")
				list = append(list, trip{i, from, ovstest.Tagged(datagram(from, to, payload), 10), payload, crosses})
				payload = ovstest.Payload("part") // fragments from and to the far end's address are left out
				list = append(list, trip{i, from, fragment(ovstest.UDP(stranger(from), stranger(to), 1000, 2000, payload)), payload, crosses})
			}
			for _, to := range h.stations() {
				if to != from {
					add(to, false)
				}
			}
			for _, to := range w.hosts[1-i].stations() {
				add(to, true)
			}
			add(ovstest.Broadcast, true)
		}
	}
	return list
}

// datagram is a frame that its receiver does not answer: to a host no UDP.
func datagram(from, to ovstest.Endpoint, payload []byte) []byte {
	if _, host := to.(*ovstest.HostPort); host {
		return ovstest.Raw(from, to.HardwareAddr(), 0x88b5, payload)
	}
	return ovstest.UDP(stranger(from), stranger(to), 1000, 2000, payload)
}

// stranger is the station with an address that no tunnel has.
func stranger(e ovstest.Endpoint) ovstest.Station {
	return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom4([4]byte{10, 9, 9, e.HardwareAddr()[5]})}
}

// fragment makes a later fragment of an IPv4 frame.
func fragment(frame []byte) []byte {
	f := slices.Clone(frame)
	if f[12] != 8 || f[13] != 0 {
		return f
	}
	ip := f[14:34]
	binary.BigEndian.PutUint16(ip[6:], 0x2000|8)
	binary.BigEndian.PutUint16(ip[10:], 0)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	return f
}

// copier says which host has sent a tunnel's packet, -1 if it is none, and whether it is an error that tells of one.
func (w *twins) copier(frame []byte) (host int, isError bool) {
	protocol, body := byte(0), []byte(nil)
	var source netip.Addr
	switch {
	case len(frame) > 34 && frame[12] == 8 && frame[13] == 0:
		protocol, body = frame[23], frame[34:]
		source = netip.AddrFrom4([4]byte(frame[26:30]))
		isError = protocol == 1 && body[0] == 3
	case len(frame) > 54 && frame[12] == 0x86 && frame[13] == 0xdd:
		protocol, body = frame[20], frame[54:]
		source = netip.AddrFrom16([16]byte(frame[22:38]))
		isError = protocol == 58 && (body[0] == 1 || body[0] == 4)
	}
	if protocol == 47 || protocol == 17 && (binary.BigEndian.Uint16(body[2:]) == 4789 || binary.BigEndian.Uint16(body[2:]) == 6081) {
		return slices.IndexFunc(w.hosts[:], func(h *twin) bool { return h.host.Addr() == source }), isError
	}
	return -1, isError
}

// copiers is how many of them copy.
func (w *twins) copiers() int { return btoi(w.hosts[0].kind != "") + btoi(w.hosts[1].kind != "") }

// meet returns when both can send to each other: until then copies are lost.
func (w *twins) meet() {
	w.Helper()
	w.greet()
	for _, from := range w.hosts {
		w.hosts[0].await("a copy of each host's", func() bool {
			hello := ovstest.UDP(stranger(from.x), ovstest.Broadcast, 9, 9, ovstest.Payload("hello"))
			from.send(from.x, hello)
			w.hosts[0].check(w.wire.WaitPayload(w.ctx, hello[42:], 1))
			return ovstest.CountPayload(w.wire.Frames(), hello[42:]) == 1+w.copiers()
		})
	}
}

// fence returns when what was sent is copied by both, and what came of that.
func (w *twins) fence(rounds int) {
	w.Helper()
	for range rounds {
		for i, h := range w.hosts {
			payload := ovstest.Payload("fence")
			h.send(h.x, ovstest.UDP(h.x, w.hosts[1-i].x, 9, 9, payload))
			h.check(w.wire.WaitPayload(w.ctx, payload, 1+w.copiers()))
		}
	}
}

// wantOnce sends the trips and wants each frame to be copied once by each host that has it, and no other copies but of what
// the hosts have to say to each other; which must not go on.
func (w *twins) wantOnce() {
	w.Helper()
	w.fence(3)
	first, trips := len(w.wire.Frames()), w.trips()
	for i, trip := range trips {
		w.hosts[0].check(trip.from.Send(trip.frame))
		if i%32 == 31 {
			w.fence(1)
		}
	}
	w.fence(3)
	after := len(w.wire.Frames())
	w.fence(20)
	end := len(w.wire.Frames())
	seen := w.wire.Frames()[first:end]
	errors := 0
	for _, f := range seen {
		if host, isError := w.copier(f.Data); isError {
			errors++
		} else if said := ovstest.Describe(f.Data); host >= 0 && (strings.Count(said, "GRE")+strings.Count(said, "VXLAN") > 1 || strings.Contains(said, "ICMP")) {
			w.Errorf("copied is what must not be: %s", said)
			break
		}
	}
	for _, trip := range trips {
		var copies [2]int
		bare := 0
		for _, f := range seen {
			if host, isError := w.copier(f.Data); isError || !bytes.Contains(f.Data, trip.payload) {
			} else if host >= 0 {
				copies[host]++
			} else {
				bare++
			}
		}
		want := [2]int{}
		for i, h := range w.hosts {
			want[i] = btoi(h.kind != "" && (i == trip.on || trip.crosses))
		}
		if copies != want || bare != btoi(trip.crosses) {
			w.Errorf("copied %v times, not %v, and %d times bare: %s", copies, want, bare, ovstest.Describe(trip.frame))
		}
	}
	if more, most := end-after, 20*2*(1+2*w.copiers())+10; more > most { // an error for each copy, where nobody listens; and somebody asks for an address
		w.Errorf("%d frames on the wire of 40, want %d or fewer", more, most)
	}
	w.Logf("%d trips, %d frames on the wire, %d errors, %d frames of 40 in the end", len(trips), len(seen), errors, end-after)
	w.hosts[0].check(w.wire.Err())
	for _, h := range w.hosts {
		h.wantNoLoop()
	}
}

// answers makes a host send every error that it can.
func (h *twin) answers() {
	h.Helper()
	loose := exec.Command("sh", "-c", "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit")
	h.check(h.lab.Launch(loose))
	h.check(loose.Wait())
}

// Two hosts that copy everything to each other over the very uplink that they copy, by tunnels of one kind or of two: each
// frame is copied once by each that has it, also where nobody listens and each copy is answered by an error, and also when
// they have forgotten each other's address.
func TestE2EFlowTwinsCopyOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		v6    bool
		kinds [2]string
	}{
		{"gre", false, [2]string{"gre", "gre"}},
		{"erspan", false, [2]string{"erspan", "erspan"}},
		{"vxlan", false, [2]string{"vxlan", "vxlan"}},
		{"geneve and erspan, nobody listens", false, [2]string{"geneve", "erspan"}},
		{"gre, the other copies nothing and does not listen", false, [2]string{"gre", ""}},
		{"gre over IPv6", true, [2]string{"gre", "gre"}},
		{"vxlan over IPv6", true, [2]string{"vxlan", "vxlan"}},
		{"vxlan and gre over IPv6, nobody listens", true, [2]string{"vxlan", "gre"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newTwins(t, c.v6, 9000, c.kinds)
			for i, h := range w.hosts {
				h.answers()
				if h.kind != "" {
					h.apply(w.session(i))
					h.settle()
				}
			}
			w.meet()
			w.wantOnce()
			for _, h := range w.hosts {
				h.wantNoChanges()
				for _, command := range []string{"tnl/neigh/flush", "revalidator/purge"} {
					_, err := h.lab.AppCtl(w.ctx, command)
					h.check(err)
				}
			}
			before := len(w.wire.Frames())
			w.meet()
			asks := 0
			for _, f := range w.wire.Frames()[before:] {
				if said := ovstest.Describe(f.Data); strings.HasPrefix(said, "ARP who-has") || strings.Contains(said, " ICMPv6 NeighborSolicitation") {
					asks++
				}
			}
			if most := 500; asks > most {
				t.Errorf("%d questions for each other's address on the wire, want %d or fewer", asks, most)
			}
			w.wantOnce()
			for _, h := range w.hosts {
				h.want(exitOK, "delete", "--all")
			}
		})
	}
}

// Without the guard against what the other host sends one frame would go to and fro until it no longer fits the wire:
// those guards are not idle. (Without all guards each round would double.)
func TestE2EFlowTwinsWithoutGuards(t *testing.T) {
	t.Parallel()
	w := newTwins(t, false, 1700, [2]string{"gre", "gre"})
	for i, h := range w.hosts {
		h.apply(w.session(i))
		h.settle()
	}
	w.meet()
	rules := w.hosts[0].rules(w.hosts[0].tap())
	for i, h := range w.hosts {
		h.ofctl(h.tap(), "del-flows", "table=0,ip,nw_proto=47,nw_src="+w.hosts[1-i].host.Addr().String())
		h.settle()
	}
	x := w.hosts[0].x
	frame := ovstest.UDP(x, w.hosts[0].y, 1, 2, ovstest.Payload("round"))
	w.hosts[0].send(x, frame)
	w.hosts[0].check(w.wire.WaitPayload(w.ctx, frame[42:], 30))
	for _, h := range w.hosts {
		h.want(exitOK, "apply")
		h.settle()
		h.wantNoChanges()
	}
	if now := w.hosts[0].rules(w.hosts[0].tap()); now != rules {
		t.Errorf("rules were\n%s\nand are\n%s", rules, now)
	}
	w.wantOnce()
}

// Two hosts that copy everything to a collector that does not answer, by the uplink that they copy: both ask for it, and
// each copies what the other asks. That does not go on.
func TestE2EFlowTwinsDeadCollector(t *testing.T) {
	t.Parallel()
	w := newTwins(t, false, 9000, [2]string{"gre", "vxlan"})
	for i, h := range w.hosts {
		h.apply(strings.Replace(w.session(i), w.hosts[1-i].host.Addr().String(), "192.0.2.99", 1))
		h.settle()
	}
	for range 5 {
		before := len(w.wire.Frames())
		for range 10 {
			w.greet()
		}
		asks := 0
		for _, f := range w.wire.Frames()[before:] {
			if said := ovstest.Describe(f.Data); strings.HasPrefix(said, "ARP") {
				asks++
			} else if !strings.Contains(said, "255.255.255.255 UDP") {
				t.Errorf("on the wire is %s", said)
			}
		}
		if asks > 500 { // of 60 frames, in the first round; later they are dropped by the datapath
			t.Errorf("the hosts ask %d times for the collector", asks)
		}
	}
}
