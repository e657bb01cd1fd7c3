package openflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"spanctl/policy/plan"
)

// Read is the rules of a bridge, by table and then by falling priority, and its
// meters, both with what they have counted. A match is as plan.NormalMatch writes it,
// so that it compares with a planned one. Rules and meters of another hand are there
// too; a rule's timeouts and flags are not told.
func (s *Switch) Read(ctx context.Context, bridge string) ([]plan.Flow, []plan.Meter, error) {
	flows, err := s.flows(ctx, bridge)
	if err != nil {
		return nil, nil, fmt.Errorf("rules of bridge %q: %w", bridge, err)
	}
	meters, err := s.meters(ctx, bridge)
	if err != nil {
		return nil, nil, fmt.Errorf("meters of bridge %q: %w", bridge, err)
	}
	return flows, meters, nil
}

func (s *Switch) flows(ctx context.Context, bridge string) ([]plan.Flow, error) {
	out, err := s.ofctl(ctx, nil, bridge, "dump-flows")
	if err != nil {
		return nil, err
	}
	flows := []plan.Flow{} // known, also if there are none
	for line := range replies(out) {
		flow, err := parseFlow(line)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", line, err)
		}
		flow.Match = plan.NormalMatch(flow.Match)
		flows = append(flows, flow)
	}
	slices.SortFunc(flows, func(a, b plan.Flow) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Match, b.Match))
	})
	return flows, nil
}

// replies is the lines of a dump without the line that begins each of its
// messages: "OFPST_FLOW reply (OF1.4) (xid=0x2): flags=[more]".
func replies(out []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(string(out)) {
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "OFPST_") && !yield(line) {
				return
			}
		}
	}
}

// parseFlow reads a rule as ofputil_flow_stats_format() of OVS 3.1 writes
// it: fields that end in a comma, flags without one, the match, and the actions.
//
//	cookie=0x1, duration=5s, table=0, n_packets=0, n_bytes=0, send_flow_rem priority=7,ip,in_port=5 actions=drop
func parseFlow(line string) (plan.Flow, error) {
	flow := plan.Flow{Priority: 32768} // OFP_DEFAULT_PRIORITY is not printed
	head, actions, found := strings.Cut(line, " actions=")
	if !found || actions == "" || !strings.HasPrefix(head, "cookie=") {
		return flow, errors.New("no rule")
	}
	flow.Actions = actions
	words := strings.Fields(head)
	for i, word := range words {
		field, inHead := strings.CutSuffix(word, ",")
		var err error
		switch {
		case inHead:
			err = setField(&flow, field)
		case slices.Contains(flags, word):
		case i == len(words)-1 && i > 0:
			err = setMatch(&flow, word)
		default:
			err = fmt.Errorf("unknown word %q", word)
		}
		if err != nil {
			return flow, err
		}
	}
	return flow, nil
}

// flags of a rule, ofputil_format_flow_flags().
var flags = []string{"send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"}

func setField(flow *plan.Flow, field string) error {
	key, value, _ := strings.Cut(field, "=")
	var err error
	switch key {
	case "cookie":
		flow.Cookie, err = strconv.ParseUint(value, 0, 64)
	case "table":
		flow.Table, err = parseInt(value, 8)
	case "n_packets":
		flow.Packets, err = strconv.ParseUint(value, 10, 64)
	case "n_bytes":
		flow.Bytes, err = strconv.ParseUint(value, 10, 64)
	case "duration", "idle_timeout", "hard_timeout", "importance", "idle_age", "hard_age":
	default:
		err = fmt.Errorf("unknown field %q", field)
	}
	return err
}

func setMatch(flow *plan.Flow, text string) error {
	priority, found := strings.CutPrefix(text, "priority=")
	if !found {
		flow.Match = text
		return nil
	}
	var err error
	priority, flow.Match, _ = strings.Cut(priority, ",")
	flow.Priority, err = parseInt(priority, 16)
	return err
}

// parseInt reads an unsigned decimal number of so many bits.
func parseInt(text string, bits int) (int, error) {
	n, err := strconv.ParseUint(text, 10, bits)
	return int(n), err
}
