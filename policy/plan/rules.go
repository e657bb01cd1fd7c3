package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A tap bridge of the flow tier has rules, in fail mode secure, which is to say
// none but ours: what no rule takes is dropped. Each rule matches the port by which
// the copies of one delivery enter from one source bridge, so that what
// destinations send goes nowhere.
//
//	table 0  guards, exclude: drop          include, or everything: go on
//	table 1  hash each connection, for sample
//	table 2  keep those whose hash is 0
//	table 3  choose a destination, for balance
//	table 4  meter, take the tag off, send
//
// A delivery goes only to the tables that it needs. Numbers of ports are asked for,
// so that rules can be made before ports move to the bridge. On a mirror hub, for
// fail: open, rules drop in the same way, and what goes on is sent by the hub itself.
const (
	tableFilter = iota
	tableHash
	tableKeep
	tableChoose
	tableSend
)

const (
	priorityGuard   = 400
	priorityExclude = 300
	priorityInclude = 200
	priorityAll     = 100
)

const (
	failSecure   = "secure" // Bridge.fail_mode
	actionNormal = "NORMAL"
	actionDrop   = "drop"
	// onClone, of absentPort and an action that goes to another table, goes there in
	// such a way that a meter does not drop production, and that what is cut has the
	// tags by then that it leaves with: those that an access port adds, without a
	// priority tag. ofproto has actions behind a patch work on a clone of the packet if
	// the rule that it meets first there has an action that cannot be undone: a meter,
	// or as here an output that cuts, to a port that is not there; changes of tags are
	// made before that (patch_port_output, clone_xlate_actions, OVS 3.1 and 3.5).
	onClone = "clone(output(port=%d,max_len=64),%s)"
	// absentPort stands for a destination that is not there: the largest number that
	// a port can have, which ovs-vswitchd does not give out by itself (OVS 3.1).
	absentPort = 0xfeff
	// ruleLimit bounds the rules of one delivery on one bridge.
	ruleLimit = 16384
)

// ruledRows are the ports on a tap bridge on which rules send.
func (c *compiler) ruledRows(t *tap, groups []*group, names []string) []Row {
	var rows []Row
	for _, g := range groups {
		rows = append(rows, c.patchRows(g)...)
	}
	tunnels := map[*tunnel]bool{}
	for _, d := range t.deliveries {
		for _, target := range d.targets {
			if target.tunnel != nil && !tunnels[target.tunnel] {
				tunnels[target.tunnel] = true
				row := target.tunnel.row(t, names, false)
				row.Columns[colRequest] = intValue(c.number(t, row.Name))
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// ruleRows are the rules and meters of a tap bridge. A mirror hub has its own, which
// ovs-vswitchd makes, and is given back if somebody took it away.
func (c *compiler) ruleRows(t *tap, groups []*group) []Row {
	var rows []Row
	b := c.snap.Bridge(t.name)
	if !t.sends() && b != nil && b.Flows != nil && !slices.ContainsFunc(b.Flows, isNormal) {
		rows = append(rows, flowRow(t.name, Flow{Actions: actionNormal}, sessionNames(t.sessions)))
	}
	if t.tier != TierFlow || b != nil && b.FlowsError != "" {
		return rows // of what is not known nothing is changed
	}
	for _, d := range t.deliveries {
		enters := map[*group]int{}
		meter := 0
		for _, g := range groups {
			if g.delivery == d {
				_, inner := d.patch(c.snap.Bridges[g.bridge].Name)
				enters[g] = c.number(t, inner)
				if !d.rate.IsZero() && (meter == 0 || enters[g] < meter) {
					meter = enters[g]
				}
			}
		}
		if meter > 0 {
			rows = append(rows, meterRow(t.name, meterOf(meter, d.rate), sessionNames(d.sessions)))
		}
		for g, in := range enters {
			for _, rule := range c.rules(g, in, meter) {
				rows = append(rows, flowRow(t.name, rule, g.rows[0].Sessions))
			}
		}
	}
	return rows
}

// sessionNames are the sessions' names, sorted.
func sessionNames(sessions []*Outcome) []string {
	names := make([]string, len(sessions))
	for i, o := range sessions {
		names[i] = o.Name
	}
	slices.Sort(names)
	return names
}

// rules are the rules of one group, whose copies enter by the port in. They pass
// the meter, if it is not 0.
func (c *compiler) rules(g *group, in, meter int) []Flow {
	d := g.delivery
	var list []Flow
	add := func(table, priority int, match, actions string) {
		list = append(list, NewRule(table, priority, joinFields(fmt.Sprintf("in_port=%d", in), match), actions))
	}
	next := func(table int) string { return fmt.Sprintf("resubmit(,%d)", table) }
	guards := map[string]bool{} // tunnels may have some in common
	for _, guard := range g.guards() {
		for _, match := range guard.matches() {
			guards[match] = true
		}
	}
	for match := range guards {
		add(tableFilter, priorityGuard, match, actionDrop)
	}
	for _, match := range lines(d.exclude) {
		add(tableFilter, priorityExclude, match, actionDrop)
	}
	strips := d.strip && d.sends() // on a mirror hub the ports do
	// A rule that is met first can meter by itself.
	atOnce := d.balance == "" && !strips && (meter == 0 || d.sample <= 1)
	toSend := next(tableSend)
	switch {
	case atOnce:
		toSend = c.send(d, d.targets, meter, false)
	case d.balance != "":
		toSend = next(tableChoose)
	}
	begin := toSend
	if d.sample > 1 {
		begin = next(tableHash)
		// Hashed otherwise than for balance, so that neither says anything of the other.
		hash := func(fields string) string {
			return fmt.Sprintf("multipath(%s,1024,modulo_n,%d,0,NXM_NX_REG0[]),%s", fields, d.sample, next(tableKeep))
		}
		hashed(hash, func(priority int, match, actions string) { add(tableHash, priority, match, actions) })
		add(tableKeep, priorityAll, "reg0=0", toSend)
	}
	if (meter != 0 || d.snaplen > 0) && strings.HasPrefix(begin, "resubmit") {
		begin = fmt.Sprintf(onClone, absentPort, begin)
	}
	for _, match := range lines(d.include) {
		add(tableFilter, priorityInclude, match, begin)
	}
	if !d.chosen {
		add(tableFilter, priorityAll, "", begin)
	}
	if d.balance != "" {
		var members []string
		for _, t := range d.first().targets { // in the order of the policy
			members = append(members, strconv.Itoa(c.targetNumber(d, t)))
		}
		choose := func(fields string) string {
			return fmt.Sprintf("bundle_load(%s,0,hrw,ofport,NXM_NX_REG1[0..15],members:%s),%s", fields, strings.Join(members, ","), next(tableSend))
		}
		hashed(choose, func(priority int, match, actions string) { add(tableChoose, priority, match, actions) })
	}
	sendTo := func(chosen string, targets ...target) {
		if strips {
			add(tableSend, priorityInclude, joinFields(chosen, "vlan_tci=0x1000/0x1000"), c.send(d, targets, meter, true))
		}
		add(tableSend, priorityAll, chosen, c.send(d, targets, meter, false))
	}
	switch {
	case d.balance != "":
		for _, t := range d.targets {
			if t.absent == "" {
				sendTo(fmt.Sprintf("reg1=%d", c.targetNumber(d, t)), t)
			}
		}
	case !atOnce:
		sendTo("", d.targets...)
	}
	return list
}

// hashed adds the rules that hash each connection, both directions alike:
// fragments, of which all but the first have no ports, by their addresses.
func hashed(actions func(fields string) string, add func(priority int, match, actions string)) {
	for _, ip := range []string{"ip", "ipv6"} {
		add(priorityInclude, ip+",nw_frag=yes", actions("symmetric_l3"))
	}
	add(priorityAll, "", actions("symmetric_l3l4+udp"))
}

// send are the actions that send a copy to each of the destinations that is there, with or
// without its outermost tag. What is cut is cut with the tag that it came with, unless
// an earlier output has had it taken off (ofproto-dpif-xlate, xlate_output_trunc_action,
// OVS 3.1): so each that is both cut and stripped begins with the whole packet, and
// the tag is no part of its length. The kernel's datapath has the tag beside the packet
// and never counts it (Linux 6.1).
func (c *compiler) send(d *delivery, targets []target, meter int, strip bool) string {
	tag := 4
	if d.kernels() {
		tag = 0
	}
	var actions []string
	if meter != 0 {
		actions = append(actions, fmt.Sprintf("meter:%d", meter))
	}
	if d.failsOpen {
		return strings.Join(append(actions, actionNormal), ",")
	}
	if strip && d.snaplen == 0 {
		actions = append(actions, "pop_vlan")
	}
	targets = slices.Clone(targets)
	slices.SortFunc(targets, func(a, b target) int { return cmp.Compare(c.targetNumber(d, a), c.targetNumber(d, b)) })
	for _, t := range targets {
		switch number := c.targetNumber(d, t); {
		case t.absent != "":
		case d.snaplen > 0 && strip:
			actions = append(actions, fmt.Sprintf("clone(pop_vlan,output(port=%d,max_len=%d))", number, d.snaplen+tag))
		case d.snaplen > 0:
			actions = append(actions, fmt.Sprintf("output(port=%d,max_len=%d)", number, d.snaplen))
		default:
			actions = append(actions, fmt.Sprintf("output:%d", number))
		}
	}
	return strings.Join(actions, ",")
}

func (c *compiler) targetNumber(d *delivery, t target) int {
	switch {
	case t.tunnel != nil:
		return c.number(d.tap, t.tunnel.name)
	case t.port >= 0:
		return c.number(d.tap, c.ports[t.port].Name)
	}
	return absentPort
}

// unruly says what rules cannot do of a treatment.
func (t treatment) unruly() (field, problem, remedy string) {
	switch rate := t.rate; {
	case t.sample > maxSample:
		return "sample", fmt.Sprintf("Open vSwitch keeps at least one connection in %d", maxSample), fmt.Sprintf("write 1/%d", maxSample)
	case rate.Bits%1000 != 0:
		return "max_rate", "Open vSwitch limits rates in steps of 1kbps", fmt.Sprintf("write %dkbps", max(1, rate.Bits/1000))
	case rate.Bits/1000 > maxRate || rate.Packets > maxRate:
		return "max_rate", "no meter of Open vSwitch counts that much", "leave it out"
	case len(lines(t.include))+len(lines(t.exclude)) > ruleLimit:
		return "exclude", fmt.Sprintf("more than %d rules would be needed on each bridge", ruleLimit), "say it with fewer ranges and networks"
	}
	return "", "", ""
}

// What multipath and a meter can express (ovs-actions(7), OpenFlow 1.3).
const (
	maxSample = 1 << 16
	maxRate   = 1<<32 - 1
)

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
