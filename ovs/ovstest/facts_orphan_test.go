package ovstest_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"spanctl/ovs/ovstest"
)

// orphan is a hub of two production bridges under which somebody has cleared mirrors.
type orphan struct {
	name    string
	bare    []string // ends of patches without the trunks that park them
	cleared []string // bridges without mirrors
	leaks   []string // kinds that come through where they should not
}

// Whatever mirrors are cleared under a hub (emer-reset does it), production stays what it was, and what destinations
// send, a collector through its tunnel too, reaches no guest. It takes both ends: with production's alone a frame
// tagged 4095 comes through, and without either the hub joins the bridges.
// (With the hub's own mirrors gone, what a destination sends reaches the other destinations.)
func TestOrphanedHubLeaksNothingToProduction(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{Bridges: []string{"br0", "br1"}})
	var guests []*ovstest.Guest // 0 and 1 on one bridge, 2 and 3 on the other
	for i, name := range []string{"a", "b", "c", "d"} {
		guests = append(guests, add(ctx, t, lab, ovstest.GuestConfig{Name: name, Bridge: []string{"br0", "br1"}[i/2]}))
	}
	remote := collector(ctx, t, lab, ovstest.CollectorConfig{Name: "r"})
	all := []string{"br0", "br1", "hub"}
	ends, others := []string{"in-br0", "in-br1"}, []string{"out-br0", "out-br1"}
	for _, o := range []orphan{
		{"whole", nil, nil, nil},
		{"no mirror on one source", nil, all[:1], nil},
		{"no mirror on the sources", nil, all[:2], nil},
		{"no mirror on the hub", nil, all[2:], nil},
		{"no mirror", nil, all, nil},
		{"no mirror, hub ends bare", ends, all, []string{tag4095}},
		{"no mirror, all ends bare", append(ends, others...), all, everyKind(guests[0], guests[1])},
	} {
		vsctl(ctx, t, lab, hubRows("hub", "br0", "br1")...)
		audit := add(ctx, t, lab, ovstest.GuestConfig{Name: "audit", Bridge: "hub"})
		vsctl(ctx, t, lab, slices.Concat(tunnelRows("hub", "gre1", "gre", remote, "key=7"), sourceRows("br0"), sourceRows("br1"),
			destinationRows("hub", audit.Port()), destinationRows("hub", "gre1"))...)
		atRemote := capture(ctx, t, remote)
		check(t, atRemote.Fence(ctx, guests[0], guests[1]))
		copied := atRemote.Frames()[0].Data // its headers turned around are what the collector sends back

		var args []string
		for _, b := range o.cleared {
			args = append(args, "--", "clear", "Bridge", b, "mirrors")
		}
		for _, p := range o.bare {
			args = append(args, "--", "clear", "Port", p, "trunks")
		}
		if args != nil {
			vsctl(ctx, t, lab, args...)
		}
		appctl(ctx, t, lab, "revalidator/purge")
		leaks := leaksOf(ctx, t, o, guests, audit, remote, turned(copied))
		got := map[string]bool{}
		for _, l := range leaks {
			got[l.kind] = true
		}
		if want := slices.Sorted(slices.Values(o.leaks)); !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
			t.Errorf("%s: %d leaks, %v first; want of the kinds %q", o.name, len(leaks), leaks[:min(len(leaks), 9)], want)
		}
		check(t, audit.Remove(ctx))
		vsctl(ctx, t, lab, goneRows("hub", "br0", "br1")...)
	}
}

// everyKind is all kinds that a bridge forwards and that fit into a tunnel.
func everyKind(a, b ovstest.Endpoint) []string {
	var list []string
	for kind, frame := range kinds(a, b, ovstest.Payload) {
		if !slices.Contains([]string{"BPDU", "pause", "LACP", "LLDP", "CDP"}, kind) && len(frame) < tunnelSpace {
			list = append(list, kind)
		}
	}
	return list
}

// tunnelSpace is the length of frames that fit into a GRE tunnel over a path of 1500 bytes.
const tunnelSpace = 1500 + 14 - greOuter

// leak is a frame where it should not be.
type leak struct{ from, kind, at string }

// leaksOf sends frames of every kind from production and from the destinations, and is what arrived at the wrong place:
// production's at guests of the other bridge and, once no mirror copies them, at destinations; those of
// destinations at any guest.
func leaksOf(
	ctx context.Context, t *testing.T, o orphan, guests []*ovstest.Guest, audit, remote *ovstest.Guest, back []byte,
) []leak {
	t.Helper()
	var at []*ovstest.Capture
	for _, g := range guests {
		at = append(at, capture(ctx, t, g))
	}
	atAudit, atRemote := capture(ctx, t, audit), capture(ctx, t, remote)
	payloads := map[leak][]byte{}
	send := func(from *ovstest.Guest, to ovstest.Endpoint, wrap func(frame []byte) []byte) {
		made := map[string][]byte{}
		for kind, frame := range kinds(from, to, func(kind string) []byte {
			made[kind] = ovstest.Payload(kind)
			return made[kind]
		}) {
			if len(frame) < tunnelSpace {
				check(t, from.Send(wrap(frame)))
				payloads[leak{from.Name(), kind, string(made[kind])}] = made[kind]
			}
		}
	}
	plain := func(frame []byte) []byte { return frame }
	for _, to := range guests[1:3] {
		send(audit, to, plain)
		send(remote, to, func(frame []byte) []byte { return tunnelled(back, frame) })
	}
	send(guests[0], guests[2], plain)
	for i, c := range at {
		check(t, c.Fence(ctx, guests[i^1], guests[i]))
	}

	var leaks []leak
	look := func(c *ovstest.Capture, g *ovstest.Guest, production bool) {
		for sent, payload := range payloads {
			if (sent.from == guests[0].Name()) == production && len(arrived(c, payload)) != 0 {
				leaks = append(leaks, leak{sent.from, sent.kind, g.Name()})
			}
		}
	}
	for i, c := range at {
		look(c, guests[i], false)
		if i > 1 {
			look(c, guests[i], true)
		}
	}
	if slices.Contains(o.cleared, "br0") {
		look(atAudit, audit, true)
		look(atRemote, remote, true)
	}
	return leaks
}

// turned is the tunnel headers of a frame with sender and receiver exchanged; the checksum stays right.
func turned(frame []byte) []byte {
	return slices.Concat(frame[6:12], frame[:6], frame[12:26], frame[30:34], frame[26:30], frame[34:greOuter])
}

// tunnelled is a frame behind such headers, with lengths and checksum made right.
func tunnelled(headers, frame []byte) []byte {
	out := slices.Concat(headers, frame)
	ip := out[14:34]
	length := len(out) - 14
	ip[2], ip[3], ip[10], ip[11] = byte(length>>8), byte(length), 0, 0
	sum := 0
	for i := 0; i < 20; i += 2 {
		sum += int(ip[i])<<8 | int(ip[i+1])
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	ip[10], ip[11] = byte(^sum>>8), byte(^sum)
	return out
}
