package plan

import (
	"fmt"
	"slices"
)

// A PlaceHealth is what becomes of a session's copies at one destination.
type PlaceHealth struct {
	Place
	// Link is "up", "down" or, where nothing tells, empty; a tunnel's is that of
	// the device by which its packets leave. That says nothing of the collector.
	Link string
	// MTU is the port's, 0 if unknown. A copy that does not fit is lost.
	MTU int
	// Egress is the device by which a tunnel's packets leave, empty if unknown.
	Egress string
	// Copies are those sent to this destination. In the hub tier each has its own, in
	// the flow tier each session, of whole packets; nil is unknown.
	Copies *Counters
	// Losses are copies that the port did not send; nil is unknown.
	Losses *Losses
	// Problems say what is not as it should be.
	Problems []string
}

// places checks where the copies go.
func (h *Health) places(snap *Snapshot, readings *Readings) {
	for _, place := range h.Outcome.Places {
		ph := PlaceHealth{Place: place}
		switch {
		case place.Absent != "":
			ph.Problems = append(ph.Problems, place.Absent)
		case place.Port != "":
			ph.look(snap, readings, h.Outcome.Name)
		}
		h.Problems = append(h.Problems, ph.Problems...)
		h.Places = append(h.Places, ph)
	}
}

// look checks the port that copies leave by. A device that vanished under its
// row keeps its ofport and an empty error: only link_state tells (OVS 3.1). A bond
// is down if all its members are.
func (ph *PlaceHealth) look(snap *Snapshot, readings *Readings, session string) {
	bridge, port := snap.portAnywhere(ph.Port)
	if port == nil {
		ph.Problems = append(ph.Problems, "destination "+ph.Label()+" has no port: run spanctl apply")
		return
	}
	ph.MTU = mtu(port)
	for m := range bridge.Mirrors {
		mirror := &bridge.Mirrors[m]
		if sent := readings.Mirrors[mirror.UUID]; mirror.Managed() && mirror.OutputPort == ph.Port && sent != nil {
			if ph.Copies == nil {
				ph.Copies = &Counters{}
			}
			ph.Copies.Packets += sent.Packets
			ph.Copies.Bytes += sent.Bytes
		}
	}
	if ph.Copies == nil && bridge.Ruled() && bridge.FlowsError == "" {
		ph.Copies = bridge.sent(session, port)
	}
	var down []string
	for i := range port.Interfaces {
		iface := &port.Interfaces[i]
		name := iface.Name
		if port.Managed() {
			name = ph.Name
			ph.Egress = iface.Egress
		}
		switch {
		case iface.Error != "":
			down = append(down, fmt.Sprintf("destination %s: %s", name, iface.Error))
		case iface.OFPort < 0:
			down = append(down, fmt.Sprintf("destination %s: ovs-vswitchd could not add it", name))
		case port.Managed() && iface.Egress == "" && readings.Mirrors != nil:
			down = append(down, fmt.Sprintf("destination %s: ovs-vswitchd has no route to it", name))
		case iface.LinkState == "down" || iface.Carrier == "down":
			down = append(down, fmt.Sprintf("destination %s: link is down", name))
		}
		if lost, ok := readings.Losses[iface.Name]; ok {
			if ph.Losses == nil {
				ph.Losses = &Losses{}
			}
			ph.Losses.Dropped += lost.Dropped
			ph.Losses.TooLarge += lost.TooLarge
		}
		if iface.LinkState != "" && ph.Link != "up" {
			ph.Link = iface.LinkState
		}
		if iface.Carrier != "" {
			ph.Link = iface.Carrier
		}
	}
	if len(down) == len(port.Interfaces) {
		ph.Problems = append(ph.Problems, down...)
	}
	ph.Problems = slices.Compact(ph.Problems)
}
