package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// Whatever ports the audit guests have, all of them in one session with tunnels: copies keep the tags they had, or lose
// the outermost. Each port gets its mode and its bridge back.
func TestE2EHubPortsOfEveryVLANModeHaveTheTagsAskedFor(t *testing.T) {
	t.Parallel()
	newHubSite(t).wantTagsAskedFor("", tagKinds)
}

// wantTagsAskedFor has copies come to ports of every VLAN mode and by tunnels, and wants them with the tags of the frames
// that kinds makes, or without the outermost, and production whole. The session has the keys of more.
func (s *site) wantTagsAskedFor(more string, kinds func(from, to ovstest.Endpoint) (sent, strippedOnce [][]byte)) {
	s.Helper()
	sensor := s.collector("sensor")
	destinations := []string{fmt.Sprintf("{erspan: {remote: %s, session: 100}}", sensor.Addr()), fmt.Sprintf("{vxlan: {remote: %s, vni: 7}}", sensor.Addr())}
	for i, port := range auditPorts {
		port.Bridge = fmt.Sprintf("br%d", i%2)
		s.add(port)
		destinations = append(destinations, "{vm: "+port.Name+"}")
	}
	before := s.database()
	for _, strip := range []bool{false, true, false} {
		s.apply(fmt.Sprintf("  audit: {sources: [{vm: '[abcd]', direction: from}], %s destinations: [%s], strip_vlan: %v}\n", more, strings.Join(destinations, ", "), strip))
		s.settle()
		captures := map[string]*ovstest.Capture{}
		for _, port := range auditPorts {
			captures[port.Name] = s.capture(s.guests[port.Name])
		}
		atSensor := s.capture(sensor)
		var want [][]byte
		for _, pair := range [][2]string{{"a", "b"}, {"d", "c"}} {
			from, to := s.guests[pair[0]], s.guests[pair[1]]
			sent, bare := kinds(from, to)
			atTo := s.capture(to)
			s.send(from, sent...)
			s.check(atTo.Fence(s.ctx, from, to))
			s.wantExactly(atTo, sent...)
			if strip {
				sent = bare
			}
			want = append(want, sent...)
		}
		for name, c := range captures {
			s.sub(fmt.Sprintf("%s, strip %v", name, strip), func(s *site) {
				s.check(c.Fence(s.ctx, s.guests["b"], s.guests["a"]))
				s.wantExactly(c, want...)
			})
		}
		s.check(atSensor.Fence(s.ctx, s.guests["b"], s.guests["a"]))
		s.wantTunnels(atSensor, []string{"erspan II session 100 index 0", "vxlan vni 7 port 4789"}, want...)
		s.wantNoChanges()
	}
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", before, s.database(), ofItself, configuration)
}

// Each local destination has its copies cut, and nobody else his packets.
func TestE2EHubSnaplenCutsAtEveryLocalDestination(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	second := s.add(ovstest.GuestConfig{Name: "second", Bridge: "br1", Tag: 10})
	const session = "  audit: {sources: [{vm: '[abcd]', direction: from}], destinations: [{vm: audit}, {vm: second}], snaplen: %d}\n"
	marker := func(payload []byte) []byte { return ovstest.Raw(a, b.HardwareAddr(), 0x88b5, payload) }
	marked := func(frame []byte) bool { return bytes.Equal(frame[12:14], marker(nil)[12:]) } // cut or not
	for _, snaplen := range []int{64, 20, 1000} {
		s.apply(fmt.Sprintf(session, snaplen))
		s.settle()
		captures := []*ovstest.Capture{s.capture(audit), s.capture(second)}
		atB := s.capture(b)
		var sent, want [][]byte
		for _, length := range []int{60, 63, 64, 65, 200, 999, 1000, 1001, 1506} {
			frame := ovstest.UDP(a, b, 1000, 2000, append(ovstest.Payload("cut"), make([]byte, length)...)[:length-42])
			sent = append(sent, frame, ovstest.Tagged(frame, 10), ovstest.QinQ(frame, 10, 20))
		}
		for _, frame := range sent {
			want = append(want, s.cut(frame, snaplen))
		}
		s.send(a, sent...)
		s.check(atB.FenceFrame(s.ctx, a, marker))
		s.wantExactly(atB, sent...) // production is not cut
		for _, c := range captures {
			var got [][]byte
			s.check(c.Wait(s.ctx, func(frames []ovstest.Frame) bool {
				got = nil
				for _, f := range frames {
					if !marked(f.Data) {
						got = append(got, f.Data)
					}
				}
				return len(frames)-len(got) >= 3
			}))
			s.wantFrames(fmt.Sprintf("cut to %d: ", snaplen), got, want)
		}
	}
}
