package openflow_test

import (
	"errors"
	"slices"
	"testing"

	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
)

func TestMeters(t *testing.T) {
	t.Parallel()
	ctx, lab, s := start(t, "br0")
	expect := func(want ...plan.Meter) {
		t.Helper()
		_, got, err := s.Read(ctx, "br0")
		check(t, err)
		same(t, got, want)
	}
	apply := func(c plan.Rules) {
		t.Helper()
		check(t, s.Apply(ctx, c))
	}
	bits := plan.Meter{ID: 1, Rate: 1000, Burst: 200}
	packets := plan.Meter{ID: 70000, Rate: 5, Burst: 1, Packets: true}
	apply(plan.Rules{Bridge: "br0", SetMeters: []plan.Meter{packets, bits}})
	expect(bits, packets)

	bits.Rate, bits.Burst, bits.Packets = 4294967295, 0, true
	packets.Burst, packets.Packets = 4, false
	third := plan.Meter{ID: 3, Rate: 1, Burst: 1}
	apply(plan.Rules{Bridge: "br0", SetMeters: []plan.Meter{bits, third, packets}})
	expect(bits, third, packets)

	// A meter goes with the last rule that has it, and one that is replaced stays.
	apply(plan.Rules{Bridge: "br0", Set: []plan.Flow{
		{Cookie: 1, Match: "in_port=5", Actions: "meter:1,output:11"},
		{Cookie: 2, Match: "in_port=6", Actions: "meter:3,output:11"},
	}})
	apply(plan.Rules{
		Bridge:       "br0",
		Set:          []plan.Flow{{Cookie: 3, Match: "in_port=6", Actions: "output:11"}},
		DeleteMeters: []uint32{3, 70000, 70000, 9},
	})
	expect(bits)
	same(t, rules(ctx, t, s, "br0"), []plan.Flow{
		{Cookie: 1, Match: "in_port=5", Actions: "meter:1,output:11"},
		{Cookie: 3, Match: "in_port=6", Actions: "output:11"},
	})

	// Meters of another hand are there too, and can be deleted.
	for _, text := range []string{
		"meter=controller,pktps,band=type=drop,rate=9",
		"meter=slowpath,pktps,stats,band=type=drop,rate=9",
		"meter=5,kbps,bands=type=drop,rate=9,type=drop,rate=10",
	} {
		_, err := lab.OFCtl(ctx, "-O", "OpenFlow14", "add-meter", "unix:"+lab.Dir+"/br0.mgmt", text)
		check(t, err)
	}
	expect(bits, plan.Meter{ID: 5},
		plan.Meter{ID: 0xfffffffd, Rate: 9, Packets: true}, plan.Meter{ID: 0xfffffffe, Rate: 9, Packets: true})
	apply(plan.Rules{Bridge: "br0", DeleteMeters: []uint32{5, 0xfffffffe, 0xfffffffd}})
	expect(bits)
}

func TestMetersThatAreRefused(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	for _, m := range []plan.Meter{
		{ID: 0, Rate: 1}, {ID: 0xffffffff, Rate: 1}, {ID: 1, Rate: 0},
	} {
		err := s.Apply(ctx, plan.Rules{Bridge: "br0", SetMeters: []plan.Meter{m}, Set: every[:1]})
		if !errors.Is(err, openflow.ErrRejected) {
			t.Errorf("%+v: %v", m, err)
		}
		same(t, rules(ctx, t, s, "br0"), nil)
	}
}

// What a meter drops and a rule matches is counted.
func TestCounts(t *testing.T) {
	t.Parallel()
	ctx, lab, s := start(t, "br0")
	_, err := lab.VSCtl(ctx, "add-port", "br0", "p5", "--", "set", "Interface", "p5", "type=dummy", "ofport_request=5")
	check(t, err)
	check(t, s.Apply(ctx, plan.Rules{
		Bridge:    "br0",
		SetMeters: []plan.Meter{{ID: 1, Rate: 1, Burst: 1, Packets: true}},
		Set:       []plan.Flow{{Cookie: 1, Priority: 7, Match: "in_port=5", Actions: "meter:1,LOCAL"}},
	}))
	const sent = 20
	frame := "in_port(5),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x88cc)"
	_, err = lab.AppCtl(ctx, append([]string{"netdev-dummy/receive", "p5"}, slices.Repeat([]string{frame}, sent)...)...)
	check(t, err)
	for { // until ctx ends: ovs-vswitchd gathers counts every half second
		flows, meters, err := s.Read(ctx, "br0")
		check(t, err)
		if flows[0].Packets == sent && flows[0].Bytes >= sent*14 && meters[0].Dropped > 0 && meters[0].Dropped < sent {
			return
		}
	}
}
