package main

import (
	"bytes"
	"fmt"
	"testing"

	"spanctl/ovs/ovstest"
)

// Each destination has its copies cut, whatever its port, and before a tunnel wraps them, without what is excluded; and nobody
// else his packets. (Linux itself drops tagged frames of less than 20 bytes, skb_vlan_untag.)
func TestE2EFlowSnaplenCutsAtEveryDestination(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	a, b, sensor := s.guests["a"], s.guests["b"], s.collector("sensor")
	s.add(ovstest.GuestConfig{Name: "second", Bridge: "br1", Tag: 10})
	s.add(ovstest.GuestConfig{Name: "third", Tag: 20, PortColumns: []string{"vlan_mode=dot1q-tunnel"}})
	before := s.database()
	const session = `
  audit:
    sources: [{vm: "[abcd]", direction: from}]
    %s
    destinations: [{vm: audit}, {gre: {remote: %[2]s, key: 7}}, {vm: second}, {vm: third}, {erspan: {remote: %[2]s, session: 100}}]
    snaplen: %d
    strip_vlan: %v
`
	marker := func(payload []byte) []byte { return ovstest.Raw(a, b.HardwareAddr(), 0x88b5, payload) }
	for _, c := range []struct {
		snaplen int
		strip   bool
	}{{64, false}, {20, false}, {20, true}, {1000, true}, {65535, false}} {
		s.apply(fmt.Sprintf(session, replication, sensor.Addr(), c.snaplen, c.strip))
		s.settle()
		captures := map[string]*ovstest.Capture{}
		for _, name := range []string{"audit", "second", "third", "sensor"} {
			captures[name] = s.capture(s.guests[name])
		}
		atB := s.capture(b)
		var sent, want [][]byte
		for _, length := range []int{60, 63, 64, 65, 200, 999, 1000, 1001, 1506} {
			frame := ovstest.UDP(a, b, 1000, 2000, append(ovstest.Payload("cut"), make([]byte, length)...)[:length-42])
			out := tcpOf(quiet(a), quiet(b), 1000, 7788, append(ovstest.Payload("out"), make([]byte, length)...)[:length-54])
			sent = append(sent, frame, ovstest.Tagged(frame, 10), ovstest.QinQ(frame, 10, 20), out, ovstest.Tagged(out, 10))
			copies := [][]byte{frame, ovstest.Tagged(frame, 10), ovstest.QinQ(frame, 10, 20)}
			if c.strip {
				copies = [][]byte{frame, frame, ovstest.Tagged(frame, 20)}
			}
			for _, whole := range copies {
				want = append(want, s.cut(whole, c.snaplen))
			}
		}
		s.send(a, sent...)
		s.check(atB.FenceFrame(s.ctx, a, marker))
		s.wantExactly(atB, sent...) // production is not cut
		for name, at := range captures {
			places, ways := map[string][][]byte{}, map[bool]int{false: 1, true: 2}[name == "sensor"]
			s.check(at.Wait(s.ctx, func(frames []ovstest.Frame) bool {
				clear(places)
				marks := 0
				for _, f := range frames {
					place, frame := name, f.Data
					if a, ok := decode(f.Data); ok && name == "sensor" {
						place, frame = a.tunnel, a.inner
					}
					if bytes.Equal(frame[12:14], marker(nil)[12:]) { // cut or not
						marks++
					} else {
						places[place] = append(places[place], frame)
					}
				}
				return marks >= 3*ways
			}))
			for place, got := range places {
				s.wantFrames(fmt.Sprintf("%+v, %s: ", c, place), got, s.sendable(place, want))
			}
			if len(places) != ways {
				t.Errorf("%+v: copies came to %s by %d ways of %d", c, name, len(places), ways)
			}
		}
		s.wantNoChanges()
	}
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", before, s.database(), ofItself, configuration)
}

// The rules' copies too keep the tags they had, or lose the outermost, of 802.1p and 802.1ad as well.
func TestE2EFlowTagsAreThoseAskedFor(t *testing.T) {
	t.Parallel()
	newHubSite(t).wantTagsAskedFor(replication+",", func(from, to ovstest.Endpoint) (sent, strippedOnce [][]byte) {
		sent, strippedOnce = tagKinds(from, to)
		frame := udp(from, to)
		return append(sent, ovstest.Tagged(frame, 5<<13), ovstest.QinQ(frame, 10)), append(strippedOnce, frame, frame)
	})
}
