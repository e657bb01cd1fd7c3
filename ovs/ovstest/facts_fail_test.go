package ovstest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// standing is what is left of the rules of a tap bridge after something: how many, NORMAL among them, and
// whether the meter is there and copies go to the audit guest.
type standing struct {
	rules           int
	normal, metered bool
	copies          int
}

// had is the standing of the one rule that metered restores, and that of fences.
var had = standing{rules: 2, metered: true, copies: 1}

func (b ruleBench) metered(t *testing.T) {
	t.Helper()
	if !strings.Contains(ofctl(b.ctx, t, b.lab, "dump-meters", "tap"), "meter=1 ") {
		meter{"pktps", 1000, 1000}.add(t, b, 1)
	}
	b.rules(t, "priority=100 actions=meter:1,output:1")
}

func (b ruleBench) standing(t *testing.T) standing {
	t.Helper()
	at, err := b.audits[0].Capture(b.ctx)
	check(t, err)
	defer at.Close()
	atB, err := b.b.Capture(b.ctx)
	check(t, err)
	defer atB.Close()
	payload := ovstest.Payload("standing")
	check(t, b.a.Send(ovstest.UDP(stranger(), b.b, 1, 2, payload)))
	check(t, atB.WaitPayload(b.ctx, payload, 1))
	check(t, atB.Fence(b.ctx, b.a, b.b)) // what the switch copies leaves before the frame, in one go
	rules := ofctl(b.ctx, t, b.lab, "dump-flows", "--no-stats", "tap")
	return standing{
		rules: strings.Count(rules, "actions="), normal: strings.Contains(rules, "actions=NORMAL"),
		metered: strings.Contains(ofctl(b.ctx, t, b.lab, "dump-meters", "tap"), "meter=1 "), copies: len(arrived(at, payload)),
	}
}

// Rules and meters outlive what ports, mirrors and most columns of their bridge go through. They do not outlive a change of
// fail_mode, a first controller or the last one's end, an end of ovs-vswitchd, nor emer-reset, which changes fail_mode:
// then a secure bridge copies nothing and an other floods.
func TestWhatRulesOutlive(t *testing.T) {
	b := newRuleBench(t, 1)
	none, floods := standing{}, standing{rules: 1, normal: true, copies: 1}
	kill := func() {
		b.lab.KillVSwitchd()
		check(t, b.lab.StartVSwitchd(b.ctx))
	}
	set := func(args ...string) func() { return func() { vsctl(b.ctx, t, b.lab, args...) } }
	bridge := func(columns ...string) func() { return set(append([]string{"set", "Bridge", "tap"}, columns...)...) }
	b.metered(t)
	for _, c := range []struct {
		what string
		do   func()
		want standing
	}{
		{"nothing", func() {}, had},
		{"port comes", set("--", "add-port", "tap", "more", "--", "set", "Interface", "more", "type=patch", "options:peer=nowhere"), had},
		{"port goes", set("del-port", "tap", "more"), had},
		{"port of the rule goes and comes", func() { check(t, b.audits[0].Stop(b.ctx)); check(t, b.audits[0].Start(b.ctx)) }, had},
		{"mirror comes", set(append([]string{"--", "add-port", "tap", "more", "--", "set", "Interface", "more", "type=internal"}, mirrorRows("tap", "m", "more", "select_all=true")...)...), had},
		{"mirror goes", set("--", "clear", "Bridge", "tap", "mirrors", "--", "del-port", "tap", "more"), had},
		{"the patch gets another number", set("set", "Interface", "in-br0", "ofport_request=1001"), standing{rules: 2, metered: true}},
		{"and its own again", set("set", "Interface", "in-br0", fmt.Sprintf("ofport_request=%d", entry)), had},
		{"external_ids", bridge("external_ids:x=y"), had},
		{"forward-bpdu", bridge("other_config:forward-bpdu=true"), had},
		{"flood_vlans", bridge("flood_vlans=0-4095"), had},
		{"snooping", bridge("mcast_snooping_enable=true"), had},
		{"hwaddr", bridge(`other_config:hwaddr="02:00:00:00:00:99"`), had},
		{"datapath-id", bridge("other_config:datapath-id=0000000000000099"), had},
		{"protocols", bridge("protocols=OpenFlow10,OpenFlow14"), had},
		{"fail_mode as it is", bridge("fail_mode=secure"), had},
		{"controller", set("set-controller", "tap", "tcp:127.0.0.1:1"), none},
		{"no controller", set("del-controller", "tap"), none},
		{"ovs-vswitchd killed", kill, none},
		{"standalone", bridge("fail_mode=standalone"), floods},
		{"fail_mode empty", bridge("fail_mode=[]"), had},
		{"standalone", bridge("fail_mode=standalone"), had},
		{"ovs-vswitchd of standalone killed", kill, floods},
		{"secure", bridge("fail_mode=secure"), none},
		{"reset", set("emer-reset"), standing{rules: 1, normal: true}}, // its mirrors are gone too
		{"mirror restored", set(sourceRows("br0")...), had},
		{"reset, fail_mode being empty", set("emer-reset"), standing{rules: 2, metered: true}},
	} {
		c.do()
		if got := b.standing(t); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
		b.metered(t)
	}
}

// A running flow follows changed rules when ovs-vswitchd has looked at it again: soon, but not when ovs-ofctl returns.
func TestRunningFlowFollowsRulesSoon(t *testing.T) {
	b := newRuleBench(t, 1)
	at, atB := capture(b.ctx, t, b.audits[0]), capture(b.ctx, t, b.b)
	copied := func() bool {
		payload := ovstest.Payload("running")
		check(t, b.a.Send(ovstest.UDP(unanswered(b.a), unanswered(b.b), 20000, 443, payload)))
		check(t, atB.WaitPayload(b.ctx, payload, 1))
		check(t, atB.Fence(b.ctx, b.a, b.b))
		return len(arrived(at, payload)) == 1
	}
	copied()
	for i := range 10 {
		want := i%2 == 0
		check(t, b.tryRules("priority=100 actions="+map[bool]string{true: "output:1", false: "drop"}[want]))
		began, late := time.Now(), 0
		for copied() != want {
			if late++; time.Since(began) > 2*time.Second {
				t.Fatal("a running flow does not follow")
			}
		}
		t.Logf("after %v, %d frames late", time.Since(began).Round(time.Millisecond), late)
	}
}

// filteredHub is a hub with rules: the NORMAL rule that fail_mode=standalone brings does the copying.
func filteredHub(t *testing.T) ruleBench {
	t.Helper()
	ctx, lab := start(t, ovstest.Config{})
	b := ruleBench{ctx: ctx, lab: lab, a: guest(ctx, t, lab, "a"), b: guest(ctx, t, lab, "b")}
	vsctl(ctx, t, lab, "--", "--id=@tap", "create", "Bridge", "name=tap", "datapath_type=netdev", "fail_mode=standalone",
		"flood_vlans=0-4095", "other_config:forward-bpdu=true", "--", "add", "Open_vSwitch", ".", "bridges", "@tap",
		"--", "add-port", "tap", "sink", "--", "set", "Interface", "sink", "type=patch", "options:peer=sink-",
		"--", "add-port", "br0", "out-br0", "vlan_mode=trunk", "trunks=4095",
		"--", "set", "Interface", "out-br0", "type=patch", "options:peer=in-br0",
		"--", "add-port", "tap", "in-br0", "vlan_mode=trunk", "trunks=0-4094", "protected=true",
		"--", "set", "Interface", "in-br0", "type=patch", "options:peer=out-br0", fmt.Sprintf("ofport_request=%d", entry))
	b.audits = append(b.audits, numbered(ctx, t, lab, "audit1", 1), numbered(ctx, t, lab, "audit2", 2))
	vsctl(ctx, t, lab, slices.Concat(sourceRows("br0"),
		mirrorRows("tap", "m1", b.audits[0].Port(), "select_dst_port=sink"),
		mirrorRows("tap", "m2", b.audits[1].Port(), "select_dst_port=sink"))...)
	_, err := ovstest.Exchange(ctx, b.a, b.b, 1)
	check(t, err)
	return b
}

// more adds rules beside those there are, in one bundle.
func (b ruleBench) more(t *testing.T, rules ...string) {
	t.Helper()
	text := ""
	for _, r := range rules {
		text += fmt.Sprintf("in_port=%d,%s\n", entry, r)
	}
	file := filepath.Join(b.lab.Dir, "more")
	check(t, os.WriteFile(file, []byte(text), 0o600))
	ofctl(b.ctx, t, b.lab, "--bundle", "add-flows", "tap", file)
	appctl(b.ctx, t, b.lab, "revalidator/wait")
}

// Rules on a hub take away from what its NORMAL rule copies: exactly what they match, for all destinations. When
// ovs-vswitchd ends they are gone, and the hub copies everything again.
func TestRulesOnAHubFilterUntilARestart(t *testing.T) {
	b := filteredHub(t)
	normal := func() int {
		return strings.Count(ofctl(b.ctx, t, b.lab, "dump-flows", "--no-stats", "tap"), "actions=NORMAL")
	}
	at := []*ovstest.Capture{capture(b.ctx, t, b.audits[0]), capture(b.ctx, t, b.audits[1])}
	atA, atB := capture(b.ctx, t, b.a), capture(b.ctx, t, b.b)
	// try sends frames of every kind, and more, and injects some.
	try := func(what string, filtered bool) {
		t.Helper()
		payloads := map[string][]byte{}
		payload := func(kind string) []byte {
			payloads[kind] = ovstest.Payload(kind)
			return payloads[kind]
		}
		frames := kinds(b.a, b.b, payload)
		a, c := unanswered(b.a), unanswered(b.b)
		frames["TCP 7788"] = tcp(a, c, 20000, 7788, payload("TCP 7788"))
		frames["TCP 7788 tagged"] = ovstest.Tagged(tcp(a, c, 20000, 7788, payload("TCP 7788 tagged")), 10)
		frames["TCP 7788 back"] = tcp(a, c, 7788, 20000, payload("TCP 7788 back"))
		frames["TCP 7789"] = tcp(a, c, 20000, 7789, payload("TCP 7789"))
		frames["TCP 7788 IPv6"] = tcp(six(b.a), six(b.b), 20000, 7788, payload("TCP 7788 IPv6"))
		frames["UDP 7788"] = ovstest.UDP(a, c, 20000, 7788, payload("UDP 7788"))
		injected := ovstest.Payload("injected")
		for _, g := range b.audits {
			check(t, g.Send(ovstest.UDP(g, ovstest.Broadcast, 1, 2, injected)))
			check(t, g.Send(ovstest.Tagged(ovstest.UDP(g, ovstest.Broadcast, 1, 2, injected), 4095)))
		}
		for _, frame := range frames {
			check(t, b.a.Send(frame))
		}
		b.fenceAll(t, at...)
		check(t, atA.Fence(b.ctx, b.b, b.a))
		check(t, atB.Fence(b.ctx, b.a, b.b))
		for kind := range frames {
			want := 1
			if kind == tag4095 || filtered && (kind == "TCP 7788" || kind == "TCP 7788 tagged") {
				want = 0
			}
			for i, c := range at {
				if n := len(arrived(c, payloads[kind])); n != want {
					t.Errorf("%s, %s: %d copies at %d, want %d", what, kind, n, i+1, want)
				}
			}
			if n := len(arrived(atA, payloads[kind])); n != 0 {
				t.Errorf("%s, %s: %d frames come back", what, kind, n)
			}
			if n := len(arrived(atB, payloads[kind])); n > 1 {
				t.Errorf("%s, %s: %d frames in production", what, kind, n)
			}
		}
		for _, c := range slices.Concat(at, []*ovstest.Capture{atA, atB}) {
			if n := len(arrived(c, injected)); n != 0 {
				t.Errorf("%s: %d injected frames arrived", what, n)
			}
		}
		if n := normal(); n != 1 {
			t.Errorf("%s: %d NORMAL rules", what, n)
		}
	}
	filter := "priority=300,tcp,tp_dst=7788 actions=drop"
	try("no rules", false)
	b.more(t, filter)
	try("filter", true)
	b.lab.KillVSwitchd()
	check(t, b.lab.StartVSwitchd(b.ctx))
	try("killed", false)
	b.more(t, filter)
	try("filter again", true)
	vsctl(b.ctx, t, b.lab, "--", "add-port", "tap", "more", "--", "set", "Interface", "more", "type=patch", "options:peer=nowhere")
	try("another port", true)
}

// A meter before NORMAL holds for all destinations of a hub together.
func TestMeterOnAHub(t *testing.T) {
	b := filteredHub(t)
	m := meter{"pktps", 400, 40}
	m.add(t, b, 1)
	b.more(t, "priority=200 actions=meter:1,NORMAL", "priority=300,udp,tp_src=9 actions=NORMAL")
	at := []*ovstest.Capture{capture(b.ctx, t, b.audits[0]), capture(b.ctx, t, b.audits[1])}
	took := b.flood(t, 800, 443)
	b.fenceAll(t, at...)
	for _, c := range at {
		there, back := flooded(c, 443)
		m.want(t, "hub", there+back, took)
	}
	if got := b.datapathActions(t); got != "clone(meter(0),4,5),3" && got != "clone(meter(0),5,4),3" {
		t.Errorf("datapath actions %s", got)
	}
}
