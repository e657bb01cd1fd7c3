package ovstest_test

import (
	"net/netip"
	"testing"

	"spanctl/ovs/ovstest"
)

func TestDescribe(t *testing.T) {
	a := ovstest.Station{MAC: []byte{2, 0, 0, 0, 0, 1}, IP: netip.MustParseAddr("10.9.0.1")}
	b := ovstest.Station{MAC: []byte{2, 0, 0, 0, 0, 2}, IP: netip.MustParseAddr("10.9.0.2")}
	a6 := ovstest.Station{MAC: a.MAC, IP: netip.MustParseAddr("fd00::1")}
	b6 := ovstest.Station{MAC: b.MAC, IP: netip.MustParseAddr("fd00::2")}
	udp := ovstest.UDP(a, b, 43210, 80, []byte("x"))
	for want, frame := range map[string][]byte{
		"10.9.0.1 > 10.9.0.2 UDP 43210 > 80 len 60":                       udp,
		"vlan 10 10.9.0.1 > 10.9.0.2 UDP 43210 > 80 len 64":               ovstest.Tagged(udp, 10),
		"vlan 10 vlan 20 10.9.0.1 > 10.9.0.2 UDP 43210 > 80 len 68":       ovstest.QinQ(udp, 10, 20),
		"fd00::1 > fd00::2 UDP 1 > 2 len 63":                              ovstest.UDP(a6, b6, 1, 2, []byte("x")),
		"10.9.0.1 > 10.9.0.2 ICMP echo request id 1 seq 2 len 60":         ovstest.Ping(a, b, 1, 2, []byte("x")),
		"ARP who-has 10.9.0.2 tell 10.9.0.1 len 60":                       ovstest.ARP(a, b),
		"02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x9999 len 15":        ovstest.Raw(a, b.MAC, 0x9999, []byte("x")),
		"vlan 7 02:00:00:00:00:01 > 02:00:00:00:00:02 type 0x9999 len 19": ovstest.Tagged(ovstest.Raw(a, b.MAC, 0x9999, []byte("x")), 7),
		"malformed len 3": {1, 2, 3},
	} {
		if got := ovstest.Describe(frame); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	a := ovstest.Station{MAC: []byte{2, 0, 0, 0, 0, 1}, IP: netip.MustParseAddr("10.9.0.1")}
	f.Add(ovstest.QinQ(ovstest.UDP(a, a, 4789, 4789, []byte("0123456789")), 1, 2))
	f.Add(ovstest.ARP(a, a))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if ovstest.Describe(frame) == "" {
			t.Error("nothing")
		}
	})
}
