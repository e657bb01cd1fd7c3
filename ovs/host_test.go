package ovs_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// TestLookAtHost follows routes in ovs-vswitchd's network namespace, which is
// not the test's, down to the devices that carry them.
func TestLookAtHost(t *testing.T) {
	t.Parallel()
	lab, err := ovstest.Start(within(t, patience), ovstest.Config{Name: t.Name()})
	check(t, err)
	t.Cleanup(func() { check(t, lab.Close()) })
	_, err = lab.HostIP(within(t, patience), "br0", netip.MustParsePrefix("192.0.2.1/24"))
	check(t, err)
	ip := func(args string) {
		t.Helper()
		tool(t, "nsenter", append([]string{"-t", strconv.Itoa(lab.PID()), "-n", "ip"}, strings.Fields(args)...)...)
	}
	// A pair of devices whose far end is a port of a switch, a Linux bridge with
	// a port, and a route with an MTU of its own.
	ip("link add near mtu 1400 type veth peer name far")
	ip("addr add 198.51.100.1/24 dev near")
	ip("link set near up")
	ip("link set far up")
	ip("link add lan type bridge")
	ip("link add member type veth peer name away")
	ip("link set member master lan up")
	ip("link set lan up")
	ip("addr add 203.0.113.1/24 dev lan")
	ip("route add 10.0.0.0/8 via 192.0.2.9 mtu 1300")
	conn := dial(t, lab.DB)
	snap := observe(t, conn)
	remotes := []netip.Addr{
		netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("10.1.1.1"),
		netip.MustParseAddr("172.31.0.1"), netip.MustParseAddr("2001:db8::1"),
	}
	conn.LookAtHost(within(t, patience), snap, intentFor(t, remotes))
	for i, want := range []plan.Route{
		{Devices: []string{"br0"}, MTU: 1500},
		{Devices: []string{"near", "far"}, MTU: 1400},
		{Devices: []string{"lan", "member", "away"}, MTU: 1500},
		{Devices: []string{"br0"}, MTU: 1300},
	} {
		got := snap.Routes[remotes[i]]
		if got.MTU != want.MTU || !slices.Equal(slices.Sorted(slices.Values(got.Devices)), slices.Sorted(slices.Values(want.Devices))) || got.Devices[0] != want.Devices[0] {
			t.Errorf("route to %s is %v, want %v", remotes[i], got, want)
		}
	}
	for _, remote := range remotes[4:] { // there is no route
		if route, known := snap.Routes[remote]; !known || len(route.Devices) > 0 {
			t.Errorf("route to %s is %v, known %v", remote, route, known)
		}
	}
	if !snap.Local || !slices.Contains(snap.Addresses, netip.MustParseAddr("198.51.100.1")) || slices.Contains(snap.Addresses, remotes[0]) {
		t.Errorf("addresses are %v", snap.Addresses)
	}
	// Without ovs-vswitchd nothing is known, and that is no error.
	lab.KillVSwitchd()
	snap = observe(t, conn)
	if conn.LookAtHost(within(t, patience), snap, intentFor(t, remotes)); snap.Routes != nil {
		t.Errorf("routes without ovs-vswitchd: %v", snap.Routes)
	}
}

// intentFor is an intent with a tunnel to each of the addresses.
func intentFor(t *testing.T, remotes []netip.Addr) plan.Intent {
	t.Helper()
	intent := plan.Intent{}
	for i, remote := range remotes {
		sessions := parse(t, fmt.Sprintf("s%d: {sources: [{role: all}], destinations: [{gre: {remote: %q}}]}", i, remote))
		for name, session := range sessions {
			check(t, intent.Put(name, session))
		}
	}
	return intent
}
