package openflow

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"spanctl/policy/plan"
)

// virtual meters have names in place of numbers, enum ofp13_meter of OpenFlow 1.3.
// They can be on a bridge; no rule names them.
var virtual = map[string]uint32{"slowpath": 0xfffffffd, "controller": 0xfffffffe}

// meters is the bridge's meters by their IDs. One that is not a single drop band,
// which spanctl never makes, has a Rate and Burst of zero.
func (s *Switch) meters(ctx context.Context, bridge string) ([]plan.Meter, error) {
	configured, err := s.ofctl(ctx, nil, bridge, "dump-meters")
	if err != nil {
		return nil, err
	}
	meters, err := parseMeters(configured)
	if err != nil || len(meters) == 0 {
		return nil, err
	}
	counted, err := s.ofctl(ctx, nil, bridge, "meter-stats")
	if err != nil {
		return nil, err
	}
	return meters, countDropped(meters, counted)
}

// setMeters makes the meters, or changes those whose IDs are there.
func (s *Switch) setMeters(ctx context.Context, bridge string, meters []plan.Meter) error {
	if len(meters) == 0 {
		return nil
	}
	there, err := s.meters(ctx, bridge)
	if err != nil {
		return err
	}
	for _, m := range meters {
		command := "add-meter"
		if slices.ContainsFunc(there, func(t plan.Meter) bool { return t.ID == m.ID }) {
			command = "mod-meter"
		}
		if _, err := s.ofctl(ctx, nil, bridge, command, formatMeter(m)); err != nil {
			return fmt.Errorf("meter %d: %w", m.ID, err)
		}
	}
	return nil
}

// deleteMeters removes the meters; one that is not there is no error. Rules that
// still name one go with it, as OpenFlow has it.
func (s *Switch) deleteMeters(ctx context.Context, bridge string, ids []uint32) error {
	for _, id := range ids {
		if _, err := s.ofctl(ctx, nil, bridge, "del-meter", "meter="+meterName(id)); err != nil {
			return fmt.Errorf("meter %d: %w", id, err)
		}
	}
	return nil
}

// formatMeter is the meter as ovs-ofctl(8) takes it: a band has a burst_size if
// and only if the meter has the flag.
func formatMeter(m plan.Meter) string {
	unit, flag, size := "kbps", "", ""
	if m.Packets {
		unit = "pktps"
	}
	if m.Burst != 0 {
		flag, size = "burst,", fmt.Sprintf(",burst_size=%d", m.Burst)
	}
	return fmt.Sprintf("meter=%s,%s,%sband=type=drop,rate=%d%s", meterName(m.ID), unit, flag, m.Rate, size)
}

func meterName(id uint32) string {
	for name, number := range virtual {
		if number == id {
			return name
		}
	}
	return strconv.FormatUint(uint64(id), 10)
}
