package ovs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/client"

	"spanctl/ovs/vswitchd"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// Observe returns what the database holds now. The first call starts a monitor
// of the columns that row types name: never of statistics, which change every
// five seconds.
func (c *Conn) Observe(ctx context.Context) (*plan.Snapshot, error) {
	if !c.monitored {
		monitor := c.client.NewMonitor()
		for name := range c.types {
			table := client.TableMonitor{Table: name, Fields: columns(c.types[name])}
			monitor.Tables = append(monitor.Tables, table)
		}
		if _, err := c.client.Monitor(ctx, monitor); err != nil {
			return nil, unreachable(c.remote, err)
		}
		c.monitored = true
	}
	return c.snapshot()
}

// rows returns the cached rows of a table by UUID. They are shared with the
// cache: read only.
func rows[T any](c *Conn, table string) map[string]*T {
	cached := c.client.Cache().Table(table).RowsShallow()
	typed := make(map[string]*T, len(cached))
	for uuid, row := range cached {
		typed[uuid] = widen[T](row)
	}
	return typed
}

func (c *Conn) snapshot() (*plan.Snapshot, error) {
	roots := rows[vswitchd.OpenvSwitch](c, vswitchd.OpenvSwitchTable)
	if len(roots) == 0 {
		return nil, fmt.Errorf("%w: %s: the database has no Open_vSwitch row; run ovs-vsctl init", ErrUnreachable, c.remote)
	}
	_, whole := c.types[vswitchd.MirrorTable].(*vswitchd.Mirror)
	s := &plan.Snapshot{MirrorFilter: whole, Intent: map[string]string{}}
	for uuid, root := range roots {
		s.Root, s.OVSVersion, s.Revision = uuid, value(root.OVSVersion), root.ExternalIDs[plan.KeyRevision]
		for key, text := range root.ExternalIDs {
			if name, ok := strings.CutPrefix(key, plan.KeyIntentPrefix); ok {
				s.Intent[name] = text
			}
		}
	}
	ports := rows[vswitchd.Port](c, vswitchd.PortTable)
	interfaces := rows[vswitchd.Interface](c, vswitchd.InterfaceTable)
	mirrors := rows[vswitchd.Mirror](c, vswitchd.MirrorTable)
	for uuid, row := range rows[vswitchd.Bridge](c, vswitchd.BridgeTable) {
		b := plan.Bridge{UUID: uuid, Name: row.Name, DatapathType: row.DatapathType, Ports: make([]plan.Port, 0, len(row.Ports))}
		for _, ref := range row.Ports {
			if p, ok := ports[ref]; ok {
				b.Ports = append(b.Ports, port(p, interfaces))
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

func port(row *vswitchd.Port, interfaces map[string]*vswitchd.Interface) plan.Port {
	p := plan.Port{
		UUID: row.UUID, Name: row.Name, Tag: row.Tag, Trunks: vlans(row.Trunks), VLANMode: value(row.VLANMode),
		ExternalIDs: row.ExternalIDs, Interfaces: make([]plan.Interface, 0, len(row.Interfaces)),
	}
	for _, ref := range row.Interfaces {
		i, ok := interfaces[ref]
		if !ok {
			continue
		}
		p.Interfaces = append(p.Interfaces, plan.Interface{
			UUID: i.UUID, Name: i.Name, Type: i.Type, Driver: i.Status["driver_name"], OFPort: value(i.Ofport),
			MACInUse: value(i.MACInUse), Error: value(i.Error), LinkState: value(i.LinkState), IfIndex: value(i.Ifindex),
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

// value returns what an optional column holds, zero if it is empty.
func value[T any](v *T) T {
	if v == nil {
		var zero T
		return zero
	}
	return *v
}
