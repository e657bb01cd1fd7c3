package main

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// TestOracleShares asks about many connections, both ways: sample keeps its share of them, and balance spreads evenly what
// there is, also what sample keeps.
func TestOracleShares(t *testing.T) {
	const connections = 2000
	s := newOracleSwitch(t)
	c, err := parseCase(`
bridges:
  - name: br0
    ports: [{name: a}, {name: b}, {name: ids0}, {name: ids1}, {name: ids2}, {name: ids3}, {name: ids4}, {name: ids5}]
sessions:
  one: {sources: [{interface: a, direction: from}], destinations: [{interface: ids0}], sample: 1/7}
  all: {sources: [{interface: "[ab]"}], destinations: [{interface: ids1}, {interface: ids2}, {interface: ids3}], balance: flow}
  both: {sources: [{interface: "[ab]"}], destinations: [{interface: ids4}, {interface: ids5}], sample: 1/2, balance: flow}
packets: []
`)
	if err != nil {
		t.Fatal(err)
	}
	if wrong, _ := s.compare(c, nil); wrong != "" {
		t.Fatal(wrong)
	}
	random := rand.New(rand.NewPCG(1, 2))
	o := newOracle(c, nil)
	got := map[string]int{}
	for range connections {
		p := &oraclePacket{
			In: "a", SrcMAC: portMAC(1), DstMAC: portMAC(2), Kind: "ipv4", Proto: []uint8{6, 17, 132}[random.IntN(3)],
			Src: oracleAddress(random, 4), Dst: oracleAddress(random, 4), SrcPort: uint16(random.Uint32()), DstPort: uint16(random.Uint32()),
		}
		if random.IntN(2) == 0 {
			p.Kind, p.Src, p.Dst = "ipv6", oracleAddress(random, 16), oracleAddress(random, 16)
		}
		back := *p
		back.In, back.SrcMAC, back.DstMAC, back.Src, back.Dst, back.SrcPort, back.DstPort = "b", p.DstMAC, p.SrcMAC, p.Dst, p.Src, p.DstPort, p.SrcPort
		for _, p := range []*oraclePacket{p, &back} { // the oracle wants the same for both
			if wrong, err := o.ask(s, p); wrong != "" || err != nil {
				t.Fatal(wrong, err)
			}
		}
		trace, err := s.send(p.In, p.frame())
		if err != nil {
			t.Fatal(err)
		}
		for _, copied := range trace.frames {
			got[copied.to]++
		}
	}
	for port, share := range map[string]float64{"ids0": 1. / 7, "ids1": 1. / 3, "ids2": 1. / 3, "ids3": 1. / 3, "ids4": 1. / 4, "ids5": 1. / 4} {
		want, deviation := connections*share, math.Sqrt(connections*share*(1-share))
		if n := float64(got[port]); math.Abs(n-want) > 5*deviation {
			t.Errorf("%s has %.0f of %d connections, want %.0f", port, n, connections, want)
		}
	}
	if kept := got["ids4"] + got["ids5"]; got["ids1"]+got["ids2"]+got["ids3"] != connections || kept == 0 || kept == connections {
		t.Errorf("copies are %v", got)
	}
}

func oracleAddress(random *rand.Rand, bytes int) string {
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	a, _ := netip.AddrFromSlice(slices.Clone(b))
	return a.String()
}
