package main

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"

	"spanctl/ovs/ovstest"
)

// What is sent in an enclosure: by production, each frame a flow of its own, and by the audit side.

// A shot is a frame on its way out.
type shot struct {
	from  ovstest.Sender
	frame []byte
}

// fire sends frames.
func fire(shots []shot) error {
	for _, s := range shots {
		if err := s.from.Send(s.frame); err != nil {
			return err
		}
	}
	return nil
}

// traffic is frames of production, on both bridges, to guests, to the outside and to all.
func (e *enclosure) traffic() []shot {
	var list []shot
	for _, h := range e.halves {
		for _, pair := range [][2]*ovstest.Guest{{h.x, h.y}, {h.y, h.x}, {h.x, h.up}, {h.up, h.x}} {
			from, to := pair[0], pair[1]
			list = append(list, shot{from, h.frame(e, from, to)},
				shot{from, ovstest.Tagged(h.frame(e, from, to), 10)}, shot{from, ovstest.QinQ(h.frame(e, from, to), 10, 20)})
		}
		list = append(list, shot{h.up, h.frame(e, h.up, ovstest.Broadcast)}, shot{h.up, ovstest.Tagged(h.frame(e, h.up, ovstest.Broadcast), 20)})
		if !e.hostless {
			list = append(list, shot{h.host, h.frame(e, h.host, h.y)}, shot{h.host, h.frame(e, h.host, ovstest.Broadcast)})
		}
	}
	return list
}

// A passage is a frame of production: everybody else on the bridge shall have it if to is nil.
type passage struct {
	mark, bridge string
	from         ovstest.Endpoint
	to           *ovstest.Guest
}

// frame is the first of a new flow.
func (h *half) frame(e *enclosure, from, to ovstest.Endpoint) []byte {
	e.port = max(e.port+1, 1024)
	payload := ovstest.Payload(h.bridge)
	guest, _ := to.(*ovstest.Guest)
	e.passages = append(e.passages, passage{string(payload), h.bridge, from, guest})
	return ovstest.UDP(from, to, e.port, 2000, payload)
}

// wantArrived wants each frame of production exactly once where it should be, once all has arrived.
func (e *enclosure) wantArrived(when string) {
	e.Helper()
	wrong := 0
	for _, s := range e.sniffers {
		if s.guest == nil {
			continue
		}
		times := map[string]int{}
		for _, f := range s.Frames() {
			if at := bytes.LastIndexByte(f.Data, '<'); at >= 0 {
				times[string(bytes.TrimRight(f.Data[at:], "\x00"))]++ // without padding
			}
		}
		for _, p := range e.passages {
			his := p.to == s.guest || p.to == nil && p.bridge == s.bridge && p.from != ovstest.Endpoint(s.guest)
			if n := times[p.mark]; his && n != 1 {
				if wrong++; wrong <= 5 {
					e.Errorf("%s: %s came to %s %d times", when, p.mark, s.port, n)
				}
			}
		}
	}
	if wrong > 5 {
		e.Errorf("%s: %d more", when, wrong-5)
	}
}

// invasion is frames of every kind, from the audit guest and, inside the tunnels, from the collector, to everybody.
func (e *enclosure) invasion() []shot {
	var list []shot
	for _, to := range e.victims() {
		list = append(list, e.sortie(to)...)
	}
	return list
}

// storm lets everybody send everything: by the flows that the datapath has, and, once it has forgotten them, by the rows
// as they are now (ovs-facts 10).
func (e *enclosure) storm() {
	e.Helper()
	e.check(fire(append(e.traffic(), e.invasion()...)))
	e.check(e.sniffers[0].Fence(e.ctx, e.neighbour(e.sniffers[0].guest), e.sniffers[0].guest))
	_, err := e.lab.AppCtl(e.ctx, "revalidator/purge")
	e.check(err)
	e.check(fire(append(e.traffic(), e.invasion()...)))
}

// sortie is the frames of an invasion to one station.
func (e *enclosure) sortie(to ovstest.Endpoint) []shot {
	var list []shot
	if !e.muted {
		for _, frame := range aliens(e.audit, to) {
			list = append(list, shot{e.audit, frame})
		}
	}
	for _, frame := range aliens(e.sensor, to) {
		for _, headers := range e.headers {
			list = append(list, shot{e.sensor, wrapped(headers, frame)})
		}
	}
	return list
}

// victims are whom the audit side sends to.
func (e *enclosure) victims() []ovstest.Endpoint {
	list := []ovstest.Endpoint{ovstest.Broadcast, e.beside}
	for _, h := range e.halves {
		list = append(list, h.x, h.up, h.host)
	}
	return list
}

// interesting are VLANs that some port in the way treats in its own manner: none, a priority, ordinary ones, the
// last, and that which parks patch ports.
var interesting = []uint16{0, 1, 10, 4094, 4095}

// aliens are frames of every kind to a station.
func aliens(from, to ovstest.Endpoint) [][]byte {
	mark := func() []byte { return ovstest.Payload(alien) }
	frame := func() []byte { return ovstest.UDP(from, to, 1000, 2000, mark()) }
	six := func(e ovstest.Endpoint) ovstest.Station {
		return ovstest.Station{MAC: e.HardwareAddr(), IP: netip.AddrFrom16([16]byte{0: 0xfd, 15: e.Addr().As4()[3]})}
	}
	list := [][]byte{
		frame(),
		ovstest.UDP(six(from), six(to), 1000, 2000, mark()),
		ovstest.UDP(to, to, 1000, 2000, mark()), // in another's name
		append(ovstest.ARP(from, to), mark()...),
		ovstest.Raw(from, to.HardwareAddr(), 0x88b5, mark()),
		ovstest.QinQ(frame(), 10, 20), ovstest.QinQ(frame(), 4095, 10), ovstest.Tagged(frame(), 10, 4095), ovstest.QinQ(frame(), 10, 20, 30),
	}
	for _, vid := range interesting {
		list = append(list, ovstest.Tagged(frame(), vid))
	}
	if to.HardwareAddr()[0] == 0xff {
		for last, etherType := range map[byte]uint16{0: 38, 1: 0x8808, 2: 0x8809, 0xe: 0x88cc} { // BPDU, pause, LACP, LLDP
			reserved := ovstest.Raw(from, net.HardwareAddr{1, 0x80, 0xc2, 0, 0, last}, etherType, append([]byte{0x42, 0x42, 3}, mark()...))
			list = append(list, reserved, ovstest.Tagged(reserved, 4095))
		}
	}
	return list
}

// learnTunnels takes from copies at the collector the headers that lead back into the tunnels of the session that is in
// force.
func (e *enclosure) learnTunnels(kinds ...string) {
	e.Helper()
	outer := map[string]int{"erspan": 14 + 20 + 8 + 8, "gre": 14 + 20 + 8} // Ethernet, IPv4, GRE with number or key, ERSPAN
	at := e.capture(e.sensor)
	e.check(at.Fence(e.ctx, e.halves[0].x, e.halves[0].y))
	for _, f := range at.Frames() {
		kind := "gre"
		if strings.Contains(ovstest.Describe(f.Data), "ERSPAN") {
			kind = "erspan"
		}
		e.headers[kind] = turned(f.Data[:outer[kind]])
	}
	for _, kind := range kinds {
		if e.headers[kind] == nil {
			e.Fatalf("no copy came by %s", kind)
		}
	}
}

// turned is tunnel headers with sender and receiver exchanged; the checksum stays right.
func turned(headers []byte) []byte {
	return slices.Concat(headers[6:12], headers[:6], headers[12:26], headers[30:34], headers[26:30], headers[34:])
}

// wrapped is a frame behind tunnel headers, their lengths and checksum made right.
func wrapped(headers, frame []byte) []byte {
	out := slices.Concat(headers, frame)
	ip := out[14:34]
	length := len(out) - 14
	ip[2], ip[3], ip[10], ip[11] = byte(length>>8), byte(length), 0, 0
	sum := 0
	for i := 0; i < len(ip); i += 2 {
		sum += int(ip[i])<<8 | int(ip[i+1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	ip[10], ip[11] = byte(^sum>>8), byte(^sum)
	return out
}

// invade sends what the audit side sends, and wants to see that it came to the tap bridge by the tunnel that is in force.
func (e *enclosure) invade(kind string) {
	e.Helper()
	e.check(fire(e.invasion()))
	tap := e.taps()[0]
	for _, port := range strings.Fields(e.vsctl("list-ports", tap)) {
		if e.vsctl("get", "Interface", port, "type") == kind {
			out, err := e.lab.OFCtl(e.ctx, "dump-ports", tap, port)
			e.check(err)
			if strings.Contains(out, "rx pkts=0,") || !strings.Contains(out, "rx pkts=") {
				e.Errorf("nothing has come by %s:\n%s", kind, out)
			}
			return
		}
	}
	e.Errorf("%s has no %s port", tap, kind)
}

// taps are the names of the tap bridges.
func (s *site) taps() []string {
	s.Helper()
	return strings.Fields(s.vsctl("--bare", "--columns=name", "find", "Bridge", "external_ids:spanctl-managed=true"))
}

// wantCopied wants each of some frames of production once at the audit guest, once by each tunnel of the session that is
// in force, and where it should be.
func (e *enclosure) wantCopied(when string, tunnels int) {
	e.Helper()
	e.settle()
	first := len(e.passages)
	atAudit, atSensor := e.capture(e.audit), e.capture(e.sensor)
	e.check(fire(e.traffic()))
	for _, h := range e.halves {
		e.check(atAudit.Fence(e.ctx, h.x, h.y))
		e.check(atSensor.Fence(e.ctx, h.x, h.y))
	}
	e.wantIsolated(when)
	e.wantArrived(when)
	for _, p := range e.passages[first:] {
		if at, by := ovstest.CountPayload(atAudit.Frames(), []byte(p.mark)), ovstest.CountPayload(atSensor.Frames(), []byte(p.mark)); at != 1 || by != tunnels {
			e.Fatalf("%s: of %s %d copies came to the audit guest and %d by %d tunnels", when, p.mark, at, by, tunnels)
		}
	}
}

// wantGone wants nothing of spanctl's to be left, and the audit guest on its bridge.
func (e *enclosure) wantGone(when string) {
	e.Helper()
	for table, rows := range e.database() {
		for _, row := range rows {
			if ids := string(row["external_ids"]); strings.Contains(ids, "spanctl") && !strings.Contains(ids, "spanctl-role") {
				e.Errorf("%s: %s %s is left: %s", when, table, row["name"], ids)
			}
		}
	}
	if on := e.vsctl("port-to-br", e.audit.Port()); on != e.audit.Bridge() {
		e.Errorf("%s: the audit guest is on %s", when, on)
	}
}
