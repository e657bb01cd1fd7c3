package openflow_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
)

// every is a rule of every shape that a tap bridge has.
var every = []plan.Flow{
	{Cookie: 1, Priority: 7, Match: "in_port=5,tcp,tp_dst=0x1e6c/0xfffc", Actions: "drop"},
	{Cookie: 2, Priority: 7, Match: "in_port=5,vlan_tci=0x0000/0x0fff,dl_src=02:00:00:00:00:01", Actions: "resubmit(,2)"},
	{Cookie: 3, Priority: 7, Match: "in_port=5,dl_vlan=10,ip,nw_proto=47,nw_tos=184", Actions: "output:11,output:12"},
	{
		Cookie: 4, Priority: 7, Match: "in_port=5,vlan_tci=0x1060/0x1ff0,tcp6,tp_src=80,ipv6_src=2001:db8::/32",
		Actions: "output(port=12,max_len=64)",
	},
	{Cookie: 5, Priority: 7, Match: "arp,arp_spa=192.0.2.0/24,arp_tpa=192.0.2.9,arp_op=1", Actions: "meter:1,output:11"},
	{Cookie: 6, Priority: 7, Match: "dl_type=0x88cc", Actions: "drop"},
	{Cookie: 7, Priority: 7, Match: "icmp6,icmp_type=135,nd_target=2001:db8::9", Actions: "drop"},
	{Cookie: 8, Priority: 7, Match: "sctp,tp_dst=9", Actions: "drop"},
	{Cookie: 9, Priority: 7, Match: "udp,nw_frag=yes", Actions: "drop"},
	{
		Cookie: 10, Table: 2, Priority: 32768,
		Actions: "multipath(symmetric_l3l4+udp,1024,modulo_n,16,0,NXM_NX_REG0[]),resubmit(,3)",
	},
	{
		Cookie: 11, Table: 3, Priority: 0, Match: "reg0=0",
		Actions: "bundle_load(symmetric_l3l4+udp,0,hrw,ofport,NXM_NX_REG1[0..15],members:11,65279,12),resubmit(,4)",
	},
	{Cookie: 12, Table: 4, Priority: 65535, Match: "in_port=5,reg1=12,vlan_tci=0x1000/0x1000", Actions: "pop_vlan,output:12"},
	{
		Cookie: 1<<63 + 13, Table: 253, Priority: 32769, Match: "in_port=LOCAL",
		Actions: "push_vlan:0x8100,set_field:4196->vlan_vid,LOCAL",
	},
}

func TestEveryRuleReadsAsItWasApplied(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	c := plan.Rules{Bridge: "br0", Set: every, SetMeters: []plan.Meter{{ID: 1, Rate: 1000, Burst: 200}}}
	for range 2 { // the second time in place of themselves
		check(t, s.Apply(ctx, c))
		same(t, rules(ctx, t, s, "br0"), normal(every))
	}
	there, _, err := s.Read(ctx, "br0")
	check(t, err)
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: there})) // what Read gives can be applied
	again, _, err := s.Read(ctx, "br0")
	check(t, err)
	same(t, again, there)
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Delete: there}))
	same(t, rules(ctx, t, s, "br0"), nil)
}

func TestAddReplacesActionsAndCookie(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	first := plan.Flow{Cookie: 1, Priority: 7, Match: "in_port=5,tcp", Actions: "drop"}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: []plan.Flow{first}}))
	second := plan.Flow{Cookie: 2, Priority: 7, Match: "tcp,in_port=5", Actions: "output:11"}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: []plan.Flow{second}}))
	same(t, rules(ctx, t, s, "br0"), normal([]plan.Flow{second}))
	there, _, err := s.Read(ctx, "br0")
	check(t, err)
	third := plan.Flow{Cookie: 3, Priority: 7, Match: there[0].Match, Actions: "output:12"}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: []plan.Flow{third}, Delete: there}))
	same(t, rules(ctx, t, s, "br0"), normal([]plan.Flow{third}))
}

// A cookie may go from one rule to another in one bundle.
func TestAddHasTheCookieOfADeletedRule(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	old := []plan.Flow{{Cookie: 1, Priority: 7, Match: "in_port=5", Actions: "drop"}}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: old}))
	moved := []plan.Flow{{Cookie: 1, Priority: 8, Match: "in_port=5", Actions: "drop"}}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: moved, Delete: old}))
	same(t, rules(ctx, t, s, "br0"), normal(moved))
}

// Each of these rules is deleted alone, though others are like it but for one
// thing.
func TestDeleteRemovesOneRule(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	foreign := []plan.Flow{
		{Priority: 7, Match: "in_port=5", Actions: "drop"},
		{Priority: 7, Match: "tcp,in_port=5", Actions: "drop"},
		{Priority: 8, Match: "in_port=5", Actions: "drop"},
		{Table: 1, Priority: 7, Match: "in_port=5", Actions: "drop"},
		{Priority: 32768, Actions: "NORMAL"},
		{Cookie: 5, Priority: 1, Match: "in_port=6", Actions: "drop"},
		{Cookie: 5, Priority: 2, Match: "in_port=6", Actions: "drop"},
		{Cookie: 6, Priority: 3, Match: "in_port=6", Actions: "drop"},
	}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: foreign}))
	left, _, err := s.Read(ctx, "br0")
	check(t, err)
	for len(left) > 0 {
		i := len(left) / 2
		check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Delete: left[i : i+1]}))
		left = slices.Delete(left, i, i+1)
		got, _, err := s.Read(ctx, "br0")
		check(t, err)
		same(t, got, left)
	}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Delete: foreign})) // what is not there
}

// A rule that is not there, with the cookie of one that is, takes none away.
func TestDeleteOfAStaleRule(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: every[:1]}))
	stale := every[0]
	stale.Priority++
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Delete: []plan.Flow{stale}}))
	same(t, rules(ctx, t, s, "br0"), normal(every[:1]))
}

func TestThousandRulesAreOneBundle(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	var many []plan.Flow
	for i := range 2000 {
		many = append(many, plan.Flow{
			Cookie: uint64(i + 1), Priority: 7, Actions: "output:11,output:12",
			Match: fmt.Sprintf("tcp,in_port=%d,tp_dst=%d", i%50+1, i+1),
		})
	}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: many}))
	same(t, rules(ctx, t, s, "br0"), normal(many))
	there, _, err := s.Read(ctx, "br0")
	check(t, err)
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Delete: there[:1990]}))
	left, _, err := s.Read(ctx, "br0")
	check(t, err)
	same(t, left, there[1990:])
}

func TestRefusedBundleChangesNothing(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	meter := []plan.Meter{{ID: 1, Rate: 1000, Burst: 200}}
	check(t, s.Apply(ctx, plan.Rules{Bridge: "br0", Set: every[:6], SetMeters: meter}))
	before, meters, err := s.Read(ctx, "br0")
	check(t, err)
	for _, c := range []struct{ match, actions, says string }{
		{"in_port=77", "meter:99", "OFPMMFC_INVALID_METER"}, // ovs-vswitchd refuses it
		{"in_port=77,frob=1", "drop", "unknown keyword frob"},
		{"in_port=77", "frob", "unknown action frob"},
		{"in_port=77\n", "drop", `"in_port=77\n"`},
		{"in_port=77", "drop\nadd actions=normal", "more than a rule"},
		{"in_port=77#", "drop", "more than a rule"},
	} {
		err := s.Apply(ctx, plan.Rules{
			Bridge: "br0",
			Set: []plan.Flow{
				{Cookie: 1, Priority: 7, Match: every[0].Match, Actions: "output:1"}, // in place of another
				{Cookie: 100, Priority: 8, Match: "in_port=5", Actions: "drop"},
				{Cookie: 101, Priority: 8, Match: c.match, Actions: c.actions},
				{Cookie: 102, Priority: 8, Match: "in_port=6", Actions: "drop"},
			},
			Delete: before[2:4], DeleteMeters: []uint32{1},
		})
		if !errors.Is(err, openflow.ErrRejected) || errors.Is(err, openflow.ErrUnreachable) {
			t.Fatalf("error is %v, want ErrRejected", err)
		}
		said := err.Error()
		if !strings.Contains(said, c.says) || !strings.Contains(said, `"br0"`) || strings.Contains(said, "\n") {
			t.Errorf("error is %s, want a line that says %s of br0", said, c.says)
		}
		after, there, err := s.Read(ctx, "br0")
		check(t, err)
		same(t, after, before)
		same(t, there, meters)
	}
}

// OVS takes all names but those with / or \.
func TestOddNames(t *testing.T) {
	t.Parallel()
	odd := []string{"a b,c\"", "x:1", "ä%n", "-f", "a'$(b)"}
	ctx, lab, s := start(t)
	for _, name := range odd {
		_, err := lab.VSCtl(ctx, "--", "add-br", name, "--", "set", "Bridge", name, "datapath_type=dummy", "fail_mode=secure")
		check(t, err)
		check(t, s.Apply(ctx, plan.Rules{Bridge: name, Set: every[:1]}))
		same(t, rules(ctx, t, s, name), normal(every[:1]))
		there, _, err := s.Read(ctx, name)
		check(t, err)
		there[0].Cookie = 0
		check(t, s.Apply(ctx, plan.Rules{Bridge: name, Set: there}))
		check(t, s.Apply(ctx, plan.Rules{Bridge: name, Delete: there}))
		same(t, rules(ctx, t, s, name), nil)
	}
}
