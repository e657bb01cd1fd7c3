package ovs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"

	"spanctl/ovs/vswitchd"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// Observe returns what the database holds now. The first call starts a monitor
// of the columns that row types name: never of statistics, which change every
// five seconds.
func (c *Conn) Observe(ctx context.Context) (*plan.Snapshot, error) {
	if !c.monitored {
		if err := c.monitor(ctx); err != nil {
			return nil, unreachable(c.remote, err)
		}
		c.monitored = true
	}
	content, err := c.content(ctx)
	if err != nil {
		return nil, err
	}
	return c.snapshot(content)
}

// monitor starts the monitor. If ctx ends before the server has answered the answer is
// still awaited, a little longer than ctx might have lasted: the library reads an answer
// that comes while it gives up.
func (c *Conn) monitor(ctx context.Context) error {
	monitor := c.client.NewMonitor()
	for name := range c.types {
		table := client.TableMonitor{Table: name, Fields: columns(c.types[name])}
		monitor.Tables = append(monitor.Tables, table)
	}
	deadline, limited := ctx.Deadline()
	if !limited {
		deadline = time.Now().Add(time.Hour)
	}
	longer, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(time.Second))
	c.starting = make(chan struct{})
	answered := make(chan error, 1)
	go func() {
		defer cancel()
		defer close(c.starting)
		_, err := c.client.Monitor(longer, monitor)
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// content is the monitored rows by table and UUID, at one moment. They are
// shared with the cache: read only.
func (c *Conn) content(ctx context.Context) (map[string]map[string]model.Model, error) {
	cache := c.client.Cache()
	if cache == nil { // it goes with the connection
		return nil, unreachable(c.remote, client.ErrNotConnected)
	}
	read := func() map[string]map[string]model.Model {
		content := make(map[string]map[string]model.Model, len(c.types))
		for name := range c.types {
			content[name] = cache.Table(name).RowsShallow()
		}
		return content
	}
	// The library takes an update in under a lock of all tables, but reads
	// under one for each table: a single reading may see half an update. Table
	// takes the lock of all, so that two readings which find the same rows (an
	// update makes new ones) are both of the moment between them.
	before := read()
	for ctx.Err() == nil {
		after := read()
		if maps.EqualFunc(before, after, maps.Equal[map[string]model.Model]) {
			return after, nil
		}
		before = after
	}
	return nil, unreachable(c.remote, ctx.Err())
}

// rows are the rows of one table, by UUID.
func rows[T any](content map[string]map[string]model.Model, table string) map[string]*T {
	typed := make(map[string]*T, len(content[table]))
	for uuid, row := range content[table] {
		typed[uuid] = widen[T](row)
	}
	return typed
}

func (c *Conn) snapshot(content map[string]map[string]model.Model) (*plan.Snapshot, error) {
	roots := rows[vswitchd.OpenvSwitch](content, vswitchd.OpenvSwitchTable)
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: %s: the database has no Open_vSwitch row; run ovs-vsctl init", ErrUnreachable, c.remote)
	}
	s := &plan.Snapshot{Intent: map[string]string{}, Reports: map[string]string{}, Local: c.local()}
	s.MirrorFilter = has(c.types[vswitchd.MirrorTable], "filter")
	for uuid, root := range roots {
		s.Root, s.OVSVersion, s.Revision = uuid, value(root.OVSVersion), root.ExternalIDs[plan.KeyRevision]
		s.Agent, s.Mark = plan.ParseLease(root.ExternalIDs[plan.KeyAgent]), root.ExternalIDs[plan.KeyChanging]
		s.Changing = c.changing(s.Mark)
		for key, text := range root.ExternalIDs {
			if name, ok := strings.CutPrefix(key, plan.KeyIntentPrefix); ok {
				s.Intent[name] = text
			} else if name, ok := strings.CutPrefix(key, plan.KeyReportPrefix); ok {
				s.Reports[name] = text
			}
		}
	}
	ports := rows[vswitchd.Port](content, vswitchd.PortTable)
	interfaces := rows[vswitchd.Interface](content, vswitchd.InterfaceTable)
	mirrors := rows[vswitchd.Mirror](content, vswitchd.MirrorTable)
	for uuid, row := range rows[vswitchd.Bridge](content, vswitchd.BridgeTable) {
		b := plan.Bridge{
			UUID: uuid, Name: row.Name, Ports: make([]plan.Port, 0, len(row.Ports)),
			Datapath: row.DatapathType, FailMode: value(row.FailMode), FloodVLANs: vlans(row.FloodVLANs), STP: row.STPEnable,
			OtherConfig: row.OtherConfig, ExternalIDs: row.ExternalIDs,
		}
		for _, ref := range row.Ports {
			if p, ok := ports[ref]; ok {
				b.Ports = append(b.Ports, c.port(p, interfaces))
			}
		}
		for _, ref := range row.Mirrors {
			if m, ok := mirrors[ref]; ok {
				b.Mirrors = append(b.Mirrors, mirror(m, ports))
			}
		}
		slices.SortFunc(b.Ports, func(x, y plan.Port) int { return cmp.Compare(x.Name, y.Name) })
		slices.SortFunc(b.Mirrors, func(x, y plan.Mirror) int {
			return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.UUID, y.UUID))
		})
		s.Bridges = append(s.Bridges, b)
	}
	slices.SortFunc(s.Bridges, func(x, y plan.Bridge) int { return cmp.Compare(x.Name, y.Name) })
	return s, nil
}

func (c *Conn) port(row *vswitchd.Port, interfaces map[string]*vswitchd.Interface) plan.Port {
	p := plan.Port{
		UUID: row.UUID, Name: row.Name, Tag: row.Tag, Trunks: vlans(row.Trunks), VLANMode: value(row.VLANMode), Protected: row.Protected, OtherConfig: row.OtherConfig,
		ExternalIDs: row.ExternalIDs, Interfaces: make([]plan.Interface, 0, len(row.Interfaces)),
	}
	for _, ref := range row.Interfaces {
		i, ok := interfaces[ref]
		if !ok {
			continue
		}
		p.Interfaces = append(p.Interfaces, plan.Interface{
			UUID: i.UUID, Name: i.Name, Type: i.Type, Driver: i.Status["driver_name"], OFPort: value(i.Ofport), OFPortRequest: value(i.OfportRequest),
			MACInUse: value(i.MACInUse), MTU: value(i.MTU), Error: value(i.Error), LinkState: value(i.LinkState),
			Options: c.withoutSecret(i, row.ExternalIDs[plan.KeyManaged] == "true"), Egress: i.Status["tunnel_egress_iface"], Carrier: i.Status["tunnel_egress_iface_carrier"],
			ExternalIDs: i.ExternalIDs,
		})
	}
	slices.SortFunc(p.Interfaces, func(x, y plan.Interface) int { return cmp.Compare(x.Name, y.Name) })
	return p
}

func mirror(row *vswitchd.Mirror, ports map[string]*vswitchd.Port) plan.Mirror {
	names := func(refs []string) []string {
		var list []string
		for _, ref := range refs {
			if p, ok := ports[ref]; ok {
				list = append(list, p.Name)
			}
		}
		slices.Sort(list)
		return list
	}
	m := plan.Mirror{
		UUID: row.UUID, Name: row.Name, SelectAll: row.SelectAll,
		SelectSrc: names(row.SelectSrcPort), SelectDst: names(row.SelectDstPort), SelectVLANs: vlans(row.SelectVLAN),
		OutputVLAN: row.OutputVLAN, Snaplen: value(row.Snaplen), Filter: value(row.Filter), ExternalIDs: row.ExternalIDs,
	}
	if row.OutputPort != nil {
		if p, ok := ports[*row.OutputPort]; ok {
			m.OutputPort = p.Name
		}
	}
	return m
}

func vlans(ids []int) policy.Ranges {
	var set policy.Ranges
	for _, id := range slices.Sorted(slices.Values(ids)) {
		if n := len(set); n > 0 && int(set[n-1].Last)+1 == id {
			set[n-1].Last = uint16(id)
		} else {
			set = append(set, policy.Range{First: uint16(id), Last: uint16(id)})
		}
	}
	return set
}

// statusKeys are those of an Interface's status that a snapshot tells.
var statusKeys = []string{"driver_name", "tunnel_egress_iface", "tunnel_egress_iface_carrier"}

// value returns what an optional column holds, zero if it is empty.
func value[T any](v *T) T {
	if v == nil {
		var zero T
		return zero
	}
	return *v
}
