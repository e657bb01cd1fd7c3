package main

import (
	"fmt"
	"math"
)

// copies are how many of each packet two local guests and the collector get.
type copies [3]int

func copiesTo(locals, tunnels int) copies { return copies{min(locals, 1), locals / 2, tunnels} }

// counts are packets of a and b, and copies that have arrived.
type counts struct {
	packets int
	copies  copies
}

// count reads the kernel's counters. They run on meanwhile, so packets are those halfway.
func (r *rig) count() counts {
	packets := func() int { return r.packets(r.lab.PID(), r.a.Port()) + r.packets(r.lab.PID(), r.b.Port()) }
	first := packets()
	copied := copies{r.packets(r.audits[0].PID(), "eth0"), r.packets(r.audits[1].PID(), "eth0"), r.packets(r.collector.PID(), "eth0")}
	return counts{(first + packets()) / 2, copied}
}

func (c counts) since(before counts) counts {
	c.packets -= before.packets
	for i := range c.copies {
		c.copies[i] -= before.copies[i]
	}
	return c
}

// off is how many copies of a packet are missing or too many, on average, where that is most.
func (c counts) off(want copies) float64 {
	most := 0.0
	for i, n := range c.copies {
		most = max(most, math.Abs(float64(n)/float64(c.packets)-float64(want[i])))
	}
	return most
}

// checkCopies is an error if a variant had other copies than it should: more than those on the way when it was counted.
func checkCopies(turns []turn, v *variant) error {
	var all, worst counts
	for _, t := range turns {
		if t.variant != v {
			continue
		}
		all.packets += t.packets
		for i, n := range t.copies {
			all.copies[i] += n
		}
		if worst.packets == 0 || t.off(v.want) > worst.off(v.want) {
			worst = t.counts
		}
	}
	if all.off(v.want) > 0.02 {
		return fmt.Errorf("%s: %d packets have copies %v, in the worst turn %d have %v; want %v of each", v.name, all.packets, all.copies, worst.packets, worst.copies, v.want)
	}
	return nil
}
