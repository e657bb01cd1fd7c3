package openflow

import (
	"fmt"
	"strings"
	"testing"

	"spanctl/policy/plan"
)

// ports is dpif/show of OVS 3.1, and of the kernel's datapath, where tunnels of one
// kind share a number.
const ports = `netdev@ovs-netdev: hit:4 missed:15
  br-ext:
    br-ext 65534/8: (tap)
    ext-coll 1/9: (system)
  br0:
    br0 65534/1: (tap)
    spanctl-3de8d6 5/none: (patch: peer=spanctl-3de8d6h)
    vif-a 1/2: (system)
    vif-b 2/3: (system)
  spanctl-7e3254:
    spanctl-3c39fd 4/11: (gre: df_default=false, key=7, remote_ip=192.0.2.77)
    spanctl-3de8d6h 6/none: (patch: peer=spanctl-3de8d6)
    spanctl-649af5 8/13: (erspan: df_default=false, erspan_idx=0x0, erspan_ver=1, key=100, remote_ip=192.0.2.7)
    spanctl-c3d4c8 3/10: (vxlan: df_default=false, key=123, remote_ip=192.0.2.7)
    spanctl-c3d4c9 9/10: (vxlan: df_default=false, remote_ip=192.0.2.7)
    spanctl-e5f0d4 1/4: (geneve: df_default=false, key=5, remote_ip=192.0.2.7)
    spanctl-aaaaaa 10/4: (geneve: df_default=false, key=5, local_ip=192.0.2.1, remote_ip=192.0.2.7)
    spanctl-666666 11/14: (ip6gre: df_default=false, key=7, remote_ip=2001:db8::7)
    vif-audit 7/12: (system)
`

// TestReadActions reads datapath actions as OVS 3.1 wrote them.
func TestReadActions(t *testing.T) {
	for _, c := range []struct{ name, flow, actions, want string }{
		{"dropped", "", "drop", ""},
		{"direct", "", "12,3", "vif-audit | vif-b"},
		{"cut", "", "trunc(128),12,3", "vif-audit cut to 128 | vif-b"},
		{"unknown port", "", "99", "(port 99 of the datapath)"},
		{
			"RSPAN", "", "push_vlan(vid=100,pcp=0),trunc(128),1,trunc(128),2,pop_vlan,3",
			"br0 cut to 128 tags [100] | vif-a cut to 128 tags [100] | vif-b",
		},
		{"tagged", "tcp,in_port=1,dl_vlan=10,dl_vlan_pcp=3,vlan_tci1=0x0000", "12,pop_vlan,3", "vif-audit tags [10] | vif-b"},
		{
			"QinQ", "ip,in_port=1,dl_vlan=10,dl_vlan_pcp=3,dl_vlan1=20,dl_vlan_pcp1=0", "push_vlan(tpid=0x88a8,vid=5,pcp=0),12,pop_vlan,pop_vlan,3",
			"vif-audit tags [5 10 20] | vif-b tags [20]",
		},
		{"metered", "", "3,meter(0),12", "vif-b | vif-audit metered"},
		{"metered for one", "", "clone(meter(0),trunc(64),12),3", "vif-audit cut to 64 metered | vif-b"},
		{"sampled", "", "sample(sample=50.0%,actions(12,userspace(pid=0,sFlow(vid=0,pcp=0,output=1)))),3", "vif-audit sampled | vif-b"},
		{
			"userspace tunnels", "",
			"clone(tnl_push(tnl_port(4),header(size=50,type=5,eth(dst=02:09:00:00:00:07,src=02:09:ff:00:00:06,dl_type=0x0800),ipv4(src=192.0.2.9,dst=192.0.2.7,proto=17,tos=0,ttl=64,frag=0x0),udp(src=0,dst=6081,csum=0x0),geneve(vni=0x5)),out_port(8)),9),12," +
				"clone(tnl_push(tnl_port(13),header(size=50,type=107,eth(dst=02:09:00:00:00:07,src=02:09:ff:00:00:06,dl_type=0x0800),ipv4(src=192.0.2.1,dst=192.0.2.7,proto=47,tos=0,ttl=64,frag=0x0),erspan(ver=1,sid=0x64,idx=0x0)),out_port(8)),push_vlan(vid=3,pcp=0),9,8)," +
				"clone(tnl_push(tnl_port(10),header(size=50,type=4,eth(dst=02:09:00:00:00:07,src=02:09:ff:00:00:06,dl_type=0x0800),ipv4(src=192.0.2.1,dst=192.0.2.7,proto=17,tos=0,ttl=64,frag=0x0),udp(src=0,dst=4789,csum=0x0),vxlan(flags=0x8000000,vni=0x7b)),out_port(8)),9),3",
			"spanctl-e5f0d4 to 192.0.2.7 key 5 by [ext-coll] | vif-audit | spanctl-649af5 to 192.0.2.7 key 100 by [ext-coll br-ext] | spanctl-c3d4c8 to 192.0.2.7 key 123 by [ext-coll] | vif-b",
		},
		{
			"the tunnel of a local address", "",
			"clone(tnl_push(tnl_port(4),header(size=50,type=5,eth(dst=02:09:00:00:00:07,src=02:09:ff:00:00:06,dl_type=0x0800),ipv4(src=192.0.2.1,dst=192.0.2.7,proto=17,tos=0,ttl=64,frag=0x0),udp(src=0,dst=6081,csum=0x0),geneve(vni=0x5)),out_port(8)),9)",
			"spanctl-aaaaaa to 192.0.2.7 key 5 by [ext-coll]",
		},
		{
			"IPv6", "",
			"clone(tnl_push(tnl_port(14),header(size=62,type=109,eth(dst=02:09:00:00:00:07,src=02:09:ff:00:00:06,dl_type=0x86dd),ipv6(src=2001:db8::1,dst=2001:db8::7,label=0,proto=47,tclass=0x0,hlimit=64),gre((flags=0x2000,proto=0x6558),key=0x7)),out_port(8)),9),3",
			"spanctl-666666 to 2001:db8::7 key 7 by [ext-coll] | vif-b",
		},
		{
			"a tunnel's packet that goes nowhere", "",
			"tnl_push(tnl_port(10),header(size=50,type=4,eth(dst=02:09:00:00:00:07,src=02:09:ff:00:00:06,dl_type=0x0800),ipv4(src=192.0.2.1,dst=192.0.2.7,proto=17,tos=0,ttl=64,frag=0x0),udp(src=0,dst=4789,csum=0x0),vxlan(flags=0x8000000,vni=0x7b)),out_port(8)),3",
			"spanctl-c3d4c8 to 192.0.2.7 key 123 | vif-b",
		},
		{
			"a copy of a copy", "",
			"clone(tnl_push(tnl_port(10),header(size=50,type=4,eth(dst=02:09:00:00:00:07,src=02:09:ff:00:00:06,dl_type=0x0800),ipv4(src=192.0.2.1,dst=192.0.2.7,proto=17,tos=0,ttl=64,frag=0x0),udp(src=0,dst=4789,csum=0x0),vxlan(flags=0x8000000,vni=0x7b)),out_port(8))," +
				"clone(tnl_push(tnl_port(10),header(size=50,type=4,eth(dst=02:09:00:00:00:07,src=02:09:ff:00:00:06,dl_type=0x0800),ipv4(src=192.0.2.1,dst=192.0.2.7,proto=17,tos=0,ttl=64,frag=0x0),udp(src=0,dst=4789,csum=0x0),vxlan(flags=0x8000000,vni=0x7b)),out_port(8)),9),9)",
			"spanctl-c3d4c8 to 192.0.2.7 key 123 by [ext-coll ext-coll]",
		},
		{
			"kernel tunnels", "",
			"set(tunnel(tun_id=0x7b,dst=192.0.2.7,ttl=64,tp_dst=4789,flags(key))),10,set(tunnel(tun_id=0x0,dst=192.0.2.7,ttl=64,tp_dst=4789,flags(key))),trunc(96),10," +
				"set(tunnel(tun_id=0x64,dst=192.0.2.7,ttl=64,erspan(ver=1,idx=0x0),flags(key))),13,set(tunnel(tun_id=0x7,ipv6_dst=2001:db8::7,ttl=64,flags(key))),14,12,3",
			"spanctl-c3d4c8 to 192.0.2.7 key 123 | spanctl-c3d4c9 to 192.0.2.7 key 0 cut to 96 | spanctl-649af5 to 192.0.2.7 key 100 | spanctl-666666 to 2001:db8::7 key 7 | vif-audit | vif-b",
		},
		{
			"a tunnel that nobody has", "", "set(tunnel(tun_id=0x9,dst=192.0.2.99,ttl=64,flags(key))),10",
			"(port 10 of the datapath) to 192.0.2.99 key 9",
		},
		{"headers rewritten", "", "set(eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)),set(ipv4(ttl=63)),3,ct(commit,zone=1),hash(l4(0))", "vif-b"},
	} {
		trace := readTrace("Flow: "+c.flow+"\n\nFinal flow: unchanged\nMegaflow: recirc_id=0\nDatapath actions: "+c.actions+"\n", readPorts(ports))
		if got := describeExits(trace.Exits); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		if len(trace.Open) > 0 || trace.Failure != "" || trace.Neighbors != nil {
			t.Errorf("%s: left open: %q, failure %q, neighbours %v", c.name, trace.Open, trace.Failure, trace.Neighbors)
		}
	}
}

func TestReadWhatIsLeftOpen(t *testing.T) {
	const again = "Flow: recirc_id=0x1,tcp,in_port=1,dl_vlan=7,dl_vlan_pcp=0\n\nMegaflow: recirc_id=0x1\nDatapath actions: 12,pop_vlan,3\n"
	for _, c := range []struct{ name, text, exits, open, failure, neighbors string }{
		{"recirculated, and followed", "Flow: tcp\nDatapath actions: ct,recirc(0x1)\n\n===\nrecirc(0x1) - resume conntrack\n===\n" + again, "vif-audit tags [7] | vif-b", "[]", "", "[]"},
		{"recirculated", "Flow: tcp\nDatapath actions: 12,hash(l4(0)),recirc(0x1)\n", "vif-audit", "[what happens after a recirculation, as for a bond that balances by ports]", "", "[]"},
		{"bond", "Flow: tcp\nDatapath actions: 12,lb_output(1)\n", "vif-audit", "[which member of a bond sends it]", "", "[]"},
		{"given up", "Flow: tcp\nDatapath actions: drop\nTranslation failed (Recursion too deep), packet is dropped.\n", "", "[]", "Recursion too deep", "[]"},
		{"no route", "Flow: tcp\n     -> native tunnel routing failed\nDatapath actions: 3\n", "vif-b", "[]", "a tunnel has no route", "[]"},
		{
			"next hops", "Flow: tcp\n -> neighbor cache miss for 192.0.2.77 on bridge br-ext, sending ARP request\n -> neighbor cache miss for 2001:db8::7 on bridge br-ext, sending ND request\nDatapath actions: 3\n",
			"vif-b", "[]", "", "[192.0.2.77 2001:db8::7]",
		},
		{"nothing that is known", "what is this", "", "[]", "", "[]"},
	} {
		trace := readTrace(c.text, readPorts(ports))
		if got := describeExits(trace.Exits); got != c.exits {
			t.Errorf("%s: exits %s, want %s", c.name, got, c.exits)
		}
		if got := fmt.Sprint(trace.Open); got != c.open {
			t.Errorf("%s: open %s, want %s", c.name, got, c.open)
		}
		if got := fmt.Sprint(trace.Neighbors); got != c.neighbors || trace.Failure != c.failure {
			t.Errorf("%s: neighbours %s, failure %q", c.name, got, trace.Failure)
		}
	}
}

// FuzzReadTrace reads what no daemon ever wrote.
func FuzzReadTrace(f *testing.F) {
	f.Add("clone(tnl_push(tnl_port(4),header(ipv4(dst=192.0.2.7))),9)),,(trunc(")
	f.Add("sample(actions(1,clone(2)),check_pkt_len(size=3,gt(4),le(5),set(tunnel(dst=::1)),pop_vlan,6")
	f.Fuzz(func(t *testing.T, actions string) {
		readTrace("Flow: tcp\nDatapath actions: "+actions, readPorts(ports+actions))
	})
}

func describeExits(exits []plan.Exit) string {
	var list []string
	for i := range exits {
		e := &exits[i]
		text := e.Interface
		if e.Tunnel() {
			text += fmt.Sprintf(" to %s key %d", e.Remote, e.Key)
			if e.By != nil {
				text += fmt.Sprintf(" by %v", e.By)
			}
		}
		if e.Limit > 0 {
			text += fmt.Sprintf(" cut to %d", e.Limit)
		}
		if len(e.Tags) > 0 {
			text += fmt.Sprintf(" tags %v", e.Tags)
		}
		if e.Metered {
			text += " metered"
		}
		if e.Sampled {
			text += " sampled"
		}
		list = append(list, text)
	}
	return strings.Join(list, " | ")
}
