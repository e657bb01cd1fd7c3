package main

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
)

// An onlooker is a bare client of libovsdb with spanctl's monitors and the configuration numbers: it sees when a port
// appears, when a mirror selects it, and when that is in force.
type onlooker struct {
	client.Client
	news chan struct{}

	mu    sync.Mutex
	ports map[string]newcomer
}

// A newcomer is the newest port of a name.
type newcomer struct {
	name, uuid string
	seen       time.Time
}

// onlookerRoot is vswitchd.OpenvSwitch with the configuration numbers.
type onlookerRoot struct {
	UUID        string            `ovsdb:"_uuid"`
	Bridges     []string          `ovsdb:"bridges"`
	CurCfg      int               `ovsdb:"cur_cfg"`
	ExternalIDs map[string]string `ovsdb:"external_ids"`
	NextCfg     int               `ovsdb:"next_cfg"`
	OVSVersion  *string           `ovsdb:"ovs_version"`
}

// lookOn connects an onlooker, which has seen all that is there when this returns.
func lookOn(ctx context.Context, remote string) (*onlooker, error) {
	o := &onlooker{news: make(chan struct{}, 1), ports: map[string]newcomer{}}
	types := agentTypes()
	types[vswitchd.OpenvSwitchTable] = &onlookerRoot{}
	var err error
	o.Client, err = bareConnect(ctx, remote, types, &cache.EventHandlerFuncs{
		AddFunc: func(table string, row model.Model) {
			if port, ok := row.(*vswitchd.Port); ok {
				o.mu.Lock()
				o.ports[port.Name] = newcomer{port.Name, port.UUID, time.Now()}
				o.mu.Unlock()
			}
			o.poke()
		},
		UpdateFunc: func(string, model.Model, model.Model) { o.poke() },
	})
	return o, err
}

// agentTypes are the rows that the agent monitors.
func agentTypes() map[string]model.Model {
	return map[string]model.Model{
		vswitchd.OpenvSwitchTable: &vswitchd.OpenvSwitch{}, vswitchd.BridgeTable: &vswitchd.Bridge{}, vswitchd.PortTable: &vswitchd.Port{},
		vswitchd.InterfaceTable: &vswitchd.Interface{}, vswitchd.MirrorTable: &onlookerMirror{},
	}
}

// onlookerMirror is vswitchd.Mirror without what Open vSwitch 3.1 does not have.
type onlookerMirror struct {
	UUID          string            `ovsdb:"_uuid"`
	ExternalIDs   map[string]string `ovsdb:"external_ids"`
	Name          string            `ovsdb:"name"`
	OutputPort    *string           `ovsdb:"output_port"`
	OutputVLAN    *int              `ovsdb:"output_vlan"`
	SelectAll     bool              `ovsdb:"select_all"`
	SelectDstPort []string          `ovsdb:"select_dst_port"`
	SelectSrcPort []string          `ovsdb:"select_src_port"`
	SelectVLAN    []int             `ovsdb:"select_vlan"`
	Snaplen       *int              `ovsdb:"snaplen"`
}

func (o *onlooker) poke() {
	select {
	case o.news <- struct{}{}:
	default: // what is there stands for this one too
	}
}

// wait returns when the condition holds, which is asked again after each change. One goroutine may wait at a time, for
// 30 s at most.
func (o *onlooker) wait(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !holds() {
		select {
		case <-o.news:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// port is the newest port of that name, zero if there was none.
func (o *onlooker) port(name string) newcomer {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ports[name]
}

// appeared is the newest port whose name begins so, if it was seen after that time.
func (o *onlooker) appeared(prefix string, since time.Time) (newest newcomer, is bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, port := range o.ports {
		if strings.HasPrefix(name, prefix) && port.seen.After(since) {
			newest, is, since = port, true, port.seen
		}
	}
	return newest, is
}

// selected is how many ports our mirrors select, and whether that port is one of them.
func (o *onlooker) selected(uuid string) (n int, selects bool) {
	for _, row := range o.Cache().Table(vswitchd.MirrorTable).RowsShallow() {
		m := row.(*onlookerMirror)
		n += len(m.SelectSrcPort)
		selects = selects || slices.Contains(m.SelectSrcPort, uuid)
	}
	return n, selects
}

// inForce reports whether ovs-vswitchd has taken in all that was seen before: Table waits until an update is seen whole.
func (o *onlooker) inForce() bool {
	for _, row := range o.Cache().Table(vswitchd.OpenvSwitchTable).RowsShallow() {
		root := row.(*onlookerRoot)
		return root.CurCfg >= root.NextCfg
	}
	return false
}

// blind waits until the port is mirrored, and returns when a mirror selects it and when that is in force.
func (o *onlooker) blind(ctx context.Context, port newcomer) (selected, inForce time.Time, err error) {
	if err = o.wait(ctx, "the mirror", func() bool { _, is := o.selected(port.uuid); return is }); err != nil {
		return
	}
	selected = time.Now()
	if err = o.wait(ctx, "cur_cfg", o.inForce); err != nil {
		return
	}
	return selected, time.Now(), nil
}

// bareConnect connects a client of libovsdb without anything of ours, which has all rows when this returns. (MonitorAll asks
// for columns that the types lack, and stumbles over them.)
func bareConnect(ctx context.Context, remote string, types map[string]model.Model, handler cache.EventHandler) (client.Client, error) {
	database, err := model.NewClientDBModel("Open_vSwitch", types)
	if err != nil {
		return nil, err
	}
	quiet := logr.FromSlogHandler(slog.DiscardHandler)
	c, err := client.NewOVSDBClient(database, client.WithEndpoint(remote), client.WithLogger(&quiet))
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	c.Cache().AddEventHandler(handler)
	monitor := c.NewMonitor()
	for table, row := range types {
		columns := client.TableMonitor{Table: table}
		for typ, i := reflect.TypeOf(row).Elem(), 0; i < typ.NumField(); i++ {
			if column := typ.Field(i).Tag.Get("ovsdb"); column != "_uuid" {
				columns.Fields = append(columns.Fields, column)
			}
		}
		monitor.Tables = append(monitor.Tables, columns)
	}
	if _, err := c.Monitor(ctx, monitor); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// bareTransact runs operations in one transaction.
func bareTransact(ctx context.Context, c client.Client, ops ...ovsdb.Operation) error {
	results, err := c.Transact(ctx, ops...)
	if err != nil {
		return err
	}
	_, err = ovsdb.CheckOperationResults(results, ops)
	return err
}
