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
