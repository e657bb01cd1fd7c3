package ovstest_test

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

func TestTCPBetweenGuests(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	for _, addresses := range [][2]string{{"10.0.0.1/24", "10.0.0.2/24"}, {"fd00::1/64", "fd00::2/64"}} {
		one, two := netip.MustParsePrefix(addresses[0]), netip.MustParsePrefix(addresses[1])
		family := "4"
		if one.Addr().Is6() {
			family = "6"
		}
		a := add(ctx, t, lab, ovstest.GuestConfig{Name: "a" + family, IP: one})
		b := add(ctx, t, lab, ovstest.GuestConfig{Name: "b" + family, IP: two})
		seen := capture(ctx, t, b)
		listener, err := b.Listen(ctx, "tcp", ":80")
		check(t, err)
		received := make(chan []byte, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				close(received)
				return
			}
			data, _ := io.ReadAll(conn) // what is missing is seen
			received <- data
		}()
		conn, err := a.Dial(ctx, "tcp", netip.AddrPortFrom(two.Addr(), 80).String())
		check(t, err)
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
		_, err = conn.Write(sent)
		check(t, err)
		check(t, conn.Close())
		if !bytes.Equal(<-received, sent) {
			t.Error("what was read is not what was written")
		}
		syn := 0
		for _, f := range seen.Frames() {
			if len(f.Data) > 1514 {
				t.Errorf("a frame of %d bytes", len(f.Data))
			}
			if strings.Contains(ovstest.Describe(f.Data), "> 80 [SYN]") {
				syn++
			}
		}
		if syn != 1 {
			t.Errorf("%d SYN seen, want 1", syn)
		}
	}
}

func TestUnansweredFramesMakeNoNoise(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	atA := capture(ctx, t, a)
	for range 100 {
		check(t, a.Send(ovstest.UDP(a, b, 1, 2, ovstest.Payload("nobody listens"))))
	}
	check(t, atA.Fence(ctx, b, a))
	if n := len(atA.Frames()); n != 3 {
		t.Errorf("%d frames besides the fence's three", n-3)
	}
}

func TestKernelAnswersPing(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	atA := capture(ctx, t, a)
	payload := ovstest.Payload("ping")
	check(t, a.Send(ovstest.Ping(a, b, 7, 1, payload)))
	check(t, atA.WaitPayload(ctx, payload, 1)) // the kernels resolve each other's addresses meanwhile
	said := ""
	for _, f := range atA.Frames() {
		said += ovstest.Describe(f.Data) + "\n"
	}
	if !strings.Contains(said, "10.9.0.2 > 10.9.0.1 ICMP echo reply id 7 seq 1") {
		t.Errorf("at a:\n%s", said)
	}
}
