package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"spanctl/policy"
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
// so that rules can be made before ports move to the bridge.
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
	// onClone goes to another table in such a way that a meter there does not drop
	// production. ofproto has actions behind a patch work on a clone of the packet if
	// the rule that it meets first there has an action that cannot be undone: a meter,
	// or as here an output that cuts, to a port that is not there (patch_port_output,
	// OVS 3.1 and 3.5).
	onClone = "clone(output(port=65279,max_len=64),%s)"
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
	if b := c.snap.Bridge(t.name); !t.sends() && b != nil && b.Flows != nil && !slices.ContainsFunc(b.Flows, isNormal) {
		rows = append(rows, flowRow(t.name, Flow{Actions: actionNormal}, nil))
	}
	if b := c.snap.Bridge(t.name); t.tier != TierFlow || b != nil && b.FlowsError != "" {
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
			rows = append(rows, meterRow(t.name, meterOf(meter, d.rate), sessionNames(d)))
		}
		for g, in := range enters {
			for _, rule := range c.rules(g, in, meter) {
				rows = append(rows, flowRow(t.name, rule, g.rows[0].Sessions))
			}
		}
	}
	return rows
}

// numbers adds to a set all that may be numbers of ports in a rule of ours.
func (f *Flow) numbers(set map[int]bool) {
	for _, text := range []string{f.Match, f.Actions} {
		for _, digits := range strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
			if n, err := strconv.Atoi(digits); err == nil {
				set[n] = true
			}
		}
	}
}

func sessionNames(d *delivery) []string {
	names := make([]string, len(d.sessions))
	for i, o := range d.sessions {
		names[i] = o.Name
	}
	slices.Sort(names)
	return names
}

// number is the OpenFlow port number of a port on a tap bridge: the one that it
// has there, or one that no port has.
func (c *compiler) number(t *tap, port string) int {
	if n, known := c.numbers[port]; known {
		return n
	}
	used := map[int]bool{}
	for _, n := range c.numbers {
		used[n] = true
	}
	asked := 0
	if bridge := c.snap.Bridge(t.name); bridge != nil {
		for p := range bridge.Ports {
			for _, iface := range bridge.Ports[p].Interfaces {
				if bridge.Ports[p].Name == port {
					asked = iface.OFPortRequest // it may not have it yet
				} else {
					used[iface.OFPortRequest], used[iface.OFPort] = true, true
				}
			}
		}
		if asked > 0 && !used[asked] {
			c.numbers[port] = asked
			return asked
		}
		for i := range bridge.Flows {
			bridge.Flows[i].numbers(used) // a rule that stays may send there
		}
	}
	n := 1
	for used[n] {
		n++
	}
	c.numbers[port] = n
	return n
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
	for _, match := range guardMatches(g) {
		add(tableFilter, priorityGuard, match, actionDrop)
	}
	for _, match := range lines(d.exclude) {
		add(tableFilter, priorityExclude, match, actionDrop)
	}
	toSend, send := next(tableSend), true
	switch {
	case d.failsOpen && meter == 0:
		toSend, send = actionNormal, false
	case d.failsOpen && d.sample <= 1:
		toSend, send = c.send(d, meter, false), false
	case d.failsOpen:
	case d.balance == "" && !d.strip && (meter == 0 || d.sample <= 1):
		toSend, send = c.send(d, meter, false), false
	}
	if d.balance != "" {
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
	if meter != 0 && strings.HasPrefix(begin, "resubmit") {
		begin = fmt.Sprintf(onClone, begin)
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
	if !send {
		return list
	}
	each := []target{{port: -1}} // all of them at once
	if d.balance != "" {
		each = slices.DeleteFunc(slices.Clone(d.targets), func(t target) bool { return t.absent != "" })
	}
	for _, t := range each {
		one := *d
		chosen := ""
		if d.balance != "" {
			one.targets = []target{t}
			chosen = fmt.Sprintf("reg1=%d", c.targetNumber(d, t))
		}
		if d.strip && !d.failsOpen {
			add(tableSend, priorityInclude, joinFields(chosen, "vlan_tci=0x1000/0x1000"), c.send(&one, meter, true))
		}
		add(tableSend, priorityAll, chosen, c.send(&one, meter, false))
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

// send are the actions that send a copy to every destination that is there, with or
// without its outermost tag. What is cut is cut with the tag that it came with, unless
// an earlier output has had it taken off (ofproto-dpif-xlate, xlate_output_trunc_action,
// OVS 3.1): so each that is both cut and stripped begins with the whole packet, and
// the tag is no part of its length.
func (c *compiler) send(d *delivery, meter int, strip bool) string {
	const tag = 4
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
	targets := slices.Clone(d.targets)
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

// refuseTreatment says what rules cannot do.
func (c *compiler) refuseTreatment(d *delivery) (field, problem, remedy string) {
	switch rate := d.rate; {
	case d.sample > maxSample:
		return "sample", fmt.Sprintf("Open vSwitch keeps at least one connection in %d", maxSample), fmt.Sprintf("write 1/%d", maxSample)
	case rate.Bits%1000 != 0:
		return "max_rate", "Open vSwitch limits rates in steps of 1kbps", fmt.Sprintf("write %dkbps", max(1, rate.Bits/1000))
	case rate.Bits/1000 > maxRate || rate.Packets > maxRate:
		return "max_rate", "no meter of Open vSwitch counts that much", "leave it out"
	case len(lines(d.include))+len(lines(d.exclude)) > ruleLimit:
		return "exclude", fmt.Sprintf("%d rules would be needed on each bridge, and %d is the limit", len(lines(d.include))+len(lines(d.exclude)), ruleLimit), "say it with fewer ranges and networks"
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

// NewRule is a rule of ours: its cookie is its own, so that it can be told from
// others and removed by it.
func NewRule(table, priority int, match, actions string) Flow {
	f := Flow{Table: table, Priority: priority, Match: NormalMatch(match), Actions: actions}
	sum := sha256.Sum256([]byte(f.name()))
	f.Cookie = cookieMark | binary.BigEndian.Uint64(sum[:])>>16
	return f
}

// cookieMark is the upper 16 bits of the cookies of our rules: "SP".
const cookieMark = 0x5350 << 48

func (f *Flow) ours() bool { return f.Cookie>>48 == cookieMark>>48 }

// name is what a rule is known by on its bridge.
func (f *Flow) name() string {
	return joinFields(fmt.Sprintf("table=%d,priority=%d", f.Table, f.Priority), f.Match)
}

func flowRow(bridge string, f Flow, sessions []string) Row {
	return Row{
		Table: TableFlow, Bridge: bridge, Name: f.name(), Sessions: sessions, Tier: TierFlow,
		Columns: map[string]Value{colActions: {f.Actions}, colCookie: {fmt.Sprintf("0x%x", f.Cookie)}},
	}
}

// isNormal reports whether the rule is the one that ovs-vswitchd gives a bridge in
// fail mode standalone.
func isNormal(f Flow) bool {
	return f.Table == 0 && f.Priority == 0 && f.Match == "" && f.Actions == actionNormal
}

// rowsOfRules are the rules and meters of a tap bridge that is there, as rows.
func rowsOfRules(bridge *Bridge) []Row {
	var rows []Row
	for _, m := range bridge.Meters {
		rows = append(rows, meterRow(bridge.Name, m, splitNames(bridge.ExternalIDs[KeySession])))
	}
	for _, f := range bridge.Flows {
		if isNormal(f) && bridge.FailMode != failSecure {
			continue
		}
		rows = append(rows, flowRow(bridge.Name, f, bridge.sessionsBy(f.inPort())))
	}
	return rows
}

// sessionsBy are the sessions whose copies enter by the port with the number.
func (b *Bridge) sessionsBy(number int) []string {
	if p := b.portBy(number); p != nil {
		return splitNames(p.ExternalIDs[KeySession])
	}
	return nil
}

// portBy is the port of ours with the number, nil if there is none.
func (b *Bridge) portBy(number int) *Port {
	for p := range b.Ports {
		if port := &b.Ports[p]; port.Managed() && len(port.Interfaces) == 1 && port.Interfaces[0].OFPort == number && number > 0 {
			return port
		}
	}
	return nil
}

// inPort is the number of the port that the rule is for, 0 if it is for any.
func (f *Flow) inPort() int { return inPortOf(f.Match) }

func inPortOf(match string) int {
	for field := range strings.SplitSeq(match, ",") {
		if text, ok := strings.CutPrefix(field, "in_port="); ok {
			n, _ := strconv.Atoi(text) // a name is none of ours
			return n
		}
	}
	return 0
}

// keptRules are the rules of sessions that cannot be compiled, by patches that
// stay: those of ports in rows.
func (c *compiler) keptRules(rows []Row) []Row {
	var kept []Row
	have := map[rowKey]bool{}
	for i := range rows {
		have[rows[i].key()] = true
	}
	for b := range c.snap.Bridges {
		bridge := &c.snap.Bridges[b]
		for _, row := range rowsOfRules(bridge) {
			stays := len(c.brokenAmong(row.Sessions)) > 0
			if row.Table == TableFlow {
				port := bridge.portBy(inPortOf(row.Name))
				stays = stays && port != nil && have[rowKey{TablePort, "", port.Name}]
			}
			if stays && !have[row.key()] {
				kept = append(kept, row)
			}
		}
	}
	return kept
}

// NormalMatch is an OpenFlow match with its fields in alphabetical order, numbers in
// decimal, or with a mask in hexadecimal, and addresses as Go writes them: equal
// matches are then the same text, however ovs-ofctl and we print them.
func NormalMatch(match string) string {
	fields := strings.Split(match, ",")
	for i, field := range fields {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if !ok {
			fields[i] = name
			continue
		}
		if prefix, err := netip.ParsePrefix(value); err == nil {
			fields[i] = name + "=" + prefix.Masked().String()
			continue
		}
		parts := strings.Split(value, "/")
		for j, part := range parts {
			if n, err := strconv.ParseUint(part, 0, 64); err == nil && len(parts) > 1 {
				parts[j] = fmt.Sprintf("0x%x", n)
			} else if err == nil {
				parts[j] = strconv.FormatUint(n, 10)
			} else if address, err := netip.ParseAddr(part); err == nil {
				parts[j] = address.String()
			}
		}
		fields[i] = name + "=" + strings.Join(parts, "/")
	}
	slices.SortFunc(fields, func(a, b string) int {
		return cmp.Or(cmp.Compare(rankOf(a), rankOf(b)), cmp.Compare(a, b))
	})
	return strings.Join(fields, ",")
}

// rankOf puts the port first, then the protocol, as people read them.
func rankOf(field string) int {
	name, _, hasValue := strings.Cut(field, "=")
	switch {
	case name == "in_port":
		return 0
	case !hasValue:
		return 1
	}
	return 2
}
