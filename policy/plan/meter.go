package plan

import (
	"fmt"
	"strconv"

	"spanctl/policy"
)

// meterOf is the meter of a rate. Its burst is a tenth of a second's worth, with
// which it holds the rate within a few percent (OVS 3.1), and at least what one
// packet needs to pass at all.
func meterOf(id int, rate policy.Rate) Meter {
	const largest = 80 // kbit of a jumbo frame
	if rate.Packets > 0 {
		return Meter{ID: uint32(id), Rate: uint32(rate.Packets), Burst: uint32(max(1, rate.Packets/10)), Packets: true}
	}
	kbps := rate.Bits / 1000
	return Meter{ID: uint32(id), Rate: uint32(kbps), Burst: uint32(max(largest, kbps/10))}
}

func meterRow(bridge string, m Meter, sessions []string) Row {
	unit := "kbps"
	if m.Packets {
		unit = "pps"
	}
	return Row{
		Table: TableMeter, Bridge: bridge, Name: strconv.FormatUint(uint64(m.ID), 10), Sessions: sessions, Tier: TierFlow,
		Columns: map[string]Value{colRate: {fmt.Sprintf("%d%s", m.Rate, unit)}, colBurst: {strconv.FormatUint(uint64(m.Burst), 10)}},
	}
}
