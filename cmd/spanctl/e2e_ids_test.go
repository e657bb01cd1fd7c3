package main

import (
	"fmt"
	"testing"

	"spanctl/ovs/ovstest"
)

// TestE2EARealIDSIsFedByERSPANAlone has Suricata, in the collector's namespace,
// raise an alert for traffic between two guests on one bridge.
func TestE2EARealIDSIsFedByERSPANAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b")
	a, b, sensor := s.guests["a"], s.guests["b"], s.collector("sensor")
	suricata, err := sensor.StartSuricata(s.ctx, `alert icmp any any -> any any (msg:"guests ping"; itype:8; sid:1;)`+"\n")
	s.check(err)
	s.apply(fmt.Sprintf("  ids: {sources: [{role: guest, bridge: br0}], destinations: [{erspan: {remote: %s, session: 7}}]}\n", sensor.Addr()))
	s.send(a, ovstest.Ping(a, b, 1, 1, ovstest.Payload("ping")))
	alert, err := suricata.WaitAlert(s.ctx, nil)
	s.check(err)
	if alert.SrcIP != a.Addr() || alert.DestIP != b.Addr() || alert.Tunnel == nil || alert.Tunnel.DestIP != sensor.Addr() {
		s.Errorf("the alert is %v", alert)
	}
	// And nothing more, once the session is over.
	s.want(exitOK, "delete", "--all")
	s.settle()
	atSensor := s.capture(sensor)
	s.send(a, ovstest.Ping(a, b, 1, 2, ovstest.Payload("ping")))
	s.exchange(a, b, 1)
	s.check(suricata.Close())
	if alerts, err := suricata.Alerts(); err != nil || len(alerts) != 1 || len(atSensor.Frames()) != 0 {
		s.Errorf("%d alerts (%v), %d frames after the end", len(alerts), err, len(atSensor.Frames()))
	}
}
