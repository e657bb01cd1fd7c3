package main

import (
	"fmt"
	"testing"

	"spanctl/ovs/ovstest"
)

// A port that is lent to a tap bridge may have another number there, and has its own again at home: which NIC of the
// guest is which stays as it was.
func TestE2EHubBorrowedPortsKeepTheirNumbers(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	sensor := s.collector("sensor")
	for i := range 3 { // on both bridges, the same numbers on each
		s.add(ovstest.GuestConfig{Name: fmt.Sprintf("x%d", i), Bridge: "br1", ExternalIDs: map[string]string{"vm-id": "other"}})
		s.add(ovstest.GuestConfig{Name: fmt.Sprintf("n%d", i), ExternalIDs: map[string]string{"vm-id": "nics"}})
	}
	before := s.database()
	for i := range 4 { // each with a tap bridge and tunnels of its own
		nic := i % 3
		s.apply(fmt.Sprintf(`
  audit:
    sources: [{vm: '[abcd]'}]
    destinations:
      - {vm: nics, nic: %[1]d}
      - {vm: other, nic: %[1]d}
      - erspan: {remote: %[2]s, session: %[3]d}
      - gre: {remote: %[2]s, key: %[3]d}
`, nic, sensor.Addr(), i))
		s.wantNoChanges()
		s.settle()
		atNIC := s.capture(s.guests[fmt.Sprintf("n%d", nic)])
		sent := s.exchange(s.guests["a"], s.guests["b"], 3)
		s.check(atNIC.Fence(s.ctx, s.guests["a"], s.guests["b"]))
		s.wantExactly(atNIC, frames(sent, s.guests["a"], s.guests["b"])...)
		if i%2 == 1 { // or straight on to the next tap bridge
			s.want(exitOK, "delete", "--all")
			s.wantSame("after delete", before, s.database(), ofItself, configuration)
		}
	}
}

// Physical NICs and bonds that are dedicated are borrowed like guests' ports, and uplinks again afterwards. (A bond's
// members may have other numbers then.)
func TestE2EHubBorrowsUplinks(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	sensor, up, x, y := s.collector("sensor"), s.uplink("up"), s.uplink("x"), s.uplink("y")
	s.vsctl("--", "del-port", x.Port(), "--", "del-port", y.Port(), "--", "add-bond", "br1", "bond0", x.Port(), y.Port(),
		"bond_mode=active-backup", "other_config:bond-primary="+x.Port())
	before := s.database()
	s.apply(fmt.Sprintf(`
  audit:
    sources: [{vm: "[abcd]"}]
    destinations:
      - {interface: eth-up, dedicated: true}
      - {interface: bond0, dedicated: true}
      - {erspan: {remote: %s, session: 100}}
`, sensor.Addr()))
	s.settle()
	atUp, atX, atY, atSensor := s.capture(up), s.capture(x), s.capture(y), s.capture(sensor)
	a, b, c, d := s.guests["a"], s.guests["b"], s.guests["c"], s.guests["d"]
	want := frames(append(s.exchange(a, b, 5), s.exchange(c, d, 5)...), a, b, c, d)
	for _, at := range []*ovstest.Capture{atUp, atX, atSensor} {
		s.check(at.Fence(s.ctx, a, b))
	}
	s.wantExactly(atUp, want...)
	s.wantExactly(atX, want...)
	s.wantExactly(atY)
	s.wantTunnels(atSensor, []string{"erspan II session 100 index 0"}, want...)
	s.wantNoChanges()
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", before, s.database(), ofItself, configuration, []string{"ofport"})
	s.exchange(a, up, 2)
	s.exchange(c, x, 2)
}
