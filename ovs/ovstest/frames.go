package ovstest

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// Frame is one frame as it was on the wire, all VLAN tags in place, without checksum trailer.
type Frame struct {
	Time     time.Time // when it was read
	Data     []byte
	Outgoing bool // sent by the device itself; only with Outgoing
}

// CountPayload is how many of the frames carry the payload, as they are or inside a tunnel.
func CountPayload(frames []Frame, payload []byte) int {
	n := 0
	for _, f := range frames {
		if bytes.Contains(f.Data, payload) {
			n++
		}
	}
	return n
}

// recent is the last few frames, for an error message.
func recent(frames []Frame) string {
	if len(frames) == 0 {
		return "no frames arrived"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d frames arrived, the last:", len(frames))
	for _, f := range frames[max(0, len(frames)-5):] {
		b.WriteString("\n\t" + Describe(f.Data))
	}
	return b.String()
}
