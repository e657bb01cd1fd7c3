package plan

import (
	"maps"
	"slices"
)

// WithoutHost is the snapshot with what OVSDB says alone.
func (s *Snapshot) WithoutHost() *Snapshot {
	bare := *s
	bare.Bridges = slices.Clone(s.Bridges)
	for i := range bare.Bridges {
		b := &bare.Bridges[i]
		b.Flows, b.Meters, b.FlowsError = nil, nil, ""
	}
	bare.Routes, bare.Devices, bare.BadFiles, bare.Addresses, bare.Daemon = nil, nil, nil, nil, ""
	bare.Deaf = nil
	bare.Guests, bare.GuestsError = nil, ""
	return &bare
}

// SameHost reports whether two snapshots with the same rows say the same of what OVSDB does not tell, however many packets
// rules have counted.
func (s *Snapshot) SameHost(o *Snapshot) bool {
	sameFlow := func(a, b Flow) bool {
		a.Packets, a.Bytes = b.Packets, b.Bytes
		return a == b
	}
	sameMeter := func(a, b Meter) bool {
		a.Dropped = b.Dropped
		return a == b
	}
	sameRoute := func(a, b Route) bool {
		return slices.Equal(a.Devices, b.Devices) && a.MTU == b.MTU && a.NextHop == b.NextHop && a.Source == b.Source
	}
	return s.Daemon == o.Daemon && s.GuestsError == o.GuestsError && maps.Equal(s.Guests, o.Guests) &&
		maps.Equal(s.BadFiles, o.BadFiles) && maps.Equal(s.Deaf, o.Deaf) && maps.Equal(s.Devices, o.Devices) &&
		slices.Equal(s.Addresses, o.Addresses) && maps.EqualFunc(s.Routes, o.Routes, sameRoute) &&
		slices.EqualFunc(s.Bridges, o.Bridges, func(a, b Bridge) bool {
			return a.FlowsError == b.FlowsError && slices.EqualFunc(a.Flows, b.Flows, sameFlow) && slices.EqualFunc(a.Meters, b.Meters, sameMeter)
		})
}
