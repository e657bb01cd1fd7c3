package ovstest

import (
	"context"
	"net"
	"net/netip"
)

// A NIC is a network device inside of a virtual machine, known by its address. The machine's own kernel sends and
// receives there, and vminit does what is asked for.
type NIC struct {
	lab     *Lab
	machine string // its name
	mac     net.HardwareAddr
	ip      netip.Prefix
	line    func() *vmLine // the machine's of now
}

// Name is the name of the NIC's machine.
func (n *NIC) Name() string { return n.machine }

// HardwareAddr is the NIC's address; it stays over restarts of the machine.
func (n *NIC) HardwareAddr() net.HardwareAddr { return n.mac }

// Addr is the machine's address there.
func (n *NIC) Addr() netip.Addr { return n.ip.Addr() }

func (n *NIC) call(ctx context.Context, r vmRequest) (int, error) {
	r.MAC = n.mac.String()
	return n.line().call(ctx, r)
}

// up returns when the machine has the NIC, up and addressed.
func (n *NIC) up(ctx context.Context) error {
	_, err := n.call(ctx, vmRequest{Do: "up", IP: n.ip.String()})
	return err
}

// Send sends one frame out of the NIC as it is.
func (n *NIC) Send(frame []byte) error {
	_, err := n.call(context.Background(), vmRequest{Do: "send", Frame: frame})
	return err
}

// Stream raises the NIC as soon as the machine has it, and has the frame sent from then on every millisecond, or as often
// as the machine can, with its number in the place of its last eight bytes: decimal, from 00000001. It returns at once.
// The frames go on until Still, the end of the machine or of the NIC.
func (n *NIC) Stream(ctx context.Context, frame []byte) error {
	_, err := n.call(ctx, vmRequest{Do: "stream", Frame: frame})
	return err
}

// Still ends Stream, and returns how many frames were sent.
func (n *NIC) Still(ctx context.Context) (int, error) { return n.call(ctx, vmRequest{Do: "still"}) }

// Capture records inside of the machine what arrives at the NIC, which is promiscuous meanwhile, until Close, the end of
// ctx or that of the machine. It is to be closed before the NIC goes.
func (n *NIC) Capture(ctx context.Context, options ...CaptureOption) (*Capture, error) {
	var o captureOptions
	for _, option := range options {
		option(&o)
	}
	c := &vmCapture{news: make(chan struct{}, 1)}
	if _, err := n.line().open(ctx, vmRequest{Do: "capture", MAC: n.mac.String(), Outgoing: o.outgoing}, c); err != nil {
		return nil, err
	}
	return n.lab.record(ctx, c, n.machine)
}

// Serve answers on a TCP port of the machine, by the machine's own stack, each connection: when the client has sent all,
// so many bytes come back. It does so until the machine ends.
func (n *NIC) Serve(ctx context.Context, port uint16, bytes int) error {
	_, err := n.call(ctx, vmRequest{Do: "serve", IP: netip.AddrPortFrom(n.Addr(), port).String(), Bytes: bytes})
	return err
}

// Fetch connects to a TCP port, by the machine's own stack, sends so many bytes, and returns how many come back.
func (n *NIC) Fetch(ctx context.Context, from netip.AddrPort, bytes int) (int, error) {
	return n.call(ctx, vmRequest{Do: "fetch", IP: from.String(), Bytes: bytes})
}
