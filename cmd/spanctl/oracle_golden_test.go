package main

import (
	"strings"
	"testing"
)

// goldenHost has ports of most kinds on br0, and sensors there and on br1.
const goldenHost = `
bridges:
  - name: br0
    ports:
      - {name: a, ids: {vm-id: a}}
      - {name: b, ids: {vm-id: b}}
      - {name: acc, ids: {vm-id: acc}, tag: 10}
      - {name: qinq, ids: {vm-id: qinq}, mode: dot1q-tunnel, tag: 30}
      - {name: up, members: [up-0, up-1]}
      - {name: ids0}
      - {name: ids1}
      - {name: ids2}
  - name: br1
    ports:
      - {name: c, ids: {vm-id: c}}
      - {name: far}
`

// goldenCases are decisions that must stay, and differences that TestOracle has found. What it prints of a case that fails
// can be put here: host (if it is another one), before, sessions and packets, and want, how many copies each destination
// gets. In which VLAN, cut to what and with which tags they come is the oracle's affair, and so is which destination
// balance chooses: without want it decides alone.
var goldenCases = []struct{ name, host, text string }{
	{"each destination gets one copy", "", `
sessions:
  s: {sources: [{vm: a}, {vm: b, direction: to}], destinations: [{interface: ids0}, {interface: far}]}
packets:
  - {in: a, want: {ids0: 1, far: 1}}
  - {in: b, src_mac: "02:00:00:00:00:02", dst_mac: "02:00:00:00:00:01", want: {ids0: 1, far: 1}}
  - {in: ids1, src_mac: "02:00:00:00:00:03", dst_mac: "02:00:00:00:00:02", want: {ids0: 1, far: 1}}
  - {in: b, src_mac: "02:00:00:00:00:02", dst_mac: "02:00:00:00:00:02", want: {}}
`},
	{"the edges of ports", "", `
sessions:
  s: {sources: [{vm: a}], destinations: [{interface: ids0}], include: [{protocol: tcp, port: 7788-7799}, {dst_port: [0, 443]}]}
packets:
  - {in: a, proto: 6, src_port: 1, dst_port: 7787, want: {}}
  - {in: a, proto: 6, src_port: 1, dst_port: 7788, want: {ids0: 1}}
  - {in: a, proto: 6, src_port: 7799, dst_port: 1, want: {ids0: 1}}
  - {in: a, proto: 6, src_port: 7800, dst_port: 1, want: {}}
  - {in: a, proto: 17, src_port: 7799, dst_port: 1, want: {}}
  - {in: a, proto: 17, src_port: 7799, dst_port: 443, want: {ids0: 1}}
  - {in: a, proto: 132, src_port: 443, dst_port: 0, want: {ids0: 1}}
  - {in: a, proto: 132, src_port: 443, dst_port: 1, want: {}}
  - {in: a, kind: ipv6, proto: 6, src_port: 1, dst_port: 443, tags: [{vid: 10}], want: {ids0: 1}}
  - {in: a, kind: ipv6, proto: 6, src_port: 1, dst_port: 443, options: true, want: {ids0: 1}}
  - {in: a, proto: 47, want: {}}
`},
	{"fragments have no ports, not even port 0", "", `
sessions:
  in: {sources: [{vm: a}], destinations: [{interface: ids0}], include: [{port: 0-65535}]}
  ex: {sources: [{vm: a}], destinations: [{interface: ids1}], exclude: [{dst_port: 0-100}]}
packets:
  - {in: a, proto: 17, dst_port: 53, want: {ids0: 1}}
  - {in: a, proto: 17, dst_port: 53, frag: first, want: {ids1: 1}}
  - {in: a, proto: 17, dst_port: 53, frag: later, want: {ids1: 1}}
  - {in: a, kind: ipv6, proto: 6, dst_port: 0, frag: first, want: {ids1: 1}}
  - {in: a, kind: ipv6, proto: 6, dst_port: 0, frag: later, want: {ids1: 1}}
`},
	{"protocols and IP versions", "", `
sessions:
  in: {sources: [{vm: a}], destinations: [{interface: ids0}], include: [{protocol: tcp}, {protocol: icmp}, {protocol: 58}, {protocol: 44}]}
packets:
  - {in: a, proto: 6, frag: later, want: {ids0: 1}}
  - {in: a, kind: ipv6, proto: 17, frag: later, want: {ids0: 1}}
  - {in: a, kind: ipv6, proto: 17, frag: first, want: {}}
  - {in: a, proto: 1, want: {ids0: 1}}
  - {in: a, kind: ipv6, proto: 1, want: {}}
  - {in: a, proto: 58, want: {}}
  - {in: a, kind: ipv6, proto: 58, want: {ids0: 1}}
`},
	{"the edges of networks, and ARP", "", `
sessions:
  ip: {sources: [{vm: a}], destinations: [{interface: ids0}], include: [{net: 10.20.0.0/16}, {src: "2001:db8::/32"}]}
  arp: {sources: [{vm: a}], destinations: [{interface: ids1}], include: [{ethertype: arp, dst: 10.20.0.0/16}, {net: "::/0", dscp: 46}]}
packets:
  - {in: a, src: 10.20.0.0, want: {ids0: 1}}
  - {in: a, dst: 10.20.255.255, want: {ids0: 1}}
  - {in: a, src: 10.19.255.255, dst: 10.21.0.0, want: {}}
  - {in: a, kind: ipv6, src: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", want: {ids0: 1}}
  - {in: a, kind: ipv6, src: "2001:db9::", dst: "2001:db8::", want: {}}
  - {in: a, kind: arp, src: 10.20.0.1, dst: 10.20.0.2, want: {ids1: 1}}
  - {in: a, kind: arp, src: 10.20.0.1, dst: 10.21.0.2, want: {}}
  - {in: a, kind: ipv6, dscp: 46, ecn: 3, want: {ids1: 1}}
  - {in: a, kind: ipv6, dscp: 45, want: {}}
  - {in: a, kind: ipv4, dscp: 46, want: {}}
`},
	{"VLANs of the switch, and two tags", "", `
sessions:
  vlan: {sources: [{role: guest, vlans: [0, 10]}], destinations: [{interface: ids0}]}
  match: {sources: [{role: guest}], destinations: [{interface: ids1}], include: [{vlan: 0}, {vlan: 10, protocol: udp}, {ethertype: "0x8100", vlan: 30}]}
packets:
  - {in: a, want: {ids0: 1, ids1: 1}}
  - {in: a, tags: [{vid: 10}], want: {ids0: 1, ids1: 1}}
  - {in: a, tags: [{vid: 11}], want: {}}
  - {in: a, tags: [{vid: 0, pcp: 5}], want: {ids0: 1, ids1: 1}}
  - {in: a, tags: [{vid: 10}, {vid: 20}], want: {ids0: 1}}
  - {in: a, tags: [{vid: 30}, {vid: 20}], want: {ids1: 1}}
  - {in: a, tags: [{vid: 30, tpid: 0x88a8}, {vid: 20}], want: {ids1: 1}}
  - {in: acc, want: {ids0: 1, ids1: 1}}
  - {in: acc, proto: 6, want: {ids0: 1}}
  - {in: acc, tags: [{vid: 10}], want: {}}
`},
	{"one match, which a Mirror's filter can hold", "", `
sessions:
  s: {sources: [{vm: a}], destinations: [{interface: ids0}], include: [{protocol: udp, ethertype: ipv4, dst_port: 0}]}
packets:
  - {in: a, want: {ids0: 1}}
  - {in: a, dst_port: 1, want: {}}
  - {in: a, kind: ipv6, want: {}}
  - {in: a, tags: [{vid: 10}], want: {ids0: 1}}
  - {in: a, dst_port: 1, frag: first, want: {}}
  - {in: a, dst_port: 0, frag: later, want: {}}
`},
	{"exclude wins, and except takes ports out", "", `
sessions:
  s: {sources: [{role: all}], except: [{vm: b}, {role: uplink, direction: to}], destinations: [{interface: ids0}], include: [{protocol: udp}], exclude: [{src_mac: "02:00:00:00:00:09"}]}
packets:
  - {in: a, want: {ids0: 1}}
  - {in: a, src_mac: "02:00:00:00:00:09", want: {}}
  - {in: up-1, src_mac: "02:00:00:00:00:02", dst_mac: "02:00:00:00:00:01", want: {ids0: 1}}
  - {in: b, src_mac: "02:00:00:00:00:03", dst_mac: "02:00:00:00:00:03", want: {}}
`},
	{"the same treatment comes once, another one again", "", `
sessions:
  a: {sources: [{vm: a}], destinations: [{interface: ids0}, {interface: ids1}], include: [{protocol: udp}, {protocol: tcp}]}
  b: {sources: [{role: guest}], destinations: [{interface: ids1}, {interface: ids2}], include: [{protocol: 6}, {protocol: 17}]}
  c: {sources: [{vm: a}], destinations: [{interface: ids2}], include: [{protocol: udp}]}
packets:
  - {in: a, want: {ids0: 1, ids1: 1, ids2: 2}}
  - {in: a, proto: 6, want: {ids0: 1, ids1: 1, ids2: 1}}
  - {in: ids2, want: {}}
`},
	{"sessions that balance over the same destinations in another order", "", `
sessions:
  a: {sources: [{vm: a}], destinations: [{interface: ids0}, {interface: ids1}], balance: flow}
  b: {sources: [{role: guest}], destinations: [{interface: ids1}, {interface: ids0}], balance: flow}
packets:
  - {in: a, src_port: 1}
  - {in: a, src_port: 2}
  - {in: a, src_port: 3}
  - {in: a, src_port: 4}
  - {in: b, src_mac: "02:00:00:00:00:02", dst_mac: "02:00:00:00:00:02", src_port: 1}
`},
	{"fragments go by their addresses, whatever their ports", "", `
sessions:
  balanced: {sources: [{vm: "[ab]"}], destinations: [{interface: ids0}, {interface: ids1}], balance: flow}
  sampled: {sources: [{vm: "[ab]"}], destinations: [{interface: ids2}], sample: 1/2}
packets:
  - {in: a, frag: first, src_port: 1}
  - {in: a, frag: first, src_port: 2}
  - {in: a, frag: first, src_port: 4, proto: 6}
  - {in: a, frag: first, src_port: 8}
  - {in: a, frag: later}
  - {in: b, frag: later, src: 10.0.0.2, dst: 10.0.0.1}
  - {in: a, kind: ipv6, frag: first, src_port: 1}
  - {in: a, kind: ipv6, frag: first, src_port: 2}
  - {in: a, kind: ipv6, frag: first, src_port: 4}
  - {in: b, kind: ipv6, frag: later, src: fd00::2, dst: fd00::1}
`},
	{"copies are cut with the tags that they have", "", `
sessions:
  kept: {sources: [{role: guest}], destinations: [{interface: ids0}], exclude: [{protocol: 99}], snaplen: 60}
  off: {sources: [{role: guest}], destinations: [{interface: ids1}], exclude: [{protocol: 99}], snaplen: 60, strip_vlan: true}
  one: {sources: [{role: guest}], destinations: [{interface: ids2}, {interface: far}], balance: flow, snaplen: 60}
packets:
  - {in: a, length: 100}
  - {in: a, length: 100, tags: [{vid: 10}]}
  - {in: a, length: 100, tags: [{vid: 0}]}
  - {in: acc, length: 100}
  - {in: qinq, length: 100, tags: [{vid: 5}]}
  - {in: acc, length: 59}
  - {in: acc, length: 60}
  - {in: acc, length: 61}
`},
	{"select_all takes no copies that another session strips", "", `
sessions:
  all: {sources: [{role: all, bridge: br0}], destinations: [{interface: ids0}]}
  bare: {sources: [{role: all, bridge: br0}], destinations: [{interface: ids1}], strip_vlan: true}
packets:
  - {in: a, tags: [{vid: 10}], want: {ids0: 1, ids1: 1}}
  - {in: acc, src_mac: "02:00:00:00:00:02", want: {ids0: 1, ids1: 1}}
`},
	{"a session of untagged packets has none that another session strips", "", `
sessions:
  untagged: {sources: [{bridge: br0, vlans: [0]}], destinations: [{interface: ids0}]}
  bare: {sources: [{bridge: br0}], destinations: [{interface: ids1}], strip_vlan: true}
packets:
  - {in: a, tags: [{vid: 10}], want: {ids1: 1}}
  - {in: a, want: {ids0: 1, ids1: 1}}
`},
	{"select_all takes no copies at a port that has a native VLAN", `
bridges:
  - name: br0
    ports:
      - {name: a}
      - {name: ids0}
      - {name: ids1, mode: native-tagged, tag: 10}
`, `
sessions:
  all: {sources: [{role: all}], destinations: [{interface: ids0}]}
  too: {sources: [{role: all}], destinations: [{interface: ids1}]}
packets:
  - {in: a, want: {ids0: 1, ids1: 1}}
  - {in: a, tags: [{vid: 10}], want: {ids0: 1, ids1: 1}}
`},
	{"select_all takes no copies that a foreign mirror makes", `
bridges:
  - name: br0
    ports:
      - {name: a}
      - {name: ids0}
      - {name: ids1}
      - {name: theirs, tag: 10}
foreign: [{bridge: br0, output: theirs}]
`, `
sessions:
  all: {sources: [{role: all}], destinations: [{interface: ids0}]}
  some: {sources: [{role: all, vlans: [10]}], destinations: [{interface: ids1}]}
packets:
  - {in: a, want: {ids0: 1}}
  - {in: a, tags: [{vid: 5}], want: {ids0: 1}}
  - {in: a, tags: [{vid: 10}], want: {ids0: 1, ids1: 1}}
`},
	{"select_all takes no copies that a foreign mirror makes at a port that has a native VLAN", `
bridges:
  - name: br0
    ports:
      - {name: a}
      - {name: ids0}
      - {name: ids1}
      - {name: theirs, mode: native-tagged, tag: 10}
foreign: [{bridge: br0, output: theirs}]
`, `
sessions:
  all: {sources: [{role: all}], destinations: [{interface: ids0}]}
  some: {sources: [{role: all, vlans: [10]}], destinations: [{interface: ids1}]}
packets:
  - {in: a, want: {ids0: 1}}
  - {in: a, tags: [{vid: 5}], want: {ids0: 1}}
  - {in: a, tags: [{vid: 10}], want: {ids0: 1, ids1: 1}}
`},
	{"a policy after another one", "", `
before:
  s: {sources: [{role: all}], destinations: [{interface: ids0}, {interface: far}], exclude: [{protocol: udp}], sample: 1/2}
  t: {sources: [{role: all}], destinations: [{interface: ids1}], strip_vlan: true}
sessions:
  s: {sources: [{vm: a}], destinations: [{interface: ids0}], include: [{protocol: udp}]}
packets:
  - {in: a, want: {ids0: 1}}
  - {in: a, proto: 6, want: {}}
  - {in: b, tags: [{vid: 10}], src_mac: "02:00:00:00:00:02", dst_mac: "02:00:00:00:00:03", want: {ids0: 1}}
  - {in: ids1, src_mac: "02:00:00:00:00:04", dst_mac: "02:00:00:00:00:01", want: {ids0: 1}}
`},
	{"an access port is one again when no session copies to it any more", `
bridges:
  - name: br0
    ports:
      - {name: a}
      - {name: ids0}
      - {name: acc, tag: 20}
`, `
before:
  s: {sources: [{interface: a}], destinations: [{interface: acc}]}
sessions:
  s: {sources: [{vm: stopped}], destinations: [{interface: acc}]}
  t: {sources: [{role: all, vlans: [0, 5]}], destinations: [{interface: ids0}]}
packets:
  - {in: acc, want: {}}
  - {in: acc, tags: [{vid: 5}], want: {}}
  - {in: a, tags: [{vid: 5}], want: {ids0: 1}}
`},
	{"what is over the rate is no production", "", `
sessions:
  s: {sources: [{role: all}], destinations: [{interface: ids0}], sample: 1/2, max_rate: 1Gbps}
  t: {sources: [{role: all}], destinations: [{interface: ids1}, {interface: far}], include: [{protocol: udp}], balance: flow, max_rate: 1kpps, snaplen: 64}
packets:
  - {in: a, src_port: 1}
  - {in: acc, src_port: 2, src_mac: "02:00:00:00:00:02"}
  - {in: b, src_port: 3, src_mac: "02:00:00:00:00:03", dst_mac: "02:00:00:00:00:01"}
`},
}

// TestOracleGolden holds the golden cases.
func TestOracleGolden(t *testing.T) {
	s := newOracleSwitch(t)
	for _, g := range goldenCases {
		t.Run(g.name, func(t *testing.T) {
			host := g.host
			if host == "" {
				host = goldenHost
			}
			c, err := parseCase(strings.TrimSpace(host) + "\n" + strings.TrimSpace(g.text) + "\n")
			if err != nil {
				t.Fatal(err)
			}
			rounds := 1
			if strings.Contains(g.name, "select_all") || strings.Contains(g.name, "another session strips") || strings.Contains(g.name, "are cut") {
				rounds = 6 // it depends on the order of mirrors, which is chance
			}
			for range rounds {
				if wrong, _ := s.compare(c, nil); wrong != "" {
					t.Fatal(wrong)
				}
			}
		})
	}
}
