package ovs

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// Statistics reads the counters of our mirrors and of the interfaces that they
// output to. It is nil if there are none.
func (c *Conn) Statistics(ctx context.Context, s *plan.Snapshot) (*plan.Readings, error) {
	mirrors, err := c.mirrorStatistics(ctx, s)
	if err != nil || mirrors == nil {
		return nil, err
	}
	if ctx.Err() != nil || len(mirrors) == 0 {
		return &plan.Readings{Mirrors: mirrors}, nil
	}
	losses, err := c.losses(ctx, s)
	return &plan.Readings{Mirrors: mirrors, Losses: losses}, err
}

// Counters reads the same as Statistics, and waits for nothing: a mirror that has no
// counters yet has no entry.
func (c *Conn) Counters(ctx context.Context, s *plan.Snapshot) (*plan.Readings, error) {
	mirrors, _, err := c.statistics(ctx, installable(s))
	if err != nil {
		return nil, err
	}
	losses, err := c.losses(ctx, s)
	return &plan.Readings{Mirrors: mirrors, Losses: losses}, err
}

// Traffic reads how many packets each of the Interfaces, named by UUID, has received and
// sent. One that is gone, or has no statistics, has no entry.
func (c *Conn) Traffic(ctx context.Context, interfaces []string) (map[string]uint64, error) {
	if len(interfaces) == 0 {
		return nil, nil
	}
	ops := make([]ovsdb.Operation, len(interfaces))
	for i, uuid := range interfaces {
		ops[i] = ovsdb.Operation{Op: ovsdb.OperationSelect, Table: vswitchd.InterfaceTable, Where: []ovsdb.Condition{isUUID(uuid)}, Columns: []string{"statistics"}}
	}
	results, err := c.transact(ctx, ops)
	if err != nil {
		return nil, err
	}
	packets := map[string]uint64{}
	for i, uuid := range interfaces {
		for _, row := range results[i].Rows {
			if stats, ok := row["statistics"].(ovsdb.OvsMap); ok && len(stats.GoMap) > 0 {
				received, _ := stats.GoMap["rx_packets"].(float64)
				sent, _ := stats.GoMap["tx_packets"].(float64)
				packets[uuid] = uint64(received) + uint64(sent)
			}
		}
	}
	return packets, nil
}

// installable are the UUIDs of our mirrors that ovs-vswitchd can install: not of those
// without output, whose port has gone.
func installable(s *plan.Snapshot) []string {
	var uuids []string
	for b := range s.Bridges {
		for m := range s.Bridges[b].Mirrors {
			if mirror := &s.Bridges[b].Mirrors[m]; mirror.Managed() && (mirror.OutputPort != "" || mirror.OutputVLAN != nil) {
				uuids = append(uuids, mirror.UUID)
			}
		}
	}
	return uuids
}

// losses reads the counters of the interfaces that our mirrors output to.
func (c *Conn) losses(ctx context.Context, s *plan.Snapshot) (map[string]plan.Losses, error) {
	outputs := map[string]bool{}
	for b := range s.Bridges {
		for m := range s.Bridges[b].Mirrors {
			if mirror := &s.Bridges[b].Mirrors[m]; mirror.Managed() {
				outputs[mirror.OutputPort] = true
			}
		}
	}
	var names []string
	var ops []ovsdb.Operation
	for b := range s.Bridges {
		for p := range s.Bridges[b].Ports {
			if port := &s.Bridges[b].Ports[p]; outputs[port.Name] {
				for i := range port.Interfaces {
					names = append(names, port.Interfaces[i].Name)
					ops = append(ops, ovsdb.Operation{
						Op: ovsdb.OperationSelect, Table: vswitchd.InterfaceTable, Where: []ovsdb.Condition{isUUID(port.Interfaces[i].UUID)}, Columns: []string{"statistics"},
					})
				}
			}
		}
	}
	if len(ops) == 0 {
		return nil, nil
	}
	results, err := c.transact(ctx, ops)
	if err != nil {
		return nil, err
	}
	losses := map[string]plan.Losses{}
	for i, name := range names {
		for _, row := range results[i].Rows {
			stats, ok := row["statistics"].(ovsdb.OvsMap)
			if !ok || len(stats.GoMap) == 0 {
				continue
			}
			count := func(key string) uint64 { n, _ := stats.GoMap[key].(float64); return uint64(n) }
			// DPDK's tx_dropped has its own counters in it, ovs_tx_mtu_exceeded_drops among them.
			large := count("ovs_tx_mtu_exceeded_drops")
			dropped := count("tx_dropped") + count("tx_errors")
			losses[name] = plan.Losses{Dropped: dropped - min(dropped, large), TooLarge: large}
		}
	}
	return losses, nil
}

// mirrorStatistics reads the counters of our mirrors, by the row's UUID. If one
// has none yet it waits for the next time that ovs-vswitchd writes them. A mirror
// that has none after that is not installed, whatever cur_cfg says: its entry is
// nil. One that has no entry is gone, or ctx ended before that could be known.
func (c *Conn) mirrorStatistics(ctx context.Context, s *plan.Snapshot) (map[string]*plan.Counters, error) {
	uuids := installable(s)
	if len(uuids) == 0 {
		return nil, nil
	}
	period, err := c.statisticsPeriod(ctx, s.Root)
	if err != nil {
		return nil, err
	}
	patience, cancel := context.WithTimeout(ctx, period)
	defer cancel()
	deadline, limited := ctx.Deadline()
	enough, _ := patience.Deadline()
	limited = limited && !enough.Before(deadline)
	for {
		counters, missing, err := c.statistics(ctx, uuids)
		if err != nil || len(missing) == 0 {
			return counters, err
		}
		timeout := serverTimeout(patience)
		wait := ovsdb.Operation{
			Op: ovsdb.OperationWait, Table: vswitchd.MirrorTable, Timeout: &timeout, Until: string(ovsdb.WaitConditionNotEqual),
			Where: []ovsdb.Condition{isUUID(missing[0])}, Columns: []string{"statistics"},
			Rows: []ovsdb.Row{{"statistics": ovsdb.OvsMap{GoMap: map[any]any{}}}},
		}
		_, err = c.transact(patience, []ovsdb.Operation{wait})
		switch {
		case errors.Is(err, ErrConflict) || patience.Err() != nil:
			if limited || ctx.Err() != nil {
				return counters, nil
			}
			// The others may have got theirs meanwhile.
			if counters, missing, err = c.statistics(ctx, uuids); err != nil {
				return nil, err
			}
			for _, uuid := range missing {
				counters[uuid] = nil
			}
			return counters, nil
		case err != nil:
			return nil, err
		}
	}
}

// statisticsPeriod is how long a new mirror may be without statistics:
// ovs-vswitchd writes them every other_config:stats-update-interval, which is
// at least, and by default, 5000 ms (ovs-vswitchd.conf.db(5)).
func (c *Conn) statisticsPeriod(ctx context.Context, root string) (time.Duration, error) {
	results, err := c.transact(ctx, []ovsdb.Operation{{
		Op: ovsdb.OperationSelect, Table: vswitchd.OpenvSwitchTable, Where: []ovsdb.Condition{isUUID(root)}, Columns: []string{"other_config"},
	}})
	if err != nil {
		return 0, err
	}
	interval := 5000
	for _, row := range results[0].Rows {
		if config, ok := row["other_config"].(ovsdb.OvsMap); ok {
			text, _ := config.GoMap["stats-update-interval"].(string)
			if n, err := strconv.Atoi(text); err == nil {
				interval = max(interval, n)
			}
		}
	}
	return time.Duration(interval)*time.Millisecond + time.Second, nil
}

// statistics reads counters once, and names the mirrors that have none. Of
// mirrors that are gone it says nothing.
func (c *Conn) statistics(ctx context.Context, uuids []string) (counters map[string]*plan.Counters, missing []string, err error) {
	if len(uuids) == 0 {
		return nil, nil, nil
	}
	ops := make([]ovsdb.Operation, len(uuids))
	for i, uuid := range uuids {
		ops[i] = ovsdb.Operation{Op: ovsdb.OperationSelect, Table: vswitchd.MirrorTable, Where: []ovsdb.Condition{isUUID(uuid)}, Columns: []string{"statistics"}}
	}
	results, err := c.transact(ctx, ops)
	if err != nil {
		return nil, nil, err
	}
	counters = map[string]*plan.Counters{}
	for i, uuid := range uuids {
		for _, row := range results[i].Rows {
			stats, ok := row["statistics"].(ovsdb.OvsMap)
			if !ok || len(stats.GoMap) == 0 {
				missing = append(missing, uuid)
				continue
			}
			packets, _ := stats.GoMap["tx_packets"].(float64)
			bytes, _ := stats.GoMap["tx_bytes"].(float64)
			counters[uuid] = &plan.Counters{Packets: uint64(packets), Bytes: uint64(bytes)}
		}
	}
	return counters, missing, nil
}
