package ovs_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/ovstest"
	"spanctl/ovs/vswitchd"
)

// Half of the ports of a large host are mirrored.
const (
	largePorts = 10_000
	largeZone  = "a"
)

// bareRemote makes the test binary, started again, the peer that spanctl is
// compared with: a bare client that syncs and sends one transaction.
const bareRemote = "SPANCTL_BENCH_BARE_REMOTE"

func init() {
	if remote := os.Getenv(bareRemote); remote != "" {
		if err := bareMirror(remote); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// BenchmarkMirrorHalfOfLargeHost mirrors 5,000 of 10,000 ports in whole
// processes, in turns: by spanctl apply, by a bare libovsdb client, and by ovs-vsctl. It
// reports medians and ratios.
func BenchmarkMirrorHalfOfLargeHost(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	lab, err := ovstest.Start(ctx, ovstest.Config{Name: b.Name(), DatabaseOnly: true, Bridges: []string{"br0"}})
	if err != nil {
		b.Fatal(err)
	}
	defer lab.Close()
	db, err := bareClient(ctx, lab.DB)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := addPorts(ctx, db); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	binary := filepath.Join(dir, "spanctl")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "spanctl/cmd/spanctl").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	policy := filepath.Join(dir, "policy.yaml")
	text := fmt.Sprintf("version: 1\nsessions:\n  half: {sources: [{external_ids: {zone: %s}}], destinations: [{interface: vif00000}]}\n", largeZone)
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	vsctl := vsctlArguments(lab)
	runs := map[string]*runs{"spanctl": {}, "bare": {}, "vsctl": {}}
	for b.Loop() {
		for range 5 {
			runs["spanctl"].measure(ctx, b, nil, binary, "--db", lab.DB, "apply", "-f", policy, "--no-wait")
			run(ctx, b, nil, binary, "--db", lab.DB, "delete", "--all", "--no-wait")
			runs["bare"].measure(ctx, b, []string{bareRemote + "=" + lab.DB}, os.Args[0])
			run(ctx, b, nil, "ovs-vsctl", "--db="+lab.DB, "--no-wait", "clear", "bridge", "br0", "mirrors")
			runs["vsctl"].measure(ctx, b, nil, "ovs-vsctl", vsctl...)
			run(ctx, b, nil, "ovs-vsctl", "--db="+lab.DB, "--no-wait", "clear", "bridge", "br0", "mirrors")
		}
	}
	ours, bare, theirs := runs["spanctl"], runs["bare"], runs["vsctl"]
	b.ReportMetric(median(ours.seconds), "s/spanctl")
	b.ReportMetric(median(bare.seconds), "s/bare")
	b.ReportMetric(median(theirs.seconds), "s/vsctl")
	b.ReportMetric(median(ours.mebibytes), "MiB/spanctl")
	b.ReportMetric(median(bare.mebibytes), "MiB/bare")
	b.ReportMetric(ratio(ours.seconds, bare.seconds), "time-to-bare")
	b.ReportMetric(ratio(ours.mebibytes, bare.mebibytes), "memory-to-bare")
	b.ReportMetric(ratio(ours.seconds, theirs.seconds), "time-to-vsctl")
	b.ReportMetric(0, "ns/op")
}

// runs are the wall times and peak memories of one command's runs.
type runs struct{ seconds, mebibytes []float64 }

func (r *runs) measure(ctx context.Context, b *testing.B, env []string, name string, args ...string) {
	start := time.Now()
	usage := run(ctx, b, env, name, args...)
	r.seconds = append(r.seconds, time.Since(start).Seconds())
	r.mebibytes = append(r.mebibytes, float64(usage.Maxrss)/1024)
}

func run(ctx context.Context, b *testing.B, env []string, name string, args ...string) *syscall.Rusage {
	b.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var errors strings.Builder
	cmd.Stdout, cmd.Stderr = io.Discard, &errors
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v: %s", name, err, errors.String())
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// ratio is the median of the ratios run by run: what slows the machine slows
// both.
func ratio(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

// bareClient syncs the same columns as spanctl.
func bareClient(ctx context.Context, remote string) (client.Client, error) {
	database, err := model.NewClientDBModel("Open_vSwitch", map[string]model.Model{
		vswitchd.OpenvSwitchTable: &vswitchd.OpenvSwitch{}, vswitchd.BridgeTable: &vswitchd.Bridge{},
		vswitchd.PortTable: &vswitchd.Port{}, vswitchd.InterfaceTable: &vswitchd.Interface{},
	})
	if err != nil {
		return nil, err
	}
	quiet := logr.FromSlogHandler(slog.DiscardHandler)
	c, err := client.NewOVSDBClient(database, client.WithEndpoint(remote), client.WithLogger(&quiet))
	if err != nil {
		return nil, err
	}
	return c, c.Connect(ctx)
}

// bareMirror is the peer: sync, choose, one transaction.
func bareMirror(remote string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := bareClient(ctx, remote)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.MonitorAll(ctx); err != nil {
		return err
	}
	chosen := map[string]bool{}
	for uuid, row := range c.Cache().Table(vswitchd.InterfaceTable).RowsShallow() {
		if row.(*vswitchd.Interface).ExternalIDs["zone"] == largeZone {
			chosen[uuid] = true
		}
	}
	var ports []any
	var output ovsdb.UUID
	for uuid, row := range c.Cache().Table(vswitchd.PortTable).RowsShallow() {
		port := row.(*vswitchd.Port)
		if port.Name == "vif00000" {
			output.GoUUID = uuid
		} else if chosen[port.Interfaces[0]] {
			ports = append(ports, ovsdb.UUID{GoUUID: uuid})
		}
	}
	set := ovsdb.OvsSet{GoSet: ports}
	ops := []ovsdb.Operation{
		{Op: ovsdb.OperationInsert, Table: vswitchd.MirrorTable, UUIDName: "m", Row: ovsdb.Row{"name": "half", "select_src_port": set, "select_dst_port": set, "output_port": output}},
		{
			Op: ovsdb.OperationMutate, Table: vswitchd.BridgeTable, Where: []ovsdb.Condition{ovsdb.NewCondition("name", ovsdb.ConditionEqual, "br0")},
			Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("mirrors", ovsdb.MutateOperationInsert, ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: "m"}}})},
		},
	}
	results, err := c.Transact(ctx, ops...)
	if err != nil {
		return err
	}
	_, err = ovsdb.CheckOperationResults(results, ops)
	return err
}

// addPorts gives br0 its ports, every other of them in the zone.
func addPorts(ctx context.Context, c client.Client) error {
	var ops []ovsdb.Operation
	var ports []any
	for i := range largePorts {
		iface, port := fmt.Sprintf("i%d", i), fmt.Sprintf("p%d", i)
		ids := map[any]any{"attached-mac": fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&255), "vm-id": fmt.Sprintf("vm-%d", i), "iface-status": "active"}
		if i%2 == 0 {
			ids["zone"] = largeZone
		}
		name := fmt.Sprintf("vif%05d", i)
		ops = append(ops,
			ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitchd.InterfaceTable, UUIDName: iface, Row: ovsdb.Row{"name": name, "external_ids": ovsdb.OvsMap{GoMap: ids}}},
			ovsdb.Operation{Op: ovsdb.OperationInsert, Table: vswitchd.PortTable, UUIDName: port, Row: ovsdb.Row{"name": name, "interfaces": ovsdb.UUID{GoUUID: iface}}})
		ports = append(ports, ovsdb.UUID{GoUUID: port})
	}
	ops = append(ops, ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: vswitchd.BridgeTable, Where: []ovsdb.Condition{ovsdb.NewCondition("name", ovsdb.ConditionEqual, "br0")},
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("ports", ovsdb.MutateOperationInsert, ovsdb.OvsSet{GoSet: ports})},
	})
	results, err := c.Transact(ctx, ops...)
	if err != nil {
		return err
	}
	_, err = ovsdb.CheckOperationResults(results, ops)
	return err
}

// vsctlArguments make ovs-vsctl write the same mirror, in one transaction.
func vsctlArguments(lab *ovstest.Lab) []string {
	args := []string{"--db=" + lab.DB, "--no-wait"}
	var chosen []string
	for i := 0; i < largePorts; i += 2 {
		id := fmt.Sprintf("@p%d", i)
		args = append(args, "--", "--id="+id, "get", "Port", fmt.Sprintf("vif%05d", i))
		if i > 0 {
			chosen = append(chosen, id)
		}
	}
	set := strings.Join(chosen, ",")
	return append(args, "--", "--id=@m", "create", "Mirror", "name=half", "select_src_port="+set, "select_dst_port="+set, "output_port=@p0",
		"--", "add", "Bridge", "br0", "mirrors", "@m")
}
