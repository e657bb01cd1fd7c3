//go:build vm

package main

import (
	"bytes"
	"net/netip"
	"testing"

	"spanctl/ovs/ovstest"
)

// Of a Linux bridge that filters VLANs each port, and the host, is in the same VLANs after the migration, tag by tag, and again
// after going back. (This machine's own kernel may have no VLANs.)
func TestE2EKernelBridgeVLANs(t *testing.T) {
	t.Parallel()
	names := []string{"access", "same", "other", "trunk", "native"}
	s := newBridgeSite(t, names...)
	s.host("sh", "-e", "-c", `
ip link set dev br0 type bridge vlan_filtering 1
bridge vlan add dev vif-access vid 10 pvid untagged
bridge vlan add dev vif-same vid 10 pvid untagged
bridge vlan add dev vif-other vid 20 pvid untagged
bridge vlan add dev vif-trunk vid 10
bridge vlan add dev vif-trunk vid 20
bridge vlan add dev vif-native vid 10 pvid untagged
bridge vlan add dev vif-native vid 20
bridge vlan add dev vif-native vid 30-32
bridge vlan add dev br0 vid 20 pvid untagged self
for port in access same other trunk native; do bridge vlan del dev vif-$port vid 1; done
bridge vlan del dev br0 vid 1 self
`)
	before, vlans := s.linuxBridge(), s.host("bridge", "vlan", "show")
	s.wantReaches()
	p := s.migrate()
	s.wantReaches()
	s.bridgeWant(exitOK, "confirm", "br0")
	s.wantExit(p, exitOK)
	s.bridgeWant(exitOK, "revert", "br0")
	s.wantReaches()
	s.wantSameText("the bridge", before, s.linuxBridge())
	s.wantSameText("its VLANs", vlans, s.host("bridge", "vlan", "show"))
}

// wantReaches has guests send frames to all, and wants each where its VLAN is and nowhere else, with the tag that the port
// gives it.
func (s *bridgeSite) wantReaches() {
	s.Helper()
	captures, want := map[string]*ovstest.Capture{}, map[string][][]byte{}
	for name, g := range s.guests {
		captures[name] = s.capture(g)
	}
	to := ovstest.Station{MAC: ovstest.Broadcast.HardwareAddr(), IP: netip.MustParseAddr("10.9.0.99")} // who answers nothing
	for _, c := range []struct {
		from string
		tags []uint16
		to   map[string][]uint16 // the tags with which it arrives
	}{
		{"access", nil, map[string][]uint16{"same": nil, "trunk": {10}, "native": nil}},
		{"other", nil, map[string][]uint16{"trunk": {20}, "native": {20}}},
		{"trunk", []uint16{10}, map[string][]uint16{"access": nil, "same": nil, "native": nil}},
		{"trunk", []uint16{20}, map[string][]uint16{"other": nil, "native": {20}}},
		{"trunk", nil, nil},
		{"native", nil, map[string][]uint16{"access": nil, "same": nil, "trunk": {10}}},
		{"native", []uint16{20}, map[string][]uint16{"other": nil, "trunk": {20}}},
		{"native", []uint16{40}, nil},
	} {
		payload := ovstest.Payload(c.from)
		frame := ovstest.UDP(s.guests[c.from], to, 9, 9, payload)
		s.send(s.guests[c.from], ovstest.Tagged(frame, c.tags...))
		for name, tags := range c.to {
			s.check(captures[name].WaitPayload(s.ctx, payload, 1))
			want[name] = append(want[name], ovstest.Tagged(frame, tags...))
		}
	}
	for name, from := range map[string]string{"access": "same", "same": "access", "other": "native", "trunk": "native", "native": "trunk"} {
		fence := func(payload []byte) []byte {
			frame := ovstest.UDP(s.guests[from], to, 9, 9, payload)
			if from == "native" || from == "trunk" {
				frame = ovstest.Tagged(frame, 20)
			}
			return frame
		}
		s.check(captures[name].FenceFrame(s.ctx, s.guests[from], fence))
	}
	for name, capture := range captures {
		var got [][]byte
		for _, f := range capture.Frames() {
			if bytes.Contains(f.Data, []byte("<")) { // the guests say nothing else that matters
				got = append(got, f.Data)
			}
		}
		s.wantFrames("guest "+name+": ", got, want[name])
		s.check(capture.Close())
	}
}
