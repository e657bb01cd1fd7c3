package main

import (
	"fmt"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A oneSite is a host of OpenNebula's. Its ovswitch driver (one, src/vnm_mad/remotes/ovswitch/OpenvSwitch.rb) has libvirt
// plug a NIC as one-VM-NIC, sets its Port's tag, or its trunks beside that, and gives it rules that end in NORMAL.
type oneSite struct {
	*site
	vlans map[string]int // of access ports
}

func newOneSite(t *testing.T) *oneSite {
	t.Helper()
	s := &oneSite{newSite(t), map[string]int{"one-1-0": 10, "one-2-0": 10, "one-4-0": 20, "one-5-0": 20}}
	s.check(s.lab.AddBridge(s.ctx, "onebr0"))
	up, err := s.lab.AddUplink(s.ctx, ovstest.GuestConfig{Name: "up", Bridge: "onebr0", ExternalIDs: map[string]string{"spanctl-role": "uplink"}}) // PHYDEV, a veth here
	s.check(err)
	s.guests["up"] = up
	for i, nic := range []string{"one-1-0", "one-2-0", "one-3-0", "one-4-0", "one-5-0"} {
		cfg := ovstest.GuestConfig{Name: nic, Bridge: "onebr0", Port: nic, ExternalIDs: map[string]string{
			"vm-id":        fmt.Sprintf("0e1f7c9a-0000-4000-8000-%012d", i+1),
			"iface-id":     fmt.Sprintf("9b2d4a6c-0000-4000-8000-%012d", i+1),
			"attached-mac": fmt.Sprintf("02:00:0a:09:00:%02x", i+1), "iface-status": "active",
		}}
		s.add(cfg)
		if vlan := s.vlans[nic]; vlan != 0 {
			s.vsctl("set", "Port", nic, fmt.Sprintf("tag=%d", vlan))
		} else { // VLAN_ID and VLAN_TAGGED_ID
			s.vsctl("set", "Port", nic, "tag=30", "--", "set", "Port", nic, "trunks=10,20", "--", "set", "Port", nic, "vlan_mode=native-untagged")
		}
		port, err := s.lab.OFPort(s.ctx, nic)
		s.check(err)
		s.ofctl("onebr0", "add-flow", fmt.Sprintf("table=0,in_port=%d,priority=100,actions=note:00.00.00.%02x.00.00,resubmit(,10)", port, i+1))
		s.ofctl("onebr0", "add-flow", fmt.Sprintf("table=10,in_port=%d,priority=100,actions=resubmit(,20)", port))
		s.ofctl("onebr0", "add-flow", fmt.Sprintf("table=20,in_port=%d,priority=100,actions=normal", port))
	}
	return s
}

// talk sends frames between two NICs in a VLAN, both ways, each of which arrives. It returns them without a tag.
func (s *oneSite) talk(from, to string, vlan int) (sent [][]byte) {
	s.Helper()
	for range 3 {
		for _, way := range [][2]string{{from, to}, {to, from}} {
			a, b := s.guests[way[0]], s.guests[way[1]]
			payload := ovstest.Payload(way[0])
			frame := ovstest.UDP(a, b, 1000, 2000, payload)
			atB := s.capture(b)
			if s.vlans[way[0]] == vlan {
				s.send(a, frame)
			} else {
				s.send(a, ovstest.Tagged(frame, uint16(vlan)))
			}
			s.check(atB.WaitPayload(s.ctx, payload, 1))
			s.check(atB.Close())
			sent = append(sent, frame)
		}
	}
	return sent
}

// OpenNebula's request of mirrors (one, issue 7638) as a checklist: from vNICs, from VLANs, and from vNICs and VLANs, by
// ERSPAN type II and RSPAN. Open vSwitch sends no ERSPAN type I, which is said, with the way that there is
// (TestE2EKernelDevicesAreDestinations), and what stands goes on.
func TestE2EOpenNebulaPortMirroring(t *testing.T) {
	t.Parallel()
	s := newOneSite(t)
	sensor, up := s.collector("sensor"), s.guests["up"]
	beside := s.add(ovstest.GuestConfig{Name: "beside", Bridge: "br-ext", MTU: 1600})
	conversations := []struct {
		from, to string
		vlan     int
	}{{"one-1-0", "one-2-0", 10}, {"one-1-0", "one-3-0", 10}, {"one-3-0", "one-4-0", 20}, {"one-4-0", "one-5-0", 20}}
	s.send(up, ovstest.Tagged(udp(up, ovstest.Broadcast), 10))
	for _, c := range conversations {
		s.talk(c.from, c.to, c.vlan) // what follows is not flooded
	}
	bare, _ := s.ours()
	session := func(name, sources, destination string) string {
		return fmt.Sprintf("  %s: {sources: [%s], destinations: [%s]}\n", name, sources, destination)
	}
	typeII := fmt.Sprintf("{erspan: {remote: %s, session: 100, type: II}}", sensor.Addr())
	// wantCopied wants copies of some of the conversations, tagged as on the bridge by ERSPAN, and as RSPAN tags them at
	// the physical device.
	wantCopied := func(s *oneSite, copied string) {
		s.Helper()
		s.settle()
		atSensor, atUp := s.capture(sensor), s.capture(up)
		var byERSPAN, byRSPAN [][]byte
		for i, c := range conversations {
			for _, frame := range s.talk(c.from, c.to, c.vlan) {
				if copied[i] == 'y' {
					byERSPAN, byRSPAN = append(byERSPAN, ovstest.Tagged(frame, uint16(c.vlan))), append(byRSPAN, ovstest.Tagged(frame, 999))
				}
			}
		}
		s.check(atSensor.FenceFrame(s.ctx, beside, func(payload []byte) []byte {
			return ovstest.Raw(beside, sensor.HardwareAddr(), 0x88b5, payload) // no tunnel's packet
		}))
		s.check(atUp.Fence(s.ctx, s.guests["one-1-0"], up))
		s.wantTunnels(atSensor, []string{"erspan II session 100 index 0"}, byERSPAN...)
		s.wantExactly(atUp, byRSPAN...)
	}
	last := ""
	for _, origin := range []struct{ name, sources, copied string }{ // y for each of the conversations that is
		{"vNIC", "{interface: one-1-0}", "yynn"},
		{"vNICs", "{interface: one-1-0}, {interface: one-5-0}", "yyny"},
		{"VLAN", "{role: all, bridge: onebr0, vlans: [20]}", "nnyy"},
		{"VLANs", "{role: all, bridge: onebr0, vlans: [10, 20]}", "yyyy"},
		{"vNIC in a VLAN", "{interface: one-3-0, vlans: [20]}", "nnyn"},
		{"vNIC and VLAN", "{interface: one-2-0}, {role: all, bridge: onebr0, vlans: [20]}", "ynyy"},
	} {
		s.sub(origin.name, func(part *site) {
			s := &oneSite{part, s.vlans}
			s.apply(session("remote", origin.sources, typeII) + session("rspan", origin.sources, "{vlan: 999}"))
			wantCopied(s, origin.copied)
		})
		last = origin.copied
	}
	typeI := s.policy(session("remote", "{interface: one-1-0}", strings.Replace(strings.Replace(typeII, "type: II", "type: I", 1), ", session: 100", "", 1)))
	for _, command := range []string{"plan", "apply"} {
		if code, _, stderr := s.spanctl(command, "-f", typeI); code != exitRefused ||
			!strings.Contains(stderr, `session "remote": destinations[0].erspan.type: Open vSwitch sends no ERSPAN type I; use type II or III; or have the kernel send it, by a device of type erspan with erspan_ver 0`) {
			s.Errorf("%s exits %d and says %s", command, code, stderr)
		}
	}
	if code, _, stderr := s.spanctl("validate", "-f", s.policy(session("remote", "{interface: one-1-0}", strings.Replace(typeII, "type: II", "type: I", 1)))); code != exitInvalid ||
		!strings.Contains(stderr, "ERSPAN type I carries no session") || !strings.Contains(stderr, "use type: II") {
		s.Errorf("validate exits %d and says %s", code, stderr)
	}
	wantCopied(s, last)
	s.want(exitOK, "delete", "--all")
	s.wantBare(bare)
}
