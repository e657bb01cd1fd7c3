package plan_test

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"spanctl/policy"
	"spanctl/policy/plan"
)

func packetOf(t testing.TB, words string) *policy.Packet {
	t.Helper()
	p, err := policy.ParsePacket(strings.Fields(words))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEnter(t *testing.T) {
	snap := readSnapshot(t, `
bridge br0
port eth0 driver=ixgbe ofport=2
port trunk trunks=10,20-29 ofport=3
port access tag=5 ofport=4 attached-mac:=52:54:00:AA:00:01
port native tag=5 trunks=10 mode=native-untagged ofport=5
port all tag=5 mode=native-tagged ofport=6
port tunnel tag=5 mode=dot1q-tunnel ofport=7
port bond members=m0,m1
port gone ofport=-1
`)
	for _, c := range []struct{ in, words, flow, vlan string }{
		{"eth0", "vlan=10", "in_port=2,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,dl_vlan=10,tcp,nw_src=192.0.2.1,nw_dst=192.0.2.2,nw_tos=0,nw_ttl=64,tcp_src=49152,tcp_dst=49153", "10"},
		{"access", "udp src=2001:db8::7 dscp=46", "in_port=4,dl_src=52:54:00:aa:00:01,dl_dst=02:00:00:00:00:02,udp6,ipv6_src=2001:db8::7,ipv6_dst=2001:db8::2,nw_tos=184,nw_ttl=64,udp_src=49152,udp_dst=49153", "5"},
		{"access", "arp vlan=5", "in_port=4,dl_src=52:54:00:aa:00:01,dl_dst=ff:ff:ff:ff:ff:ff,dl_vlan=5,arp,arp_op=1,arp_spa=192.0.2.1,arp_tpa=192.0.2.2,arp_sha=52:54:00:aa:00:01", "port access is an access port, which takes no packets with a tag"},
		{"trunk", "lldp", "in_port=3,dl_src=02:00:00:00:00:01,dl_dst=01:80:c2:00:00:0e,dl_type=0x88cc", "port trunk takes only packets with a tag"},
		{"trunk", "icmp vlan=21 fragment=later", "in_port=3,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,dl_vlan=21,icmp,nw_src=192.0.2.1,nw_dst=192.0.2.2,nw_tos=0,nw_ttl=64,nw_frag=later", "21"},
		{"trunk", "icmp vlan=30", "in_port=3,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,dl_vlan=30,icmp,nw_src=192.0.2.1,nw_dst=192.0.2.2,nw_tos=0,nw_ttl=64,icmp_type=8", "port trunk does not carry VLAN 30"},
		{"native", "icmp6 dst=ff02::1:ff00:7", "in_port=5,dl_src=02:00:00:00:00:01,dl_dst=33:33:ff:00:00:07,icmp6,ipv6_src=2001:db8::1,ipv6_dst=ff02::1:ff00:7,nw_tos=0,nw_ttl=64,icmpv6_type=128", "5"},
		{"native", "udp dst=239.129.2.3 vlan=10 fragment=first", "in_port=5,dl_src=02:00:00:00:00:01,dl_dst=01:00:5e:01:02:03,dl_vlan=10,udp,nw_src=192.0.2.1,nw_dst=239.129.2.3,nw_tos=0,nw_ttl=64,nw_frag=first", "10"},
		{"eth0", "udp ipv6 fragment=later", "in_port=2,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,ipv6,nw_proto=44,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::2,nw_tos=0,nw_ttl=64,nw_frag=later", "0"},
		{"native", "tcp vlan=11", "", "port native does not carry VLAN 11"},
		{"all", "tcp vlan=11", "", "11"},
		{"tunnel", "protocol=89 vlan=11", "in_port=7,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,dl_vlan=11,ip,nw_proto=89,nw_src=192.0.2.1,nw_dst=192.0.2.2,nw_tos=0,nw_ttl=64", "5"},
		{"m1", "sctp ipv6 src_mac=52:54:00:00:00:09", "in_port=1,dl_src=52:54:00:00:00:09,dl_dst=02:00:00:00:00:02,sctp6,ipv6_src=2001:db8::1,ipv6_dst=2001:db8::2,nw_tos=0,nw_ttl=64,sctp_src=49152,sctp_dst=49153", "0"},
		{"br0", "udp dst=255.255.255.255", "in_port=65534,dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,udp,nw_src=192.0.2.1,nw_dst=255.255.255.255,nw_tos=0,nw_ttl=64,udp_src=49152,udp_dst=49153", "0"},
	} {
		probe, err := snap.Enter(c.in, packetOf(t, c.words))
		if err != nil {
			t.Fatal(err)
		}
		vlan := fmt.Sprint(probe.VLAN)
		if probe.Dropped != "" {
			vlan = probe.Dropped
		}
		if flow := probe.Flow(); c.flow != "" && flow != c.flow || vlan != c.vlan {
			t.Errorf("%s at %s is in VLAN %s, want %s\n%s, want\n%s", c.words, c.in, vlan, c.vlan, flow, c.flow)
		}
	}
	if probe, err := snap.Enter("m1", packetOf(t, "")); err != nil || probe.Port != "bond" || probe.Interface != "m1" {
		t.Errorf("m1 is %+v, %v", probe, err)
	}
	if probe, err := snap.Enter("gone", packetOf(t, "")); err != nil {
		t.Error(err)
	} else if _, why := probe.OFPort(); why != "ovs-vswitchd does not have interface gone" {
		t.Errorf("gone: %q", why)
	}
	if _, err := snap.Enter("nowhere", packetOf(t, "")); !errors.Is(err, plan.ErrNoPort) {
		t.Errorf("nowhere: %v", err)
	}
}

// traced is a host in the state that the policies below lead to, with more beside it.
const traced = `
local
route 192.0.2.10 eth9 9000
bridge br0
port vif1.0 vm-id:=web ofport=1
port vif2.0 vm-id:=db tag=10 ofport=2
port vif3.0 vm-id:=app ofport=3
port vif9.0 vm-id:=audit ofport=9
port vif8.0 vm-id:=old ofport=8
port vif7.0 vm-id:=theirs ofport=7
port vif6.0 vm-id:=second ofport=6
port span tag=999 ofport=5
mirror foreign all out=vif7.0
mirror spanctl-old src=vif1.0 out=vif8.0 spanctl-managed:=true spanctl-session:=%s
`

const tracedPolicy = `version: 1
sessions:
  out: {sources: [{vm: web, direction: from}], destinations: [{vm: audit}]}
  in: {sources: [{interface: vif3.0, direction: to}], destinations: [{vm: audit}]}
  ended: {expires: 2020-01-01T00:00:00Z, sources: [{role: all}], destinations: [{vm: old}]}
  span: {sources: [{vm: app, direction: from}], destinations: [{vlan: 999}]}
  later: {sources: [{vm: web}], destinations: [{vm: absent}]}
`

// exitsOf reads "vif9.0 vif3.0:128 span@10,20": what a packet is cut to, and its tags.
func exitsOf(text string) []plan.Exit {
	var list []plan.Exit
	for word := range strings.FieldsSeq(text) {
		var e plan.Exit
		word, tags, _ := strings.Cut(word, "@")
		for tag := range strings.SplitSeq(tags, ",") {
			var n uint16
			if _, err := fmt.Sscan(tag, &n); err == nil {
				e.Tags = append(e.Tags, n)
			}
		}
		name, limit, _ := strings.Cut(word, ":")
		_, _ = fmt.Sscan(limit, &e.Limit)
		e.Interface = name
		list = append(list, e)
	}
	return list
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name, old, in, words, exits string
		trace                       plan.Trace
		want                        string // SESSION=COPIED[!DISAGREEMENT]; those that are not copied are left out
	}{
		{name: "copied by one", in: "vif1.0", exits: "vif9.0 vif3.0", want: "in=yes out=yes"},
		{name: "its copy is missing", in: "vif1.0", exits: "vif6.0", want: "out=yes!by the policy a copy goes to vif9.0, and the switch sends none"},
		{name: "shared destination", in: "vif3.0", exits: "vif1.0 br0@999", want: "span=yes"},
		{name: "copied for nobody", in: "vif6.0", exits: "vif1.0 vif9.0", want: "in=no!by the policy no copy goes to vif9.0, and the switch sends one out=no!by the policy no copy goes to vif9.0, and the switch sends one"},
		{name: "cut", in: "vif1.0", exits: "vif9.0:64", want: "out=yes!by the policy copies to vif9.0 are whole packets, and the switch sends cut to 64 bytes"},
		{name: "a foreign mirror's copy is no way out", in: "vif6.0", exits: "vif7.0", want: ""},
		{name: "an expired session that copies", old: "ended", in: "vif6.0", exits: "vif8.0", want: "ended=no!the session does not copy to vif8.0, and the switch still sends a copy there"},
		{name: "a deleted session that copies", old: "deleted", in: "vif6.0", exits: "vif8.0", want: "!the switch sends a copy to vif8.0 for no stored session"},
		{name: "an expired session that does not", old: "ended", in: "vif6.0", exits: "vif1.0", want: ""},
		{name: "an access port's VLAN", in: "vif2.0", exits: "vif3.0@10 vif9.0@10", want: "in=yes"},
		{name: "RSPAN", in: "vif3.0", exits: "vif1.0@999 span vif6.0", want: "span=yes"},
		{name: "RSPAN is missing", in: "vif3.0", exits: "vif6.0", want: "span=yes!by the policy a copy goes to vlan 999, and the switch sends none"},
		{name: "RSPAN for nobody", in: "vif6.0", exits: "span", want: "span=no!by the policy no copy goes to vlan 999, and the switch sends one"},
		{name: "RSPAN of what is in it", in: "vif3.0", words: "vlan=999", exits: "span vif6.0@999", want: "span=yes"},
		{name: "RSPAN of a reserved address", in: "vif3.0", words: "lldp", exits: "", want: "span=yes"},
		{name: "several ways out", in: "vif6.0", exits: "vif1.0 vif2.0 br0 vif3.0 vif9.0", want: "in=yes"},
		{name: "an unknown port", in: "vif6.0", exits: "(port+7+of+the+datapath)", want: ""},
		{name: "ways that are open", in: "vif6.0", exits: "vif9.0", trace: plan.Trace{Open: []string{"which member"}}, want: "in=perhaps"},
	} {
		snap := readSnapshot(t, fmt.Sprintf(traced, c.old))
		if c.old == "" { // there is no such mirror
			snap.Bridges[0].Mirrors = snap.Bridges[0].Mirrors[:1]
		}
		c.trace.Exits = exitsOf(c.exits)
		if got := verdicts(answer(t, snap, tracedPolicy, c.in, c.words, &c.trace)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestAnswerForTunnels(t *testing.T) {
	const sessions = `version: 1
sessions:
  one: {sources: [{vm: web, direction: from}], destinations: [{gre: {remote: 192.0.2.10}}]}
  two: {sources: [{vm: web, direction: from}], destinations: [{gre: {remote: 192.0.2.11}}]}
`
	for _, c := range []struct {
		name, neighbors, want string
	}{
		{"nothing is known", "", "one=yes!by the policy a copy goes to gre 192.0.2.10, and the switch sends none two=yes!by the policy a copy goes to gre 192.0.2.11, and the switch sends none"},
		{"its own address is asked for", "192.0.2.10", "one=yes two=yes!by the policy a copy goes to gre 192.0.2.11, and the switch sends none"},
		{"a router's address is asked for", "192.0.2.1", "one=yes two=yes"},
	} {
		snap := readSnapshot(t, fmt.Sprintf(traced, "")+`
bridge spanctl-000001 datapath=netdev spanctl-managed:=true
port `+tunnelPort(t, "192.0.2.10")+` type=gre remote_ip.=192.0.2.10 spanctl-managed:=true ofport=1
port `+tunnelPort(t, "192.0.2.11")+` type=gre remote_ip.=192.0.2.11 spanctl-managed:=true ofport=2
`)
		snap.Bridges[0].Datapath = "netdev"
		trace := &plan.Trace{Exits: exitsOf("vif3.0")}
		if c.neighbors != "" {
			trace.Neighbors = []netip.Addr{netip.MustParseAddr(c.neighbors)}
		}
		if got := verdicts(answer(t, snap, sessions, "vif1.0", "", trace)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// What rules keep out of a tunnel's copies is perhaps copied by another way, and that it is not is no disagreement.
func TestAnswerForWhatIsKeptOutOfTunnels(t *testing.T) {
	const missing = "one=yes!by the policy a copy goes to gre 192.0.2.10, and the switch sends none"
	const sessions = `version: 1
sessions:
  one: {sources: [{vm: web, direction: from}], exclude: [{protocol: tcp}], destinations: [{gre: {remote: 192.0.2.10}}]}
`
	for _, c := range []struct{ words, want string }{
		{"protocol=gre dst=192.0.2.10", "one=perhaps"},
		{"udp dst=192.0.2.10 dst_port=4789", "one=perhaps"},
		{"udp dst=192.0.2.10 fragment=later", "one=perhaps"},
		{"arp dst=192.0.2.10", "one=perhaps"},
		{"udp dst=192.0.2.10 dst_port=53", missing},
		{"icmp dst=192.0.2.10", missing},
		{"protocol=gre dst=192.0.2.11", missing},
		{"arp dst=192.0.2.11", missing},
		{"tcp dst=192.0.2.10", ""},
	} {
		snap := readSnapshot(t, strings.Replace(fmt.Sprintf(traced, ""), "eth9", "br0", 1)+`
bridge spanctl-000001 spanctl-managed:=true
port `+tunnelPort(t, "192.0.2.10")+` type=gre remote_ip.=192.0.2.10 spanctl-managed:=true ofport=1
`)
		if got := verdicts(answer(t, snap, sessions, "vif1.0", c.words, &plan.Trace{Exits: exitsOf("vif3.0")})); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.words, got, c.want)
		}
	}
}

// tunnelPort is what the port of a GRE tunnel without more is called.
func tunnelPort(t *testing.T, remote string) string {
	snap := readSnapshot(t, fmt.Sprintf(traced, ""))
	a := answer(t, snap, "version: 1\nsessions:\n  one: {sources: [{vm: web}], destinations: [{gre: {remote: "+remote+"}}]}\n", "vif1.0", "", nil)
	return a.Verdicts[0].Places[0].Port
}

func answer(t *testing.T, snap *plan.Snapshot, sessions, in, words string, trace *plan.Trace) *plan.Answer {
	t.Helper()
	doc, err := policy.Parse("policy.yaml", []byte(sessions))
	if err != nil {
		t.Fatal(err)
	}
	intent := plan.Intent{}
	for name, session := range doc.Sessions {
		if err := intent.Put(name, session); err != nil {
			t.Fatal(err)
		}
	}
	probe, err := snap.Enter(in, packetOf(t, words))
	if err != nil {
		t.Fatal(err)
	}
	return plan.Make(snap, intent, noon).Answer(probe, trace)
}

func verdicts(a *plan.Answer) string {
	var list []string
	for i := range a.Verdicts {
		v := &a.Verdicts[i]
		if v.Copied != plan.CopiedNo || len(v.Disagreements) > 0 {
			text := v.Outcome.Name + "=" + string(v.Copied)
			for _, d := range v.Disagreements {
				text += "!" + d
			}
			list = append(list, text)
		}
	}
	for _, s := range a.Strays {
		list = append(list, "!"+s)
	}
	return strings.Join(list, " ")
}

// TestWhyIsWhatWasCompiled holds that the reason which is given for a port is that by which it was compiled, whatever the
// host and the sessions, and that nothing disagrees that was not asked.
func TestWhyIsWhatWasCompiled(t *testing.T) {
	yes := regexp.MustCompile(`, a source: (sources\[\d+\]|external_ids:spanctl names the session)$`)
	no := regexp.MustCompile(`, which is no source for .*: (no selector|sources\[\d+\] selects it (in|with)|except\[|it is |mirror |because a tunnel|what the host|\S+ ports are never|it is never a source, since)`)
	rapid.Check(t, func(t *rapid.T) {
		snap, intent := anyHost(t), anyIntent(t)
		var names []string
		for b := range snap.Bridges {
			for p := range snap.Bridges[b].Ports {
				names = append(names, snap.Bridges[b].Ports[p].Name)
			}
		}
		packet := &policy.Packet{EtherType: policy.EtherTypeIPv4, Protocol: policy.ProtocolTCP, DstPort: 7788, VLAN: rapid.Uint16Range(0, 6).Draw(t, "vlan")}
		probe, err := snap.Enter(rapid.SampledFrom(names).Draw(t, "in"), packet)
		if err != nil {
			t.Fatal(err)
		}
		p := plan.Make(snap, intent, noon)
		if a := p.Answer(probe, nil); !a.Agrees() {
			t.Fatalf("nothing was asked, and disagrees: %+v", a)
		}
		trace := &plan.Trace{}
		for range rapid.IntRange(0, 3).Draw(t, "exits") {
			e := plan.Exit{Interface: rapid.SampledFrom(names).Draw(t, "out")}
			if tag := rapid.Uint16Range(0, 6).Draw(t, "tag"); tag > 0 {
				e.Tags = []uint16{tag}
			}
			trace.Exits = append(trace.Exits, e)
		}
		a := p.Answer(probe, trace)
		for i := range a.Verdicts {
			v := &a.Verdicts[i]
			for _, why := range v.Why {
				if strings.Contains(why, ", a source: ") && !yes.MatchString(why) || strings.Contains(why, "is no source for") && !no.MatchString(why) {
					t.Fatalf("session %s %+v: %s", v.Outcome.Name, v.Outcome.Session, why)
				}
			}
		}
	})
}
