package openflow

import (
	"cmp"
	"strings"
	"testing"

	"spanctl/policy/plan"
)

func TestParseFlow(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]plan.Flow{
		"cookie=0x0, duration=1.5s, table=0, n_packets=0, n_bytes=0, actions=drop":              {Priority: 32768, Actions: "drop"},
		"cookie=0x0, duration=1.5s, table=0, n_packets=0, n_bytes=0, priority=0 actions=NORMAL": {Actions: "NORMAL"},
		"cookie=0xffffffffffffffff, duration=1s, table=254, n_packets=18446744073709551615, n_bytes=7, ip actions=drop": {
			Cookie: 1<<64 - 1, Table: 254, Priority: 32768, Match: "ip", Actions: "drop", Packets: 1<<64 - 1, Bytes: 7,
		},
		"cookie=0x1, duration=1s, table=3, n_packets=1, n_bytes=2, idle_timeout=60, hard_timeout=90, send_flow_rem " +
			"check_overlap reset_counts no_packet_counts no_byte_counts importance=4, idle_age=3, hard_age=4, " +
			"priority=9,packet_type=(1,0x800),ct_state=+trk-new actions=learn(table=1,priority=2,in_port=3),output:1": {
			Cookie: 1, Table: 3, Priority: 9, Packets: 1, Bytes: 2, Match: "packet_type=(1,0x800),ct_state=+trk-new",
			Actions: "learn(table=1,priority=2,in_port=3),output:1",
		},
		"cookie=0x1, duration=1s, table=3, n_packets=1, n_bytes=2, send_flow_rem actions=drop": {
			Cookie: 1, Table: 3, Priority: 32768, Packets: 1, Bytes: 2, Actions: "drop",
		},
	} {
		if got, err := parseFlow(line); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", line, got, err, want)
		}
	}
}

func TestParseFlowRefuses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"", "actions=drop", " actions=drop", "cookie=0x1", "cookie=0x1,", "cookie=0x1, actions=", "NXST_FLOW reply (xid=0x4):",
		"ip actions=drop", "cookie=0x1 actions=drop",
		"cookie=, actions=drop", "cookie=0x10000000000000000, actions=drop", "cookie=-1, actions=drop",
		"cookie=0x1, table=br0, actions=drop", "cookie=0x1, table=256, actions=drop", "cookie=0x1, table=-1, actions=drop",
		"cookie=0x1, n_packets=1.5, actions=drop", "cookie=0x1, n_bytes=0x5, actions=drop",
		"cookie=0x1, priority=65536,ip actions=drop", "cookie=0x1, priority=,ip actions=drop", "cookie=0x1, priority= actions=drop",
		"cookie=0x1, frobs=1, ip actions=drop", "cookie=0x1, frob ip actions=drop", "cookie=0x1, ip, tcp actions=drop",
		"cookie=0x1, table=0, ip tcp actions=drop",
	} {
		if flow, err := parseFlow(line); err == nil {
			t.Errorf("%q is %+v", line, flow)
		}
	}
}

func TestParseMetersRefuses(t *testing.T) {
	t.Parallel()
	const meter, band = "meter=1 kbps bands=\n", "type=drop rate=1\n"
	const counted = "meter:1 flow_count:0 packet_in_count:0 byte_in_count:0 duration:0.1s bands:\n"
	const dropped = "0: packet_count:5 byte_count:0\n"
	both := func(configured, counted string) ([]plan.Meter, error) {
		meters, err := parseMeters([]byte(configured))
		return meters, cmp.Or(err, countDropped(meters, []byte(counted)))
	}
	got, err := both(meter+band, counted+dropped+dropped)
	if err != nil || len(got) != 1 || got[0] != (plan.Meter{ID: 1, Rate: 1, Dropped: 10}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range []struct{ configured, counted, line string }{
		{band, "", "type=drop"},
		{meter + "type=drop rate=4294967296", "", "4294967296"},
		{meter + "type=drop rate=1 burst_size=4294967296", "", "4294967296"},
		{meter + "type=drop rate=1 frob=1", "", "frob"},
		{"meter=frob kbps bands=", "", "frob"},
		{"meter=4294967296 kbps bands=", "", "4294967296"},
		{"meter=1 kbps frob bands=", "", "frob"},
		{"meter=1 bands=", "", "meter=1"},
		{meter + band, "meter:frob" + counted[len("meter:1"):], "frob"},
		{meter + band, counted + "0: packet_count:-1 byte_count:0", "-1"},
		{meter + band, counted + "0: packet_count:18446744073709551616 byte_count:0", "18446744073709551616"},
		{meter + band, "frob", "frob"},
	} {
		got, err := both(c.configured, c.counted)
		if err == nil || !strings.Contains(err.Error(), c.line) {
			t.Errorf("%q, %q: %+v, %v", c.configured, c.counted, got, err)
		}
	}
}

// No text of whatever kind ends the program, and a rule is never lost in silence.
func FuzzParse(f *testing.F) {
	f.Add("OFPST_FLOW reply (OF1.4) (xid=0x2): flags=[more]\n cookie=0x1, table=0, priority=7,ip actions=drop\n")
	f.Add("meter=1 kbps burst stats bands=\ntype=drop rate=1000 burst_size=200\n\n")
	f.Add("meter:1 flow_count:0 packet_in_count:0 byte_in_count:0 duration:0.1s bands:\n0: packet_count:1 byte_count:2\n")
	f.Fuzz(func(t *testing.T, text string) {
		for line := range replies([]byte(text)) {
			flow, err := parseFlow(line)
			if err == nil && !(strings.HasSuffix(line, " actions="+flow.Actions) && strings.Contains(line, flow.Match)) {
				t.Errorf("%q is %+v", line, flow)
			}
		}
		meters, _ := parseMeters([]byte(text))
		_ = countDropped(meters, []byte(text))
	})
}
