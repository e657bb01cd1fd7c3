package ovstest

import (
	"context"
	"fmt"
)

// Sent is one frame of an Exchange.
type Sent struct {
	From    *Guest
	Frame   []byte
	Payload []byte
}

// Flow is a UDP connection between two guests that goes on over several calls: the same addresses and ports each time,
// so that the datapath's flow for it is the same.
type Flow struct {
	A, B         *Guest
	APort, BPort uint16
	Tags         []uint16 // of every frame, the outermost first (nil: untagged)
}

// Exchange is Flow.Exchange on one flow for each pair of guests, ports 40000 and 40001.
func Exchange(ctx context.Context, a, b *Guest, n int) ([]Sent, error) {
	return Flow{A: a, B: b, APort: 40000, BPort: 40001}.Exchange(ctx, n)
}

// Exchange sends n distinct frames from A to B and an answer to each. Every frame is awaited at its receiver before
// the next goes out: traffic is paced without sleeping, addresses are learnt after the first pair, and
// when it returns every frame has left the switch, copies of it may be on their way. It returns what was sent, in order.
func (f Flow) Exchange(ctx context.Context, n int) ([]Sent, error) {
	atA, err := f.A.Capture(ctx)
	if err != nil {
		return nil, err
	}
	defer atA.Close()
	atB, err := f.B.Capture(ctx)
	if err != nil {
		return nil, err
	}
	defer atB.Close()
	sent := make([]Sent, 0, 2*n)
	pass := func(from, to *Guest, sport, dport uint16, at *Capture) error {
		payload := Payload(from.Name() + ">" + to.Name())
		frame := Tagged(UDP(from, to, sport, dport, payload), f.Tags...)
		sent = append(sent, Sent{From: from, Frame: frame, Payload: payload})
		if err := from.Send(frame); err != nil {
			return err
		}
		return at.WaitPayload(ctx, payload, 1)
	}
	for i := range n {
		if err := pass(f.A, f.B, f.APort, f.BPort, atB); err != nil {
			return sent, fmt.Errorf("exchange, frame %d: %w", i, err)
		}
		if err := pass(f.B, f.A, f.BPort, f.APort, atA); err != nil {
			return sent, fmt.Errorf("exchange, answer %d: %w", i, err)
		}
	}
	return sent, nil
}
