package main

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"spanctl/ovs/ovstest"
)

const everything = `
  audit:
    sources: [{role: all}]
    destinations: [{vm: audit}]
`

// A crossing is a frame that somebody sends, and the copy that a mirror makes of it: the same, where that is nil.
type crossing struct {
	from        ovstest.Sender
	frame, copy []byte
}

func TestE2EEverythingIsCopiedOnceByteForByte(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	c, d := s.add(ovstest.GuestConfig{Name: "c", Tag: 10}), s.add(ovstest.GuestConfig{Name: "d", Tag: 10})
	up := s.uplink("up")
	host, err := s.lab.HostIP(s.ctx, "br0", netip.MustParsePrefix("10.9.0.100/24"))
	s.check(err)

	// The switch learns where everybody is, so that unicast is not flooded.
	trunks := map[string]ovstest.Sender{"a": a, "b": b, "up": up, "host": host}
	s.greet(a, b, up, host, c, d)
	s.apply(everything)
	s.settle()

	var list []crossing
	for from, x := range trunks {
		for to, y := range trunks {
			if from != to {
				list = append(list, crossing{from: x, frame: udp(x, y)}, crossing{from: x, frame: ovstest.Tagged(udp(x, y), 10)})
			}
		}
		list = append(list, crossing{from: x, frame: udp(x, ovstest.Broadcast)})
		list = append(list, crossing{from: x, frame: ovstest.Tagged(udp(x, ovstest.Broadcast), 20)})
	}
	for _, frame := range oddities(a, b) {
		list = append(list, crossing{from: a, frame: frame})
	}
	// Fact 16: what an access port sends arrives tagged at a trunk.
	for _, pair := range [][2]ovstest.Endpoint{{c, d}, {c, a}, {d, ovstest.Broadcast}} {
		frame := udp(pair[0], pair[1])
		list = append(list, crossing{pair[0].(ovstest.Sender), frame, ovstest.Tagged(frame, 10)})
	}
	list = append(list, crossing{from: a, frame: ovstest.Tagged(udp(a, c), 10)})

	atB, atAudit := s.capture(b), s.capture(audit)
	var copies, forB [][]byte
	for _, x := range list {
		s.send(x.from, x.frame)
		if x.copy == nil {
			x.copy = x.frame
		}
		copies = append(copies, x.copy)
		if x.from != ovstest.Sender(b) && reaches(x.frame, b) {
			forB = append(forB, x.copy)
		}
	}
	s.check(atAudit.Fence(s.ctx, a, b))
	s.wantExactly(atAudit, copies...)
	s.wantExactly(atB, forB...) // production has the same frames as ever
}

// oddities are frames of every kind from one guest to another, to groups and to nobody.
func oddities(a, b ovstest.Endpoint) [][]byte {
	station := func(ip string, mac ...byte) ovstest.Station {
		return ovstest.Station{MAC: net.HardwareAddr(mac), IP: netip.MustParseAddr(ip)}
	}
	ip6 := func(e ovstest.Endpoint) ovstest.Station {
		return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom16([16]byte{0: 0xfd, 15: e.Addr().As4()[3]})}
	}
	reserved := func(last byte) net.HardwareAddr { return net.HardwareAddr{1, 0x80, 0xc2, 0, 0, last} }
	full := ovstest.UDP(a, b, 1, 2, append(ovstest.Payload("full"), make([]byte, 1500)...)[:1500-20-8])
	return [][]byte{
		ovstest.Tagged(udp(a, b), 5<<13),    // priority alone
		ovstest.Tagged(udp(a, b), 5<<13|10), // priority and VLAN
		ovstest.Tagged(udp(a, b), 4095),     // reserved VID
		ovstest.Tagged(udp(a, b), 10, 20),   // 802.1Q in 802.1Q
		ovstest.QinQ(udp(a, b), 10, 20),     // 802.1Q in 802.1ad
		ovstest.QinQ(udp(a, b), 10, 20, 30), // three tags
		ovstest.ARP(a, station("10.9.0.200")),
		udp(a, station("10.9.0.201", nobody...)),
		udp(a, station("224.0.0.5", 1, 0, 0x5e, 0, 0, 5)),
		udp(ip6(a), ip6(b)),
		udp(ip6(a), station("ff02::1", 0x33, 0x33, 0, 0, 0, 1)),
		full, ovstest.Tagged(full, 10),
		ovstest.Raw(a, b.HardwareAddr(), 38, append([]byte{0xaa, 0xaa, 3}, ovstest.Payload("LLC")...)),
		ovstest.Raw(a, b.HardwareAddr(), 0x88b5, ovstest.Payload("experimental")),
		// A bridge does not forward these: they are copied all the same.
		ovstest.Raw(a, reserved(0x0), 38, append([]byte{0x42, 0x42, 3}, ovstest.Payload("BPDU")...)),
		ovstest.Raw(a, reserved(0x1), 0x8808, ovstest.Payload("pause")),
		ovstest.Raw(a, reserved(0x2), 0x8809, ovstest.Payload("LACP")),
		ovstest.Raw(a, reserved(0xe), 0x88cc, ovstest.Payload("LLDP")),
	}
}

// nobody is the address of no station.
var nobody = net.HardwareAddr{2, 0, 0, 0, 0, 1}

// reaches tells whether a bridge that knows all stations sends a frame of another port to the station's trunk port.
func reaches(frame []byte, to ovstest.Endpoint) bool {
	mac := net.HardwareAddr(frame[:6])
	reserved := bytes.HasPrefix(mac, []byte{1, 0x80, 0xc2, 0, 0}) && mac[5] < 0x10
	return bytes.Equal(mac, to.HardwareAddr()) || bytes.Equal(mac, nobody) || mac[0]&1 == 1 && !reserved
}

// udp is a datagram with a payload of its own.
func udp(from, to ovstest.Endpoint) []byte {
	return ovstest.UDP(from, to, 1000, 2000, ovstest.Payload("e2e"))
}

func TestE2ERestartedAndNewGuestsAreCopiedFromTheirFirstPacket(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b := s.guests["a"], s.guests["b"]
	s.apply(everything)
	atAudit := s.capture(s.guests["audit"])
	s.check(b.Stop(s.ctx))
	s.check(b.Rename("vif-b2"))
	s.check(b.Start(s.ctx))
	var want [][]byte
	first := udp(b, ovstest.Broadcast)
	s.send(b, first)
	want = append(want, first)
	want = append(want, frames(s.exchange(b, a, 20), a, b)...)
	c := s.add(ovstest.GuestConfig{Name: "c"})
	want = append(want, frames(s.exchange(c, b, 20), c, b)...)
	s.check(atAudit.Fence(s.ctx, a, b))
	s.wantExactly(atAudit, want...)
	if h := s.status(exitOK)["audit"]; h.Copied != 4 || h.Sources != 4 {
		t.Errorf("status: %d of %d ports copied, want a, b, c and the host's", h.Copied, h.Sources)
	}
	s.wantNoChanges()
}
