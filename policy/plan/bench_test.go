package plan_test

import (
	"fmt"
	"testing"

	"spanctl/policy"
	"spanctl/policy/plan"
)

// BenchmarkCompile compiles 100 sessions on hosts of 10 bridges. The figure to
// hold is 250 ms for 100,000 ports; ns/port shows that it grows linearly.
func BenchmarkCompile(b *testing.B) {
	for _, ports := range []int{10_000, 100_000} {
		for _, kind := range []string{"literal", "glob"} {
			b.Run(fmt.Sprintf("ports=%d/%s", ports, kind), func(b *testing.B) {
				snap, intent := largeHost(b, ports, kind)
				for b.Loop() {
					if d := plan.Compile(snap, intent, noon); len(d.Rows) != 200 {
						b.Fatal(len(d.Rows))
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(ports), "ns/port")
			})
		}
	}
}

// largeHost has 100 tenants with ports on ten bridges, and a session for each
// tenant's ports on one of them, to a destination of its own.
func largeHost(b *testing.B, ports int, kind string) (*plan.Snapshot, plan.Intent) {
	snap := &plan.Snapshot{Root: "root", OVSVersion: "3.5.0", Intent: map[string]string{}}
	serial := 0
	uuid := func() string { serial++; return fmt.Sprintf("uuid-%d", serial) }
	for n := range 10 {
		bridge := plan.Bridge{UUID: uuid(), Name: fmt.Sprintf("br%d", n)}
		for i := range ports / 10 {
			name := fmt.Sprintf("vif%d.%06d", n, i)
			bridge.Ports = append(bridge.Ports, plan.Port{UUID: uuid(), Name: name, Interfaces: []plan.Interface{{
				UUID: uuid(), Name: name, OFPort: i + 1,
				ExternalIDs: map[string]string{
					"attached-mac": fmt.Sprintf("02:00:00:%02x:%02x:%02x", n, i>>8, i&255),
					"vm-id":        fmt.Sprintf("vm-%02d-%d", n*10+i%10, i),
					"tenant":       fmt.Sprintf("t%02d", n*10+i%10),
				},
			}}})
		}
		snap.Bridges = append(snap.Bridges, bridge)
	}
	intent := plan.Intent{}
	for i := range 100 {
		source := policy.Selector{ExternalIDs: map[string]string{"tenant": fmt.Sprintf("t%02d", i)}}
		if kind == "glob" {
			source = policy.Selector{VM: fmt.Sprintf("vm-%02d-*", i)}
		}
		session := &policy.Session{Sources: []policy.Selector{source}, Destinations: []policy.Destination{{Interface: fmt.Sprintf("vif%d.%06d", i/10, i%10)}}}
		if err := intent.Put(fmt.Sprintf("tenant-%d", i), session); err != nil {
			b.Fatal(err)
		}
	}
	return snap, intent
}
