package ovs

import (
	"context"
	"errors"
	"time"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// statisticsPeriod is how long a new mirror may be without statistics:
// ovs-vswitchd writes them every five seconds (other_config
// stats-update-interval, whose least value is 5000 ms).
const statisticsPeriod = 6 * time.Second

// Statistics reads the counters of our mirrors, by the row's UUID. If one has
// none yet it waits for the next time that ovs-vswitchd writes them: a mirror
// that has none after that is not installed, whatever cur_cfg says.
func (c *Conn) Statistics(ctx context.Context, s *plan.Snapshot) (map[string]plan.Counters, error) {
	var uuids []string
	for b := range s.Bridges {
		for m := range s.Bridges[b].Mirrors {
			if mirror := &s.Bridges[b].Mirrors[m]; mirror.Managed() {
				uuids = append(uuids, mirror.UUID)
			}
		}
	}
	if len(uuids) == 0 {
		return nil, nil
	}
	patience, cancel := context.WithTimeout(ctx, statisticsPeriod)
	defer cancel()
	for {
		counters, missing, err := c.statistics(ctx, uuids)
		if err != nil || missing == "" {
			return counters, err
		}
		timeout := serverTimeout(patience)
		wait := ovsdb.Operation{
			Op: ovsdb.OperationWait, Table: vswitchd.MirrorTable, Timeout: &timeout, Until: string(ovsdb.WaitConditionNotEqual),
			Where: []ovsdb.Condition{isUUID(missing)}, Columns: []string{"statistics"},
			Rows: []ovsdb.Row{{"statistics": ovsdb.OvsMap{GoMap: map[any]any{}}}},
		}
		_, err = c.transact(patience, []ovsdb.Operation{wait})
		switch {
		case errors.Is(err, ErrConflict) || patience.Err() != nil:
			return counters, nil
		case err != nil:
			return nil, err
		}
	}
}

// statistics reads counters once, and names a mirror that has none, if any. Of
// mirrors that are gone it says nothing.
func (c *Conn) statistics(ctx context.Context, uuids []string) (counters map[string]plan.Counters, missing string, err error) {
	ops := make([]ovsdb.Operation, len(uuids))
	for i, uuid := range uuids {
		ops[i] = ovsdb.Operation{Op: ovsdb.OperationSelect, Table: vswitchd.MirrorTable, Where: []ovsdb.Condition{isUUID(uuid)}, Columns: []string{"statistics"}}
	}
	results, err := c.transact(ctx, ops)
	if err != nil {
		return nil, "", err
	}
	counters = map[string]plan.Counters{}
	for i, uuid := range uuids {
		for _, row := range results[i].Rows {
			stats, ok := row["statistics"].(ovsdb.OvsMap)
			if !ok || len(stats.GoMap) == 0 {
				missing = uuid
				continue
			}
			packets, _ := stats.GoMap["tx_packets"].(float64)
			bytes, _ := stats.GoMap["tx_bytes"].(float64)
			counters[uuid] = plan.Counters{Packets: uint64(packets), Bytes: uint64(bytes)}
		}
	}
	return counters, missing, nil
}
