package ovstest_test

import (
	"bytes"
	"context"
	"testing"

	"spanctl/ovs/ovstest"
)

// mirrorAll mirrors everything on a bridge to a port, by hand.
func mirrorAll(ctx context.Context, t *testing.T, lab *ovstest.Lab, bridge, name, output string) {
	t.Helper()
	vsctl(ctx, t, lab, "--", "--id=@out", "get", "Port", output,
		"--", "--id=@m", "create", "Mirror", "name="+name, "select_all=true", "output_port=@out",
		"--", "add", "Bridge", bridge, "mirrors", "@m")
}

// wantCopies waits for one copy of each frame sent and says what is missing, double or different.
func wantCopies(ctx context.Context, t *testing.T, c *ovstest.Capture, sent []ovstest.Sent) {
	t.Helper()
	check(t, c.Wait(ctx, func(frames []ovstest.Frame) bool { return len(frames) >= len(sent) }))
	frames := c.Frames()
	if len(frames) != len(sent) {
		t.Errorf("%d frames, want %d", len(frames), len(sent))
	}
	for _, s := range sent {
		wantFrame(t, frames, s.Frame, s.Payload)
	}
}

// wantFrame says that exactly one frame has the payload, and is the frame, byte for byte.
func wantFrame(t *testing.T, frames []ovstest.Frame, frame, payload []byte) {
	t.Helper()
	if n := ovstest.CountPayload(frames, payload); n != 1 {
		t.Errorf("%s: %d frames, want 1", payload, n)
	}
	for _, f := range frames {
		if bytes.Contains(f.Data, payload) && !bytes.Equal(f.Data, frame) {
			t.Errorf("%s: got\n%x\nwant\n%x", payload, f.Data, frame)
		}
	}
}

func TestHandMadeMirrorCopiesEveryFrameOnce(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b, audit := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b"), guest(ctx, t, lab, "audit")
	mirrorAll(ctx, t, lab, "br0", "m", audit.Port())
	copies := capture(ctx, t, audit)
	sent, err := ovstest.Exchange(ctx, a, b, 50)
	check(t, err)
	wantCopies(ctx, t, copies, sent)
}

func TestTaggedFramesArriveByteForByte(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b, audit := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b"), guest(ctx, t, lab, "audit")
	mirrorAll(ctx, t, lab, "br0", "m", audit.Port())
	atB, copies := capture(ctx, t, b), capture(ctx, t, audit)
	for name, tag := range map[string]func(frame []byte) []byte{
		"untagged": func(f []byte) []byte { return f },
		"vlan":     func(f []byte) []byte { return ovstest.Tagged(f, 10) },
		"priority": func(f []byte) []byte { return ovstest.Tagged(f, 5<<13|10) },
		"8100x2":   func(f []byte) []byte { return ovstest.Tagged(f, 10, 20) },
		"qinq":     func(f []byte) []byte { return ovstest.QinQ(f, 10, 20) },
		"qinq3":    func(f []byte) []byte { return ovstest.QinQ(f, 10, 20, 30) },
	} {
		payload := ovstest.Payload(name)
		frame := tag(ovstest.UDP(a, b, 1, 2, payload))
		check(t, a.Send(frame))
		for _, c := range []*ovstest.Capture{atB, copies} {
			check(t, c.WaitPayload(ctx, payload, 1))
		}
		check(t, copies.Fence(ctx, a, b))
		wantFrame(t, atB.Frames(), frame, payload)
		wantFrame(t, copies.Frames(), frame, payload)
	}
}

func TestWhatTheAuditGuestSendsGoesNowhere(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b, audit := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b"), guest(ctx, t, lab, "audit")
	mirrorAll(ctx, t, lab, "br0", "m", audit.Port())
	atA, atB := capture(ctx, t, a), capture(ctx, t, b)
	payload := ovstest.Payload("injected")
	check(t, audit.Send(ovstest.UDP(audit, b, 1, 2, payload)))
	check(t, audit.Send(ovstest.UDP(audit, ovstest.Broadcast, 1, 2, payload)))
	check(t, atB.Fence(ctx, a, b))
	check(t, atA.Fence(ctx, b, a))
	if n := ovstest.CountPayload(append(atA.Frames(), atB.Frames()...), payload); n != 0 {
		t.Errorf("%d injected frames arrived, want 0", n)
	}
}
