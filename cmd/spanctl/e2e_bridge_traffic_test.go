package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"spanctl/ovs/migrate"
	"spanctl/ovs/ovstest"
)

// A stream is a TCP connection of two guests over which one of them sends numbers for as long as it lasts.
type stream struct {
	from, to net.Conn
	got      atomic.Uint64 // numbers, in order
	failed   chan error
}

func (s *bridgeSite) stream(from, to *ovstest.Guest) *stream {
	s.Helper()
	listener, err := to.Listen(s.ctx, "tcp", to.Addr().String()+":7000")
	s.check(err)
	defer listener.Close()
	x := &stream{failed: make(chan error, 1)}
	x.from, err = from.Dial(s.ctx, "tcp", to.Addr().String()+":7000")
	s.check(err)
	x.to, err = listener.Accept()
	s.check(err)
	s.Cleanup(func() { _, _ = x.from.Close(), x.to.Close() })
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for n := uint64(1); ; n++ {
			if _, err := x.from.Write(binary.BigEndian.AppendUint64(nil, n)); err != nil {
				return // its end is closed
			}
			<-tick.C // a stream, not a flood
		}
	}()
	go func() {
		var b [8]byte
		for n := uint64(1); ; n++ {
			_, err := io.ReadFull(x.to, b[:])
			if got := binary.BigEndian.Uint64(b[:]); err == nil && got != n {
				err = fmt.Errorf("number %d came, not %d", got, n)
			}
			if err != nil {
				x.failed <- err
				return
			}
			x.got.Store(n)
		}
	}()
	return x
}

// wantFlowing wants more numbers to arrive.
func (s *bridgeSite) wantFlowing(x *stream) {
	s.Helper()
	before := x.got.Load()
	s.await("the stream to go on", func() bool {
		select {
		case err := <-x.failed:
			s.Fatalf("the stream: %v", err)
		default:
		}
		return x.got.Load() > before+10
	})
}

// A pingRun is pings of a guest to the host, some hundred a second, for as long as it lasts (ICMP, RFC 792).
type pingRun struct {
	conn net.Conn
	sent chan int // how many, when it has ended
	got  map[uint16]bool
	read chan struct{} // closed when no more answers are read
}

func (s *bridgeSite) ping(from *ovstest.Guest, to string) *pingRun {
	s.Helper()
	conn, err := from.Dial(s.ctx, "ip4:icmp", to)
	s.check(err)
	s.Cleanup(func() { _ = conn.Close() })
	p := &pingRun{conn: conn, sent: make(chan int), got: map[uint16]bool{}, read: make(chan struct{})}
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-tick.C:
				_, _ = conn.Write(echo(uint16(n))) // one that cannot be sent is one without an answer
				n++
			case p.sent <- n:
				return
			}
		}
	}()
	go func() {
		defer close(p.read)
		b := make([]byte, 2000) // as long as any header, too
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			if reply := b[int(b[0]&15)*4 : n]; len(reply) >= 8 && reply[0] == 0 { // after the IPv4 header: an echo reply
				p.got[binary.BigEndian.Uint16(reply[6:])] = true
			}
		}
	}()
	return p
}

// echo is an echo request with that number.
func echo(n uint16) []byte {
	b := []byte{8, 0, 0, 0, 0x77, 0x77, byte(n >> 8), byte(n)}
	sum := uint32(0x0800 + 0x7777 + int(n))
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}

// lost ends the pings and returns how many there were, and how many found no answer within a second.
func (p *pingRun) lost(s *bridgeSite) (sent, lost int) {
	s.Helper()
	sent = <-p.sent
	s.check(p.conn.SetReadDeadline(time.Now().Add(time.Second)))
	<-p.read
	return sent, sent - len(p.got)
}

// TestE2EBridgeTrafficGoesOn has a stream of two guests, and pings of one of them to the host, run across a
// migration of 50 ports, its confirmation, and the way back. Connections go on; how many pings found no answer is told.
func TestE2EBridgeTrafficGoesOn(t *testing.T) {
	t.Parallel()
	s := newBridgeSite(t, "a", "b")
	s.host("sh", "-e", "-c", `i=0
while [ $i -lt 48 ]; do
i=$((i+1))
ip link add name vif$i.0 type veth peer name in$i
ip link set vif$i.0 master br0 up
ip link set in$i up
done`)
	between := s.stream(s.guests["a"], s.guests["b"])
	pings := s.ping(s.guests["a"], "10.9.0.250")
	s.wantFlowing(between)

	p := s.migrate()
	s.wantFlowing(between)
	s.exchange(s.guests["a"], s.guests["b"], 2)
	s.bridgeWant(exitOK, "confirm", "br0")
	s.wantExit(p, exitOK)
	s.wantFlowing(between)
	there := s.journal().Gap
	sent, lost := pings.lost(s)
	t.Logf("migration: 50 ports were without forwarding for %s; of %d pings to the host %d found no answer", there, sent, lost)

	pings = s.ping(s.guests["a"], "10.9.0.250")
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantFlowing(between)
	if got := s.journal(); got.Phase != migrate.Reverted {
		t.Errorf("the journal says %s", got.Phase)
	}
	sent, lost = pings.lost(s)
	t.Logf("and back: %s; of %d pings %d", s.journal().Gap, sent, lost)
	if between.got.Load() == 0 {
		t.Error("nothing came")
	}
}
