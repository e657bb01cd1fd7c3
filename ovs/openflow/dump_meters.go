package openflow

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"spanctl/policy/plan"
)

// The lines of ofputil_format_meter_config() and ofputil_format_meter_stats(), of
// OVS 3.1; a meter is a line and one more for each of its bands:
//
//	meter=1 kbps burst stats bands=
//	type=drop rate=1000 burst_size=200
//
//	meter:1 flow_count:0 packet_in_count:9 byte_in_count:900 duration:0.020s bands:
//	0: packet_count:5 byte_count:500
var (
	meterLine   = regexp.MustCompile(`^meter=(\w+) (kbps|pktps)(?: burst)?(?: stats)? bands=$`)
	bandLine    = regexp.MustCompile(`^type=(\w+) rate=(\d+)(?: burst_size=(\d+))?(?: prec_level=\d+)?$`)
	countedLine = regexp.MustCompile(`^meter:(\w+) flow_count:\d+ packet_in_count:\d+ byte_in_count:\d+ duration:\S+ bands:$`)
	droppedLine = regexp.MustCompile(`^\d+: packet_count:(\d+) byte_count:\d+$`)
)

// parseMeters reads the bridge's meters.
func parseMeters(configured []byte) ([]plan.Meter, error) {
	var meters []plan.Meter
	bands := map[uint32]int{}
	for line := range replies(configured) {
		var err error
		if part := meterLine.FindStringSubmatch(line); part != nil {
			m := plan.Meter{Packets: part[2] == "pktps"}
			m.ID, err = meterID(part[1])
			meters = append(meters, m)
		} else if part := bandLine.FindStringSubmatch(line); part != nil && len(meters) > 0 {
			m := &meters[len(meters)-1]
			bands[m.ID]++
			if m.Rate, m.Burst = 0, 0; part[1] == "drop" && bands[m.ID] == 1 {
				m.Rate, m.Burst, err = parseBand(part[2], part[3])
			}
		} else {
			err = errors.New("unknown words")
		}
		if err != nil {
			return nil, fmt.Errorf("reading meter %q: %w", line, err)
		}
	}
	slices.SortFunc(meters, func(a, b plan.Meter) int { return cmp.Compare(a.ID, b.ID) })
	return meters, nil
}

// countDropped reads how many packets the bands of each meter counted: those over
// its rate.
func countDropped(meters []plan.Meter, counted []byte) error {
	dropped := map[uint32]uint64{}
	var id uint32
	for line := range replies(counted) {
		var err error
		var n uint64
		if part := countedLine.FindStringSubmatch(line); part != nil {
			id, err = meterID(part[1])
		} else if part := droppedLine.FindStringSubmatch(line); part != nil {
			n, err = strconv.ParseUint(part[1], 10, 64)
		} else {
			err = errors.New("unknown words")
		}
		if err != nil {
			return fmt.Errorf("reading counts of meters %q: %w", line, err)
		}
		dropped[id] += n
	}
	for i := range meters {
		meters[i].Dropped = dropped[meters[i].ID]
	}
	return nil
}

// parseBand reads a band's numbers; a meter without the burst flag prints none.
func parseBand(rate, burst string) (uint32, uint32, error) {
	r, err := parseUint32(rate)
	if err != nil || burst == "" {
		return r, 0, err
	}
	b, err := parseUint32(burst)
	return r, b, err
}

func meterID(text string) (uint32, error) {
	if id, named := virtual[text]; named {
		return id, nil
	}
	return parseUint32(text)
}

func parseUint32(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}
