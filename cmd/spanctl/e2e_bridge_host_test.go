package main

import (
	"fmt"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// furnish gives the host on br0, and the bridge, something of everything that a migration carries.
func (s *bridgeSite) furnish() {
	s.Helper()
	script := `
ip link set dev br0 address 02:aa:bb:cc:dd:01 mtu 1400 alias "to the world"
ip link set dev br0 type bridge ageing_time 6000 priority 4096 forward_delay 500 mcast_query_interval 3000
ip link set dev vif-a type bridge_slave isolated on cost 7 priority 9
ip link add name other type veth peer name rehto
ip address add 192.0.2.1/24 dev other
ip link set other up
ip link set rehto up
echo 2 >/proc/sys/net/ipv4/conf/br0/rp_filter
echo 1 >/proc/sys/net/ipv4/conf/br0/forwarding
echo 1 >/proc/sys/net/ipv4/conf/br0/proxy_arp
echo 77 >/proc/sys/net/ipv4/neigh/br0/gc_stale_time
echo 0 >/proc/sys/net/ipv6/conf/br0/disable_ipv6
echo 0 >/proc/sys/net/ipv6/conf/br0/accept_ra
echo 1 >/proc/sys/net/ipv6/conf/br0/accept_dad
ip address add 10.9.255.2/16 dev br0
ip address add 10.9.0.251/24 dev br0 label br0:1
ip address add 10.50.0.1/24 broadcast + dev br0 valid_lft 3600 preferred_lft 1800
ip address add 10.51.0.1 peer 10.51.0.2/32 dev br0 scope link
ip address add 10.52.0.1/24 dev br0 noprefixroute metric 50
ip -6 address add 2001:db8:1::1/64 dev br0 nodad
ip -6 address add 2001:db8:2::1/64 dev br0 nodad noprefixroute valid_lft 7200 preferred_lft 0
ip -6 address add fe80::77/64 dev br0 nodad
ip route add default via 10.9.255.254 dev br0 metric 100 mtu 1300 advmss 1200
ip route add 10.60.0.0/16 via 10.9.255.253 dev br0 src 10.9.255.2 proto static
ip route add 10.61.0.0/16 nexthop via 10.9.255.253 dev br0 weight 3 nexthop via 192.0.2.9 dev other weight 1
ip route add 10.62.0.0/16 via 198.51.100.9 dev br0 onlink table 100
ip route add 10.63.0.0/16 dev other src 10.9.0.250
ip route add 10.64.0.0/16 via 10.60.0.1 dev br0 onlink tos 8 table 101
ip -6 route add default via fe80::1 dev br0 metric 20
ip -6 route add 2001:db8:9::/48 via 2001:db8:1::2 dev br0 table 200 metric 30
ip -6 route add 2001:db8:a::/48 dev br0 expires 3000
ip rule add iif br0 lookup 100 priority 1000
ip rule add from 10.60.0.0/16 oif br0 lookup 101 priority 1001 suppress_prefixlength 8
ip -6 rule add not iif br0 lookup 200 priority 1002
ip neighbour add 10.9.255.254 lladdr 02:00:00:00:00:fe dev br0 nud permanent
ip -6 neighbour add fe80::1 lladdr 02:00:00:00:00:fe dev br0 nud permanent
ip neighbour add proxy 10.9.255.77 dev br0
`
	s.host("sh", "-e", "-c", script)
	s.await("the kernel's own addresses", func() bool { return !strings.Contains(s.host("ip", "address", "show", "dev", "br0"), "tentative") })
}

// elsewhere is what the host has on other devices.
func (s *bridgeSite) elsewhere() string {
	s.Helper()
	return s.onDevice("other") + s.host("ip", "route", "show", "table", "all", "10.61.0.0/16")
}

// wantSysctls wants what furnish has set.
func (s *bridgeSite) wantSysctls(name string) {
	s.Helper()
	for key, want := range map[string]string{
		"ipv4/conf/%s/rp_filter": "2", "ipv4/conf/%s/forwarding": "1", "ipv4/conf/%s/proxy_arp": "1", "ipv4/neigh/%s/gc_stale_time": "77",
		"ipv6/conf/%s/accept_ra": "0", "ipv6/conf/%s/accept_dad": "1", "ipv6/conf/%s/disable_ipv6": "0", "ipv6/conf/%s/mtu": "1400",
	} {
		if got := strings.TrimSpace(s.host("cat", "/proc/sys/net/"+fmt.Sprintf(key, name))); got != want {
			s.Errorf(key+" is %s, want %s", name, got, want)
		}
	}
}

// TestE2EBridgeCarriesTheHost has all that a host may have on a bridge come over and back, under the same name and under
// another one. What it has elsewhere stays.
func TestE2EBridgeCarriesTheHost(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"br0", "xenbr0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newBridgeSite(t)
			for _, guest := range []string{"a", "b", "c"} {
				s.add(ovstest.GuestConfig{Name: guest, Bridge: "br0", Linux: true, MTU: 1400})
			}
			s.furnish()
			before, host, elsewhere := s.linuxBridge(), s.onDevice("br0"), s.elsewhere()
			// Where a device is named in a text about itself.
			renamed := func(text string) string { return strings.ReplaceAll(text, "br0", name) }
			t.Log(s.bridgeWant(exitOK, "plan", "br0", "--datapath", datapath(), "--name", name))
			s.migrate("--name", name)
			check := func(when string) {
				s.Helper()
				s.wantSameText("the host "+when, renamed(host), s.onDevice(name))
				s.wantSameText("other devices "+when, renamed(elsewhere), s.elsewhere())
				s.wantSysctls(name)
				s.exchange(s.guests["b"], s.guests["c"], 3)
			}
			check("after migrate")
			link := s.host("ip", "link", "show", "dev", name)
			for _, want := range []string{"02:aa:bb:cc:dd:01", "mtu 1400", "alias to the world"} {
				if !strings.Contains(link, want) {
					t.Errorf("%s is not in\n%s", want, link)
				}
			}
			if got := s.vsctl("get", "Port", "vif-a", "protected") + s.vsctl("get", "Bridge", name, "other_config:mac-aging-time"); got != `true"60"` {
				t.Errorf("protected and mac-aging-time are %s", got)
			}
			s.bridgeWant(exitOK, "revert", "br0")
			s.wantSameText("the bridge after revert", before, s.linuxBridge())
			s.wantSameText("other devices after revert", elsewhere, s.elsewhere())
			s.wantSysctls("br0")

			s.migrate("--name", name)
			s.bridgeWant(exitOK, "confirm", "br0")
			check("after confirm")
			s.bridgeWant(exitOK, "revert", "br0") // which makes the Linux bridge anew
			s.wantSameText("the bridge after revert of what was confirmed", before, s.linuxBridge())
			s.wantSameText("other devices after revert of what was confirmed", elsewhere, s.elsewhere())
			s.wantSysctls("br0")
		})
	}
}
