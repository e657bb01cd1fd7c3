package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
)

// BenchmarkAgentEvent measures how long a guest that has restarted is not mirrored: from sending the transaction by which
// its port appears until a mirror of an agent that runs as a process of its own selects it and cur_cfg has reached that;
// the agent waits 20 ms for more to come, which are taken off. The peer is what any program on OVSDB takes at least, for the
// same event: until a bare libovsdb client with the agent's monitors has the new row.
func BenchmarkAgentEvent(b *testing.B) {
	const quiet = 20 * time.Millisecond
	for _, ports := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(ports), func(b *testing.B) {
			c := newFullHost(b, ports, 10*time.Minute)
			pid := c.agent("--quiet", quiet.String())
			c.restart() // the first makes what the next ones find made
			var bare, ours, ratios []float64
			for b.Loop() {
				c.awaitRest(pid)
				start := time.Now()
				c.restart()
				seen := time.Now()
				_, inForce, err := c.db.blind(c.ctx, c.db.port(c.newest))
				c.check(err)
				bare = append(bare, milliseconds(seen.Sub(start)))
				ours = append(ours, milliseconds(inForce.Sub(start)-quiet))
				ratios = append(ratios, ours[len(ours)-1]/bare[len(bare)-1])
			}
			for _, values := range [][]float64{bare, ours, ratios} {
				slices.Sort(values)
			}
			b.ReportMetric(middle(bare), "ms/bare")
			b.ReportMetric(middle(ours), "ms/agent")
			b.ReportMetric(ours[len(ours)-1], "ms/agent-most")
			b.ReportMetric(middle(ratios), "time-to-bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkAgentIdle measures what an agent costs while nothing happens on a host with 10,000 ports, half of them mirrored,
// but that the statistics of all interfaces change every 5 s: its part of a core, and its resident memory beside that of a
// bare libovsdb client with the same monitors. Goals, reported and not asserted: 1 % of a core, and 1.3 times the memory.
func BenchmarkAgentIdle(b *testing.B) {
	const period, rounds = 5 * time.Second, 4
	c := newFullHost(b, 10_000, 10*time.Minute)
	pid := c.agent()
	peer := c.bareClient()
	tick := time.NewTicker(period)
	defer tick.Stop()
	var cpu, ours, bare, ratios []float64
	n := 0
	for b.Loop() {
		start, used := time.Now(), cpuTime(b, pid)
		for range rounds {
			<-tick.C
			n++
			c.count(n)
		}
		cpu = append(cpu, 100*float64(cpuTime(b, pid)-used)/float64(time.Since(start)))
		ours, bare = append(ours, c.memory(pid, "VmRSS")), append(bare, c.memory(peer, "VmRSS"))
		ratios = append(ratios, ours[len(ours)-1]/bare[len(bare)-1])
	}
	for _, values := range [][]float64{cpu, ours, bare, ratios} {
		slices.Sort(values)
	}
	b.ReportMetric(middle(cpu), "%core")
	b.ReportMetric(middle(ours), "MiB/agent")
	b.ReportMetric(c.memory(pid, "VmHWM"), "MiB/agent-peak")
	b.ReportMetric(middle(bare), "MiB/bare")
	b.ReportMetric(middle(ratios), "memory-to-bare")
	b.ReportMetric(0, "ns/op")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// awaitRest returns when the process has done nothing for a moment: what it does about one event is not to be measured
// with the next.
func (c *fullHost) awaitRest(pid int) {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for last := -1; ; {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			c.Fatal("the agent does not come to rest")
		}
		now := cpuTime(c, pid)
		if now == last {
			return
		}
		last = now
	}
}

// count writes statistics as ovs-vswitchd does: of all interfaces and mirrors, in one transaction.
func (c *fullHost) count(n int) {
	counted := func(table string, keys ...string) ovsdb.Operation {
		values := map[any]any{}
		for i, key := range keys {
			values[key] = n*1000 + i
		}
		return ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: table, Where: everyRow, Row: ovsdb.Row{"statistics": ovsdb.OvsMap{GoMap: values}}}
	}
	c.transact(
		counted(vswitchd.InterfaceTable, "collisions", "rx_bytes", "rx_crc_err", "rx_dropped", "rx_errors", "rx_packets", "tx_bytes", "tx_dropped", "tx_errors", "tx_packets"),
		counted(vswitchd.MirrorTable, "tx_bytes", "tx_packets"))
}

// bareClient starts the peer in memory: this binary as a bare client with the agent's monitors. It returns its process id
// when it has everything.
func (c *fullHost) bareClient() (pid int) {
	cmd := exec.CommandContext(c.ctx, "bare-client", c.lab.DB) // in PATH, by TestMain
	cmd.Stderr = c.Output()
	said, err := cmd.StdoutPipe()
	c.check(err)
	c.check(cmd.Start())
	c.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		c.Fatalf("the bare client ends: %v", err)
	}
	return cmd.Process.Pid
}

// bareMain is that client: it stays until it is killed.
func bareMain() {
	c, err := bareConnect(context.Background(), os.Args[1], agentTypes(), &cache.EventHandlerFuncs{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitError)
	}
	fmt.Println("synced")
	<-c.DisconnectNotify()
}
