package ovstest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// size is that of each frame of a flood, in bytes.
const size = 1000

// flood sends n frames each way of each of these UDP connections as fast as production takes them, and says that
// production had them all. It is how long it took.
func (b ruleBench) flood(t *testing.T, n int, servers ...uint16) time.Duration {
	t.Helper()
	atA, err := b.a.Capture(b.ctx)
	check(t, err)
	atB, err := b.b.Capture(b.ctx)
	check(t, err)
	var frames [][2][]byte
	for _, s := range servers {
		pad := make([]byte, size-14-20-8)
		frames = append(frames, [2][]byte{
			ovstest.UDP(unanswered(b.a), unanswered(b.b), 20000, s, pad), ovstest.UDP(unanswered(b.b), unanswered(b.a), s, 20000, pad),
		})
	}
	began := time.Now()
	for i := 1; i <= n; i++ {
		for _, f := range frames {
			check(t, b.a.Send(f[0]))
			check(t, b.b.Send(f[1]))
		}
		if i%20 == 0 || i == n {
			for _, c := range []*ovstest.Capture{atA, atB} {
				check(t, c.Wait(b.ctx, func(f []ovstest.Frame) bool { return len(f) >= i*len(servers) }))
			}
		}
	}
	took := time.Since(began)
	for _, c := range []*ovstest.Capture{atA, atB} {
		if got := len(c.Frames()); got != n*len(servers) {
			t.Errorf("%d frames of production, want %d", got, n*len(servers))
		}
		check(t, c.Close())
	}
	return took
}

// flooded is how many frames of a connection of the flood came, there and back.
func flooded(c *ovstest.Capture, server uint16) (there, back int) {
	for _, f := range c.Frames() {
		switch said := ovstest.Describe(f.Data); {
		case strings.Contains(said, fmt.Sprintf("> %d len %d", server, size)):
			there++
		case strings.Contains(said, fmt.Sprintf("UDP %d > 20000 len %d", server, size)):
			back++
		}
	}
	return there, back
}

// meter is one of kbps or pktps; burst 0 is none given.
type meter struct {
	unit        string
	rate, burst int
}

func (m meter) add(t *testing.T, b ruleBench, id int) {
	t.Helper()
	spec := fmt.Sprintf("meter=%d,%s,stats,bands=type=drop,rate=%d", id, m.unit, m.rate)
	if m.burst > 0 {
		spec = fmt.Sprintf("meter=%d,%s,burst,stats,bands=type=drop,rate=%d,burst_size=%d", id, m.unit, m.rate, m.burst)
	}
	ofctl(b.ctx, t, b.lab, "add-meter", "tap", spec)
}

// want says that of a flood that took so long the copies are what the meter allows: first its burst, which is that of
// one second unless given, and none at all if it is smaller than a frame.
func (m meter) want(t *testing.T, what string, copies int, took time.Duration) {
	t.Helper()
	const slack = 20 * time.Millisecond
	burst, rate := float64(m.burst), float64(m.rate)
	if m.burst == 0 {
		burst = rate
	}
	if m.unit == "kbps" {
		burst, rate = burst*1000/8/size, rate*1000/8/size // frames
	}
	least, most := burst, burst+rate*(took+slack).Seconds()
	if burst < 1 {
		least, most = 0, 0
	}
	if float64(copies) < least || float64(copies) > most {
		t.Errorf("%s, %+v: %d copies in %v, want %.1f to %.1f", what, m, copies, took, least, most)
	}
	t.Logf("%s, %+v: %d copies in %v", what, m, copies, took.Round(time.Millisecond))
}

// A meter cuts the copies of both directions together to burst and rate, to the frame; production loses nothing, for ofproto
// has the meter work on a clone. A burst smaller than a frame lets no such frame pass, ever.
func TestMeterCutsCopiesAndNotProduction(t *testing.T) {
	b := newRuleBench(t, 2)
	for i, m := range []meter{
		{"kbps", 4000, 400}, {"pktps", 400, 40}, {"kbps", 4000, 8}, {"kbps", 4000, 7}, {"kbps", 4000, 0}, {"pktps", 400, 1},
	} {
		m.add(t, b, i+1)
		b.rules(t, fmt.Sprintf("priority=100 actions=meter:%d,output:1", i+1))
		at := capture(b.ctx, t, b.audits[0])
		took := b.flood(t, 800, 443)
		b.fenceAll(t, at)
		there, back := flooded(at, 443)
		m.want(t, "alone", there+back, took)
		if m.burst == 400 && (there == 0 || back == 0) {
			t.Errorf("%d copies there, %d back: want both", there, back)
		}
		if got, want := b.datapathActions(t), fmt.Sprintf("clone(meter(%d),4),3", i); got != want {
			t.Errorf("datapath actions %s, want %s", got, want)
		}
	}
}

func TestMetersAreIndependent(t *testing.T) {
	b := newRuleBench(t, 2)
	meters := []meter{{"kbps", 4000, 400}, {"pktps", 1000, 100}}
	var rules []string
	var at []*ovstest.Capture
	for i, m := range meters {
		m.add(t, b, i+1)
		for _, field := range []string{"tp_src", "tp_dst"} {
			rules = append(rules, fmt.Sprintf("priority=100,udp,%s=%d actions=meter:%d,output:%d", field, 443+i, i+1, i+1))
		}
		at = append(at, capture(b.ctx, t, b.audits[i]))
	}
	b.rules(t, rules...)
	took := b.flood(t, 800, 443, 444)
	b.fenceAll(t, at...)
	for i, m := range meters {
		there, back := flooded(at[i], uint16(443+i))
		m.want(t, "of two", there+back, took)
	}
}

// datapathActions is what ovs-vswitchd would have the datapath do with a UDP frame from a to b. Port 3 is b's, 4 the
// first audit guest's.
func (b ruleBench) datapathActions(t *testing.T) string {
	t.Helper()
	out := appctl(b.ctx, t, b.lab, "ofproto/trace", "br0", fmt.Sprintf(
		"in_port=%s,udp,dl_src=%s,dl_dst=%s,nw_src=10.9.77.1,nw_dst=10.9.77.2,udp_src=20000,udp_dst=443",
		b.a.Port(), b.a.HardwareAddr(), b.b.HardwareAddr()))
	_, actions, _ := strings.Cut(out, "Datapath actions: ")
	return strings.TrimSpace(actions)
}

// guarded goes to another table such that its meters work on a clone: an output that cuts, to a number that no port has,
// sends nothing, and is one of the few actions that ofproto does not undo but clones for.
const guarded = "clone(output(port=65279,max_len=64),resubmit(,%d))"

// ofproto looks only at the actions of the rule that a packet meets first on the tap bridge, and at those inside of
// clone(), for what it has to clone for. A meter behind a resubmit meters what comes after it too: other copies, and
// production.
func TestMeterBehindResubmitCutsProduction(t *testing.T) {
	b := newRuleBench(t, 3)
	meter{"pktps", 1, 10}.add(t, b, 1)
	meter{"pktps", 1000, 1000}.add(t, b, 2)
	meter{"pktps", 100000, 100000}.add(t, b, 3)
	guard := func(table int) string { return fmt.Sprintf(guarded, table) }
	for _, c := range []struct{ actions, want string }{
		{"resubmit(,11),resubmit(,12),resubmit(,13)", "meter(0),4,meter(1),5,6,3"},
		{"clone(resubmit(,11)),clone(resubmit(,12)),resubmit(,13)", "meter(0),4,meter(1),5,6,3"},
		{"meter:3,resubmit(,11),resubmit(,12)", "clone(meter(2),meter(0),4,meter(1),5),3"},
		{"meter:3,multipath(symmetric_l3l4+udp,1024,modulo_n,1,0,NXM_NX_REG0[]),resubmit(,11)", "clone(meter(2),meter(0),4),3"},
		{guard(11) + "," + guard(12) + ",resubmit(,13)", "clone(meter(0),4),clone(meter(1),5),6,3"},
		{"resubmit(,13)," + guard(11), "6,clone(meter(0),4),3"},
		{"output(port=3,max_len=64)," + guard(11) + ",output:2", "clone(trunc(64),6,clone(meter(0),4),5),3"},
	} {
		b.rules(t, "priority=100 actions="+c.actions, "table=11 actions=meter:1,output:1", "table=12 actions=meter:2,output:2",
			"table=13 actions=output:3")
		if got := b.datapathActions(t); got != c.want {
			t.Errorf("%s: datapath actions\n%s\nwant\n%s", c.actions, got, c.want)
		}
	}

	b.rules(t, "priority=100 actions=resubmit(,11),resubmit(,13)", "table=11 actions=meter:1,output:1", "table=13 actions=output:3")
	atB, at3 := capture(b.ctx, t, b.b), capture(b.ctx, t, b.audits[2])
	payload := ovstest.Payload("metered")
	for range 100 {
		check(t, b.a.Send(ovstest.UDP(unanswered(b.a), unanswered(b.b), 20000, 443, payload)))
	}
	check(t, atB.Fence(b.ctx, b.a, b.b)) // fences meet another rule
	b.fenceAll(t, at3)
	if production, copies := len(arrived(atB, payload)), len(arrived(at3, payload)); production > 15 || copies != production {
		t.Errorf("%d of 100 frames of production, %d copies, want about 10", production, copies)
	}

	b.rules(t, "priority=100 actions="+guard(11)+","+guard(12)+",resubmit(,13)", "table=11 actions=meter:1,output:1",
		"table=12 actions=meter:2,output:2", "table=13 actions=output:3")
	var at []*ovstest.Capture
	for _, g := range b.audits {
		at = append(at, capture(b.ctx, t, g))
	}
	b.flood(t, 100, 443)
	b.fenceAll(t, at...)
	for i, want := range []int{0, 200, 200} {
		there, back := flooded(at[i], 443)
		if n := there + back; n < want || want == 0 && n > 15 {
			t.Errorf("guarded: %d copies at %d, want %d", n, i+1, want)
		}
	}
}

// What ovs-vswitchd refuses of rules with meters, all of the bundle with it; and a meter that goes takes its rules along.
func TestMeterMustBeThereAndComeFirst(t *testing.T) {
	b := newRuleBench(t, 2)
	m := meter{"pktps", 1000, 1000}
	m.add(t, b, 1)
	b.rules(t, "priority=100 actions=meter:1,output:1")
	rules := func() string { return ofctl(b.ctx, t, b.lab, "dump-flows", "--no-stats", "tap") }
	before := rules()
	for actions, refusal := range map[string]string{
		"meter:99,output:1":                 "OFPMMFC_INVALID_METER",
		"output:1,meter:1,output:2":         "meter must appear before apply_actions",
		"output:1,clone(meter:1,output:2)":  "clone action doesn't support nested action meter",
		"meter:1,meter:1,output:1":          "duplicate meter instruction",
		"resubmit(,1),write_actions(drop)":  "",
		"meter:1,output(port=1,max_len=64)": "",
	} {
		err := b.tryRules("priority=100 actions="+actions, "priority=99 actions=output:2")
		if refusal == "" && err == nil {
			b.rules(t, "priority=100 actions=meter:1,output:1")
			continue
		}
		if err == nil || refusal == "" || !strings.Contains(err.Error(), refusal) {
			t.Errorf("%s: %v, want %q", actions, err, refusal)
		}
		if got := rules(); got != before {
			t.Errorf("%s: rules are\n%s", actions, got)
		}
	}
	ofctl(b.ctx, t, b.lab, "mod-meter", "tap", "meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=100")
	if got := rules(); got != before {
		t.Errorf("meter changed: rules are\n%s", got)
	}
	ofctl(b.ctx, t, b.lab, "del-meter", "tap", "meter=1")
	if got := rules(); strings.Contains(got, "meter") || strings.Count(got, "priority=") != 1 {
		t.Errorf("meter deleted: rules are\n%s", got)
	}
	if got := ofctl(b.ctx, t, b.lab, "meter-features", "tap"); !strings.Contains(got, "max_meter:262144") {
		t.Error(got)
	}
}
