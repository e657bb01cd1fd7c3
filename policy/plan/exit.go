package plan

import "net/netip"

// A Trace is what ovs-vswitchd says that it would do with a packet
// (ofproto/trace, ovs-vswitchd(8)).
type Trace struct {
	// Exits are where the packet and its copies leave, in the switch's order.
	Exits []Exit
	// Neighbors are next hops whose MAC address the userspace datapath does not
	// know: what a tunnel would send there waits for it.
	Neighbors []netip.Addr
	// Open says what the trace leaves open, such as which member of a bond sends;
	// there may be more exits then.
	Open []string
	// Failure says why the switch gave the packet up, empty if it did not.
	Failure string
	// Text is the whole answer, for people.
	Text string
}

// An Exit is one way by which a packet leaves the switch.
type Exit struct {
	// Interface is the device, or the tunnel, as its Interface row is called.
	Interface string
	// Remote and Key are those of the tunnel, for what goes into one; By are the
	// devices that its packet leaves by.
	Remote netip.Addr
	Key    uint64
	By     []string
	// Limit is what longer packets are cut to, in bytes; 0 is whole packets.
	Limit int
	// Tags are the ids of the packet's VLAN tags, the outermost first.
	Tags []uint16
	// Metered tells that a meter may drop it, Sampled that it is sent at times.
	Metered, Sampled bool
}

// Tunnel reports whether the packet goes into a tunnel.
func (e *Exit) Tunnel() bool { return e.Remote.IsValid() }
