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
	// Copies are those sent to this destination. In the hub tier each has its own;
	// nil is unknown.
	Copies *Counters
	// Drops are packets that the port did not take (tx_dropped and tx_errors of
	// Interface.statistics); nil is unknown.
	Drops *uint64
	// Problems say what is not as it should be.
	Problems []string
}

// places checks where the copies go. Drops, and Copies in the direct tier, are
// not in it: see Assess.
func (h *Health) places(snap *Snapshot, counters map[string]*Counters) {
	for _, place := range h.Outcome.Places {
		ph := PlaceHealth{Place: place}
		switch {
		case place.Absent != "":
			ph.Problems = append(ph.Problems, place.Absent)
		case place.Port != "":
			ph.look(snap, counters)
		}
		h.Problems = append(h.Problems, ph.Problems...)
		h.Places = append(h.Places, ph)
	}
}

// look checks the port that copies leave by. A device that vanished under its
// row keeps its ofport and an empty error: only link_state tells (OVS 3.1). A bond
// is down if all its members are.
func (ph *PlaceHealth) look(snap *Snapshot, counters map[string]*Counters) {
	bridge, port := snap.portAnywhere(ph.Port)
	if port == nil {
		ph.Problems = append(ph.Problems, "destination "+ph.label()+" has no port: run spanctl apply")
		return
	}
	ph.MTU = mtu(port)
	for m := range bridge.Mirrors {
		if mirror := &bridge.Mirrors[m]; mirror.Managed() && mirror.OutputPort == ph.Port && counters[mirror.UUID] != nil {
			if ph.Copies == nil {
				ph.Copies = &Counters{}
			}
			ph.Copies.Packets += counters[mirror.UUID].Packets
			ph.Copies.Bytes += counters[mirror.UUID].Bytes
		}
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
		case iface.LinkState == "down" || iface.Carrier == "down":
			down = append(down, fmt.Sprintf("destination %s: link is down", name))
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
