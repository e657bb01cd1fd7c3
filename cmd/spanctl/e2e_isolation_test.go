package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"spanctl/ovs/ovstest"
)

// The isolation rule (e2e_isolation_*_test.go): whatever happens to a tap bridge, no frame from the audit side reaches
// production, and no frame of one production bridge the other.

// An enclosure is a site with two production bridges, each with two guests, an uplink and the host, an audit guest, and a
// collector behind br-ext, on which another guest is. All its production ports are watched all the time.
type enclosure struct {
	*site
	audit, sensor, beside *ovstest.Guest
	halves                []*half
	sniffers              []*sniffer
	headers               map[string][]byte // of what the sensor sends into tunnels, by kind
	port                  uint16            // of the last flow
	sending               sync.Mutex        // held while all send
	muted                 bool              // the audit guest
	hostless              bool              // the host's own ports may not be there
	passages              []passage
}

// A half is one production bridge.
type half struct {
	bridge   string
	x, y, up *ovstest.Guest
	host     *ovstest.HostPort
}

// A sniffer is a capture at one production port.
type sniffer struct {
	bridge, port string
	guest        *ovstest.Guest // nil at the host's port
	*ovstest.Capture
	seen int // frames that are judged
}

// alien marks what comes from the audit side; frames of production are marked by their bridge.
const alien = "alien"

// newEnclosure is an enclosure whose audit guest is at home on the bridge, which is made if need be.
func newEnclosure(t *testing.T, home string) *enclosure {
	t.Helper()
	e := &enclosure{site: newSite(t), headers: map[string][]byte{}}
	bridges := []string{"br1"}
	if home != "br0" {
		bridges = append(bridges, home)
	}
	e.check(e.lab.AddBridge(e.ctx, bridges...))
	for i, names := range [][]string{{"a", "b", "up0"}, {"c", "d", "up1"}} {
		h := &half{bridge: fmt.Sprintf("br%d", i)}
		h.x = e.add(ovstest.GuestConfig{Name: names[0], Bridge: h.bridge})
		h.y = e.add(ovstest.GuestConfig{Name: names[1], Bridge: h.bridge})
		up, err := e.lab.AddUplink(e.ctx, ovstest.GuestConfig{Name: names[2], Bridge: h.bridge, ExternalIDs: map[string]string{"spanctl-role": "uplink"}})
		e.check(err)
		h.up = up
		h.host, err = e.lab.HostIP(e.ctx, h.bridge, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(100 + i), 1}), 24))
		e.check(err)
		e.halves = append(e.halves, h)
	}
	e.audit = e.add(ovstest.GuestConfig{Name: "audit", Bridge: home})
	sensor, err := e.lab.AddCollector(e.ctx, ovstest.CollectorConfig{Name: "sensor", MTU: 1600})
	e.check(err)
	e.sensor = sensor
	e.beside = e.add(ovstest.GuestConfig{Name: "beside", Bridge: "br-ext", MTU: 1600})
	for _, h := range e.halves {
		e.greet(h.x, h.y, h.up, h.host)
	}
	for _, h := range e.halves {
		e.sniff(h)
	}
	e.sniffers = append(e.sniffers, &sniffer{bridge: "br-ext", port: e.beside.Port(), guest: e.beside, Capture: e.capture(e.beside)})
	e.sniffHosts()
	return e
}

// sniff watches what a half's guests and uplink receive.
func (e *enclosure) sniff(h *half) {
	e.Helper()
	for _, g := range []*ovstest.Guest{h.x, h.y, h.up} {
		e.sniffers = append(e.sniffers, &sniffer{bridge: h.bridge, port: g.Port(), guest: g, Capture: e.capture(g)})
	}
}

// sniffHosts watches the host's own ports, which are new devices after a restart of ovs-vswitchd.
func (e *enclosure) sniffHosts() {
	e.Helper()
	for _, bridge := range []string{"br0", "br1", "br-ext"} {
		c, err := e.lab.CapturePort(e.ctx, bridge)
		e.check(err)
		e.Cleanup(func() { _ = c.Close() })
		e.sniffers = append(e.sniffers, &sniffer{bridge: bridge, port: bridge, Capture: c})
	}
}

// watching is a session that copies everything on both production bridges to the audit guest and by tunnels.
func (e *enclosure) watching(kinds ...string) string {
	destinations := "{vm: audit}"
	for _, kind := range kinds {
		destinations += fmt.Sprintf(", {%s: {remote: %s, %s}}", kind, e.sensor.Addr(), map[string]string{"erspan": "session: 100", "gre": "key: 7"}[kind])
	}
	return fmt.Sprintf(`
  audit:
    sources: [{role: all, bridge: "br[01]"}]
    destinations: [%s]
`, destinations)
}

// wantIsolated wants that nothing has come where it should not since the last time, once all that was sent has arrived,
// and that ovs-vswitchd has seen no loop.
func (e *enclosure) wantIsolated(when string) {
	e.Helper()
	strays := e.strays()
	for _, s := range strays[:min(len(strays), 5)] {
		e.Errorf("%s, %d leaks: %s", when, len(strays), s)
	}
	log, err := e.lab.VSwitchdLog()
	e.check(err)
	for line := range strings.Lines(log) {
		if strings.Contains(line, "translation depth") || strings.Contains(line, "loop") {
			e.Errorf("%s: ovs-vswitchd says %s", when, line)
		}
	}
}

// strays are the frames that have come where they should not since the last time.
func (e *enclosure) strays() []string {
	e.Helper()
	for _, s := range e.sniffers {
		if s.guest != nil && s.bridge != "br-ext" {
			e.check(s.Fence(e.ctx, e.neighbour(s.guest), s.guest))
		}
	}
	var list []string
	for _, s := range e.sniffers {
		frames := s.Frames()
		for _, f := range frames[s.seen:] {
			if from := e.stray(s, f.Data); from != "" {
				list = append(list, fmt.Sprintf("at port %s of bridge %s there is from %s: %s", s.port, s.bridge, from, ovstest.Describe(f.Data)))
			}
		}
		s.seen = len(frames)
		if s.guest != nil { // the device of a host's port may have gone
			e.check(s.Err())
		}
	}
	return list
}

// neighbour is another production guest of the same bridge.
func (e *enclosure) neighbour(g *ovstest.Guest) *ovstest.Guest {
	for _, h := range e.halves {
		if h.bridge == g.Bridge() && h.x != g {
			return h.x
		}
		if h.bridge == g.Bridge() {
			return h.y
		}
	}
	return nil
}

// stray says where a frame comes from that should not be where it is. Tunnels' own packets may be on br-ext.
func (e *enclosure) stray(s *sniffer, frame []byte) string {
	const ethernet, ipProtocol, gre = 14, 23, 47
	if s.bridge == "br-ext" && len(frame) > ethernet+20 && frame[12] == 8 && frame[13] == 0 && frame[ipProtocol] == gre {
		return ""
	}
	for _, mark := range []string{alien, "br0", "br1"} {
		if mark != s.bridge && bytes.Contains(frame, []byte("<"+mark+"/")) {
			return mark
		}
	}
	return ""
}
