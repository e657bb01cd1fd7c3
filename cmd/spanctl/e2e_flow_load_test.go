package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"spanctl/ovs/ovstest"
)

// A pipe is a TCP connection of two guests' own stacks.
type pipe struct {
	port           uint16
	client, server net.Conn
}

// pipe connects a to a port of b. There is never so much under way that something overflows.
func (s *site) pipe(a, b *ovstest.Guest, port uint16) *pipe {
	s.Helper()
	listener, err := b.Listen(s.ctx, "tcp", fmt.Sprintf(":%d", port))
	s.check(err)
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := listener.Accept() // without it carry fails
		accepted <- conn
	}()
	client, err := a.Dial(s.ctx, "tcp", netip.AddrPortFrom(b.Addr(), port).String())
	s.check(err)
	p := &pipe{port, client, <-accepted}
	const window = 128 << 10
	for _, conn := range []net.Conn{p.client, p.server} {
		s.check(conn.(*net.TCPConn).SetReadBuffer(window))
		s.check(conn.(*net.TCPConn).SetWriteBuffer(window))
	}
	return p
}

// carry takes n bytes there and some back, and says whether they have arrived as they were.
func (p *pipe) carry(n int) error {
	one := func(from, to net.Conn, n int) error {
		data := bytes.Repeat(ovstest.Payload("carried"), n/20+1)[:n]
		done := make(chan error, 1)
		go func() {
			_, err := from.Write(data)
			done <- err
		}()
		got := make([]byte, n)
		_, err := io.ReadFull(to, got)
		if err == nil && !bytes.Equal(got, data) {
			err = errors.New("other bytes have arrived than were sent")
		}
		return errors.Join(err, <-done)
	}
	if err := errors.Join(one(p.client, p.server, n), one(p.server, p.client, n/backShare)); err != nil {
		return fmt.Errorf("port %d: %w", p.port, err)
	}
	return nil
}

// backShare is how much less goes back than there.
const backShare = 10

// carryAll lets all carry n bytes at once.
func carryAll(n int, pipes ...*pipe) error {
	done := make(chan error, len(pipes))
	for _, p := range pipes {
		go func() { done <- p.carry(n) }()
	}
	var err error
	for range pipes {
		err = errors.Join(err, <-done)
	}
	return err
}

// A piece is the place of a segment's data in its stream.
type piece struct{ seq, length uint32 }

// pieces are what there is of a connection's data in a capture, by direction: to the port and from it.
func (p *pipe) pieces(c *ovstest.Capture) (there, back []piece) {
	for _, f := range c.Frames() {
		if len(f.Data) < 54 || binary.BigEndian.Uint16(f.Data[12:]) != 0x800 || f.Data[23] != 6 {
			continue
		}
		ip, segment := f.Data[14:], f.Data[34:]
		data := int(binary.BigEndian.Uint16(ip[2:])) - 20 - int(segment[12]>>4)*4
		one := piece{binary.BigEndian.Uint32(segment[4:]), uint32(data)}
		switch {
		case data <= 0:
		case binary.BigEndian.Uint16(segment[2:]) == p.port:
			there = append(there, one)
		case binary.BigEndian.Uint16(segment) == p.port:
			back = append(back, one)
		}
	}
	return there, back
}

// covered is how many bytes of a stream the pieces are, however often they were sent.
func covered(pieces []piece) int {
	if len(pieces) == 0 {
		return 0
	}
	first := pieces[0].seq
	sorted := slices.SortedFunc(slices.Values(pieces), func(a, b piece) int { return cmp.Compare(int32(a.seq-first), int32(b.seq-first)) })
	sum, end := 0, int64(int32(sorted[0].seq-first))
	for _, p := range sorted {
		begin := int64(int32(p.seq - first))
		if last := begin + int64(p.length); last > end {
			sum += int(last - max(begin, end))
			end = last
		}
	}
	return sum
}

// Two connections under load, of which one is left out: production is complete, the other's copies are, to the byte and the
// segment, and of the one that is left out there is none. Rules change while both run, and nothing else is disturbed.
func TestE2EFlowExcludeUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.greet(a, b)
	session := func(ports string) string {
		return "  audit: {sources: [{role: all}], exclude: [{protocol: tcp, port: [" + ports + "]}], destinations: [{vm: audit}]}\n"
	}
	s.apply(session("7788-7799"))
	drbd, web := s.pipe(a, b, 7788), s.pipe(a, b, 80)
	known := s.stations("br0")
	for i, step := range []struct {
		excluded string
		copied   []*pipe
	}{
		{"7788-7799", []*pipe{web}},
		{"80, 7788-7799", nil},
		{"80", []*pipe{drbd}},
		{"443", []*pipe{web, drbd}},
		{"7788", []*pipe{web}},
	} {
		if i > 0 {
			carried := make(chan error, 1)
			go func() { carried <- carryAll(4<<20, drbd, web) }()
			s.apply(session(step.excluded))
			s.check(<-carried)
		}
		s.settle()
		s.sub("without "+step.excluded, func(s *site) {
			atA, atB, atAudit := s.capture(a), s.capture(b), s.capture(audit)
			const n = 10 << 20
			s.check(carryAll(n, drbd, web))
			s.check(atA.Fence(s.ctx, b, a))
			s.check(atB.Fence(s.ctx, a, b))
			s.check(atAudit.Fence(s.ctx, a, b))
			for _, p := range []*pipe{drbd, web} {
				there, back := p.pieces(atAudit)
				arrived, _ := p.pieces(atB)
				_, returned := p.pieces(atA)
				t.Logf("without %s, port %d: %d and %d segments, %d and %d copies of %d and %d bytes",
					step.excluded, p.port, len(arrived), len(returned), len(there), len(back), covered(there), covered(back))
				if covered(arrived) != n || covered(returned) != n/backShare {
					s.Errorf("port %d: production has %d bytes there and %d back", p.port, covered(arrived), covered(returned))
				}
				if !slices.Contains(step.copied, p) {
					arrived, returned = nil, nil
				}
				if !slices.Equal(there, arrived) || !slices.Equal(back, returned) {
					s.Errorf("port %d: %d and %d copies of %d and %d segments", p.port, len(there), len(back), len(arrived), len(returned))
				}
			}
			s.check(errors.Join(atA.Close(), atB.Close(), atAudit.Close()))
		})
		s.wantNoChanges()
	}
	if now := s.stations("br0"); !slices.Equal(now, known) {
		t.Errorf("the switch knew %q and knows %q", known, now)
	}
}
