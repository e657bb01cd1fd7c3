package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/ovstest"
	"spanctl/ovs/vswitchd"
)

// A fullHost is a host with many ports on br0, every other of which is in the zone that is mirrored to the first. There is a
// database only; in the place of ovs-vswitchd all that is asked for is in force at once.
type fullHost struct {
	testing.TB
	ctx    context.Context
	lab    *ovstest.Lab
	db     *onlooker
	ports  int
	serial int
	newest string // the name of the port that came last
}

// everyRow is a condition that all rows meet: the library leaves an empty one out, and the server wants one.
var everyRow = []ovsdb.Condition{ovsdb.NewCondition("_uuid", ovsdb.ConditionNotEqual, ovsdb.UUID{GoUUID: "00000000-0000-0000-0000-000000000000"})}

// halfSession mirrors half of a fullHost.
const halfSession = `{"version":1,"sources":[{"external_ids":{"zone":"a"}}],"destinations":[{"interface":"vif00000"}]}`

// newFullHost makes one that ends with the test, or after that time.
func newFullHost(tb testing.TB, ports int, most time.Duration) *fullHost {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	tb.Cleanup(cancel)
	c := &fullHost{TB: tb, ctx: ctx, ports: ports}
	var err error
	c.lab, err = ovstest.Start(ctx, ovstest.Config{Name: tb.Name(), DatabaseOnly: true})
	c.check(err)
	tb.Cleanup(func() {
		if err := c.lab.Close(); err != nil {
			tb.Error(err)
		}
	})
	c.db, err = lookOn(ctx, c.lab.DB)
	c.check(err)
	tb.Cleanup(c.db.Close)
	c.playVSwitchd()
	var ops []ovsdb.Operation
	for i := range ports {
		ops = append(ops, c.enter(map[bool]string{true: "a"}[i%2 == 1])...)
	}
	c.transact(ops...)
	_, err = c.lab.VSCtl(ctx, "--no-wait", "set", "Open_vSwitch", ".", `external_ids:"spanctl/session/half"=`+strconv.Quote(halfSession), "ovs_version=3.1.0")
	c.check(err)
	return c
}

func (c *fullHost) check(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *fullHost) transact(ops ...ovsdb.Operation) {
	c.Helper()
	c.check(bareTransact(c.ctx, c.db, ops...))
}

// enter are the operations by which another port appears.
func (c *fullHost) enter(zone string) []ovsdb.Operation {
	n := c.serial
	c.serial++
	c.newest = fmt.Sprintf("vif%05d", n)
	ids := map[any]any{"attached-mac": fmt.Sprintf("02:00:00:%02x:%02x:%02x", n>>16, n>>8&255, n&255), "vm-id": fmt.Sprintf("vm-%d", n), "iface-status": "active"}
	if zone != "" {
		ids["zone"] = zone
	}
	iface, port := fmt.Sprintf("i%d", n), fmt.Sprintf("p%d", n)
	return []ovsdb.Operation{
		{Op: ovsdb.OperationInsert, Table: vswitchd.InterfaceTable, UUIDName: iface, Row: ovsdb.Row{"name": c.newest, "external_ids": ovsdb.OvsMap{GoMap: ids}}},
		{Op: ovsdb.OperationInsert, Table: vswitchd.PortTable, UUIDName: port, Row: ovsdb.Row{"name": c.newest, "interfaces": ovsdb.UUID{GoUUID: iface}}},
		onBridge(ovsdb.MutateOperationInsert, port),
	}
}

func onBridge(mutator ovsdb.Mutator, port string) ovsdb.Operation {
	return ovsdb.Operation{
		Op: ovsdb.OperationMutate, Table: vswitchd.BridgeTable, Where: []ovsdb.Condition{ovsdb.NewCondition("name", ovsdb.ConditionEqual, "br0")},
		Mutations: []ovsdb.Mutation{*ovsdb.NewMutation("ports", mutator, ovsdb.OvsSet{GoSet: []any{ovsdb.UUID{GoUUID: port}}})},
	}
}

// restart restarts the newest guest of the zone, as another: its port goes and another appears, at one moment.
func (c *fullHost) restart() {
	c.Helper()
	gone := c.db.port(c.newest).uuid
	c.transact(append(c.enter("a"), onBridge(ovsdb.MutateOperationDelete, gone))...)
	c.check(c.db.wait(c.ctx, "the port", func() bool { return c.db.port(c.newest).uuid != "" }))
}

// playVSwitchd sets cur_cfg to next_cfg until the test ends.
func (c *fullHost) playVSwitchd() {
	type root struct {
		UUID    string   `ovsdb:"_uuid"`
		Bridges []string `ovsdb:"bridges"` // the library takes no note of a row whose columns have their defaults
		CurCfg  int      `ovsdb:"cur_cfg"`
		NextCfg int      `ovsdb:"next_cfg"`
	}
	asked := make(chan root, 1000)
	vswitchd, err := bareConnect(c.ctx, c.lab.DB, map[string]model.Model{"Open_vSwitch": &root{}}, &cache.EventHandlerFuncs{
		UpdateFunc: func(_ string, _, now model.Model) {
			if r := now.(*root); r.NextCfg > r.CurCfg {
				asked <- *r
			}
		},
	})
	c.check(err)
	ctx, end := context.WithCancel(c.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case r := <-asked:
				op := ovsdb.Operation{Op: ovsdb.OperationUpdate, Table: "Open_vSwitch", Where: everyRow, Row: ovsdb.Row{"cur_cfg": r.NextCfg}}
				if err := bareTransact(ctx, vswitchd, op); err != nil && ctx.Err() == nil {
					c.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	c.Cleanup(func() {
		end()
		<-done
		vswitchd.Close()
	})
}

// agent starts an agent that ends with the test, and returns its process id when everybody who shall be is mirrored.
func (c *fullHost) agent(args ...string) int {
	c.Helper()
	pid := c.start("spanctl", append([]string{"agent", "--listen", "", "--db", c.lab.DB}, args...)...)
	c.check(c.db.wait(c.ctx, "the mirror of all", func() bool { n, _ := c.db.selected(""); return n == c.ports/2 && c.db.inForce() }))
	return pid
}

// start starts a program that ends with the test.
func (c *fullHost) start(name string, args ...string) (pid int) {
	c.Helper()
	cmd := exec.CommandContext(c.ctx, name, args...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = c.Output()
	c.check(cmd.Start())
	c.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// memory is a size of a process as the kernel tells it in /proc/PID/status, such as VmRSS, in MiB.
func (c *fullHost) memory(pid int, key string) float64 {
	c.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	c.check(err)
	_, rest, _ := strings.Cut(string(text), "\n"+key+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		c.Fatalf("no %s of process %d", key, pid)
	}
	kib, err := strconv.Atoi(fields[0])
	c.check(err)
	return float64(kib) / 1024
}
