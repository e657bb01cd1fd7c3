package plan

// A Flow is an OpenFlow rule of a bridge, in the words of ovs-ofctl(8) and
// ovs-fields(7).
type Flow struct {
	Cookie   uint64
	Table    int
	Priority int
	// Match is the fields that a packet must have, separated by commas, ports by
	// their numbers, as NormalMatch gives it; Actions is what is then done, "drop" for nothing.
	Match, Actions string
	// Packets and Bytes are how many matched, since the rule is there.
	Packets, Bytes uint64
}

// A Meter is an OpenFlow meter of a bridge that drops what is over its rate.
type Meter struct {
	ID uint32
	// Rate is in kbit/s, or in packets/s if Packets is set; Burst in kbit or
	// packets.
	Rate, Burst uint32
	Packets     bool
	// Dropped counts the packets that were over the rate.
	Dropped uint64
}
