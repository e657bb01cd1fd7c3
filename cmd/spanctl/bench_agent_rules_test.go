package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// BenchmarkAgentIdleRules measures what an agent costs while nothing happens on a real switch with 1,000 ports, of which all
// are copied but for what rules leave out, to a guest and by a tunnel: its part of a core. It looks at the rules and routes
// every 5 s.
func BenchmarkAgentIdleRules(b *testing.B) {
	const ports, period = 1000, 20 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	b.Cleanup(cancel)
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: b.Name(), Dummy: true})
	check := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	check(err)
	b.Cleanup(func() { check(lab.Close()) })
	var args []string
	for i := range ports {
		args = append(args, "--", "add-port", "br0", fmt.Sprintf("vif%d", i))
	}
	_, err = lab.VSCtl(ctx, args...)
	check(err)
	_, err = lab.VSCtl(ctx, "set", "Open_vSwitch", ".", `external_ids:"spanctl/session/all"="{\"version\":1,\"sources\":[{\"role\":\"all\"}],\"exclude\":[{\"protocol\":\"tcp\",\"port\":7788}],\"destinations\":[{\"interface\":\"vif0\"},{\"gre\":{\"remote\":\"192.0.2.10\"}}]}"`)
	check(err)
	cmd := exec.CommandContext(ctx, "spanctl", "agent", "--listen", "", "--db", lab.DB)
	cmd.Stderr = os.Stderr
	check(cmd.Start())
	b.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	_, err = lab.VSCtl(ctx, "wait-until", "Mirror", "spanctl-all")
	check(err)
	tick := time.NewTicker(period)
	defer tick.Stop()
	<-tick.C // the first passes
	var cpu []float64
	for b.Loop() {
		start, used := time.Now(), cpuTime(b, cmd.Process.Pid)
		<-tick.C
		cpu = append(cpu, 100*float64(cpuTime(b, cmd.Process.Pid)-used)/float64(time.Since(start)))
	}
	slices.Sort(cpu)
	b.ReportMetric(middle(cpu), "%core")
	b.ReportMetric(0, "ns/op")
}
