package plan

import (
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// An Answer is what becomes of one packet: what the sessions say, and whether the
// switch does so.
type Answer struct {
	Probe *Probe
	// Trace is nil if the switch was not asked.
	Trace    *Trace
	Verdicts []Verdict // by session
	// Strays say what the switch copies for no session at all.
	Strays []string
}

// Agrees reports whether the switch does what the sessions say, as far as it was
// asked.
func (a *Answer) Agrees() bool {
	return len(a.Strays) == 0 && !slices.ContainsFunc(a.Verdicts, func(v Verdict) bool { return len(v.Disagreements) > 0 })
}

// Copied says whether a packet is copied.
type Copied string

// CopiedPerhaps is for what the switch alone decides: which connections a sample
// keeps, which destination of several gets a connection, by which port it leaves.
const (
	CopiedYes     Copied = "yes"
	CopiedNo      Copied = "no"
	CopiedPerhaps Copied = "perhaps"
)

// A Verdict is what one session says of the packet.
type Verdict struct {
	Outcome *Outcome
	Copied  Copied
	// Why is what decided, in the order of the deciding; Notes what becomes of the
	// copy.
	Why, Notes []string
	// Places are what becomes of it at each of the Outcome's Places.
	Places []PlaceVerdict
	// Disagreements say where the switch does something else.
	Disagreements []string

	chosen []way
	limits bool // whether what copies are cut to is known
}

// A PlaceVerdict is one destination of a Verdict.
type PlaceVerdict struct {
	Place
	// Copied is what the session says.
	Copied Copied
	// Exits are what the switch sends there, for this session or another one.
	Exits []Exit
	// Note says why there may be no copy, or whose it is.
	Note string
}

// A way is how the packet passes a port of a bridge, in a VLAN: it enters or leaves
// by it.
type way struct {
	port int32
	// direction is as the port's owner sees it: what enters the switch is from it.
	direction policy.Direction
	vlan      uint16
	dropped   string // why it is none
	sampled   bool
}

// Answer says what the plan's sessions say of a packet, and compares it with what
// the switch says, unless that is nil.
func (p *Plan) Answer(probe *Probe, trace *Trace) *Answer {
	t := &tracer{portIndex: probe.index, plan: p, probe: probe, trace: trace}
	t.findDestinations()
	t.findWays()
	a := &Answer{Probe: probe, Trace: trace}
	for _, o := range p.Outcomes {
		a.Verdicts = append(a.Verdicts, t.verdict(o))
	}
	if trace != nil {
		a.Strays = t.compare(a.Verdicts)
	}
	return a
}

// A tracer follows one packet.
type tracer struct {
	*portIndex
	plan  *Plan
	probe *Probe
	trace *Trace
	// owners are the sessions whose destination a port is, foreign the mirrors of
	// others that output to it.
	owners, foreign map[int32][]string
	ways            []way
	// copies are what the switch sends to destinations, by port; spans what it sends
	// in a VLAN that is not the packet's, by bridge and VLAN.
	copies map[int32][]Exit
	spans  map[span][]Exit
}

// A span is an RSPAN VLAN of a bridge.
type span struct {
	bridge int32
	vlan   uint16
}

// findDestinations finds the ports that carry copies.
func (t *tracer) findDestinations() {
	t.owners, t.foreign = map[int32][]string{}, map[int32][]string{}
	own := func(port int32, names ...string) {
		for _, name := range names {
			if !slices.Contains(t.owners[port], name) {
				t.owners[port] = append(t.owners[port], name)
			}
		}
	}
	for _, o := range t.plan.Outcomes {
		for i := range o.Places {
			if port, _ := t.device(o.Places[i].Port); port >= 0 {
				own(port, o.Name)
			}
		}
		for _, target := range o.targets { // of those that are refused too
			if target.port >= 0 {
				own(target.port, o.Name)
			}
		}
	}
	for port, p := range t.ports {
		if isPatch(p) && p.Managed() {
			continue
		}
		for _, b := range []int32{t.bridge[port], t.on[port]} {
			for m := range t.snap.Bridges[b].Mirrors {
				switch mirror := &t.snap.Bridges[b].Mirrors[m]; {
				case mirror.OutputPort != p.Name:
				case mirror.Managed():
					own(int32(port), mirror.Sessions()...)
				default:
					t.foreign[int32(port)] = append(t.foreign[int32(port)], mirror.Name)
				}
			}
		}
		if on := &t.snap.Bridges[t.on[port]]; on.Managed() && len(t.owners[int32(port)]) == 0 { // left there
			own(int32(port), splitNames(on.ExternalIDs[KeySession])...)
		}
	}
}

// findWays sorts what leaves the switch: production, and copies.
func (t *tracer) findWays() {
	enters := way{port: t.probe.port, direction: policy.DirectionFrom, vlan: t.probe.VLAN, dropped: t.probe.Dropped}
	t.ways = []way{enters}
	t.copies, t.spans = map[int32][]Exit{}, map[span][]Exit{}
	if t.trace == nil {
		return
	}
	rspan := map[uint16]bool{}
	for _, o := range t.plan.Outcomes {
		for _, target := range o.targets {
			rspan[uint16(target.vlan)] = target.rspan()
		}
	}
	for b := range t.snap.Bridges {
		for m := range t.snap.Bridges[b].Mirrors {
			if mirror := &t.snap.Bridges[b].Mirrors[m]; mirror.OutputVLAN != nil {
				rspan[uint16(*mirror.OutputVLAN)] = true
			}
		}
	}
	for _, exit := range t.trace.Exits {
		port, _ := t.device(exit.Interface)
		switch {
		case port < 0:
			continue
		case len(t.owners[port]) > 0:
			t.copies[port] = append(t.copies[port], exit)
			continue
		case len(t.foreign[port]) > 0 || t.roles[port] == roleNone:
			continue
		}
		var tag *uint16
		if len(exit.Tags) > 0 {
			tag = &exit.Tags[0]
		}
		vlan, dropped := t.ports[port].vlanOf(tag)
		if dropped == "" && vlan != t.probe.VLAN && rspan[vlan] {
			at := span{t.bridge[port], vlan}
			t.spans[at] = append(t.spans[at], exit)
			continue
		}
		t.ways = append(t.ways, way{port: port, direction: policy.DirectionTo, vlan: vlan, dropped: dropped, sampled: exit.Sampled})
	}
}

// verdict is what a session says.
func (t *tracer) verdict(o *Outcome) Verdict {
	v := Verdict{Outcome: o, Copied: CopiedNo, limits: true}
	because := func(format string, args ...any) { v.Why = append(v.Why, fmt.Sprintf(format, args...)) }
	switch o.State {
	case StateActive:
		t.decide(&v)
	case StateInvalid, StateRefused:
		because("the session is %s: %s", o.State, o.Reason)
		if t.stands(o) && !o.harmful() {
			v.Copied, v.limits = CopiedPerhaps, false
			because("what it copied before goes on, and the switch alone knows what that is")
		}
	default:
		because("the session is %s: %s", o.State, o.Reason)
	}
	for i := range o.Places {
		v.Places = append(v.Places, t.place(&v, i))
	}
	return v
}

// stands reports whether a mirror serves the session.
func (t *tracer) stands(o *Outcome) bool {
	for b := range t.snap.Bridges {
		if slices.ContainsFunc(t.snap.Bridges[b].Mirrors, func(m Mirror) bool { return m.Managed() && slices.Contains(m.Sessions(), o.Name) }) {
			return true
		}
	}
	return false
}

// decide decides for a session that copies: by its sources, by its matches, and by
// how it treats copies.
func (t *tracer) decide(v *Verdict) {
	o := v.Outcome
	open := t.sources(v)
	if len(v.chosen) == 0 && !open {
		return
	}
	v.Copied = CopiedYes
	if len(v.chosen) == 0 {
		v.Copied = CopiedPerhaps
	}
	if !t.matches(v) {
		return
	}
	if len(v.chosen) > 0 && !slices.ContainsFunc(v.chosen, func(w way) bool { return !w.sampled }) {
		v.Copied = CopiedPerhaps
	}
	note := func(present bool, format string, args ...any) {
		if present {
			v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
		}
	}
	s := o.Session
	if s.Sample.N > 1 {
		v.Copied = CopiedPerhaps
		note(true, "one connection in %d is kept; which, the switch decides", s.Sample.N)
	}
	note(s.Balance != "" && len(o.Places) > 1, "one of the destinations gets it, by its connection; which, the switch decides")
	note(!s.MaxRate.IsZero(), "copies over %s are dropped", s.MaxRate)
	note(s.Snaplen > 0, "longer copies are cut to %d bytes", s.Snaplen)
	note(s.StripVLAN && !o.targets[0].rspan(), "copies lose their outermost VLAN tag")
}

// matches applies include and exclude to the ways on which the packet was chosen,
// and reports whether one is left.
func (t *tracer) matches(v *Verdict) bool {
	s := v.Outcome.Session
	ways := v.chosen
	if len(ways) == 0 { // it leaves by a way that is not known
		ways = []way{{vlan: t.probe.VLAN}}
	}
	left := ways[:0:0]
	var why []string
	for _, w := range ways {
		p := t.probe.Packet
		p.VLAN = w.vlan // with which copies come to the tap bridge
		holds := func(m policy.Match) bool { return m.Holds(&p) }
		out, in := slices.IndexFunc(s.Exclude, holds), slices.IndexFunc(s.Include, holds)
		switch {
		case out >= 0:
			why = append(why, fmt.Sprintf("exclude[%d] holds: %s", out, &s.Exclude[out]))
			continue
		case in < 0 && len(s.Include) > 0:
			why = append(why, "no include holds")
			continue
		case in >= 0:
			why = append(why, fmt.Sprintf("include[%d] holds: %s", in, &s.Include[in]))
		case len(s.Exclude) > 0:
			why = append(why, "no exclude holds")
		}
		left = append(left, w)
	}
	slices.Sort(why)
	v.Why = append(v.Why, slices.Compact(why)...)
	if len(left) == 0 {
		v.Copied, v.chosen = CopiedNo, nil
		return false
	}
	if len(v.chosen) > 0 {
		v.chosen = left
	}
	if slices.ContainsFunc(v.Outcome.guards, func(g guard) bool { return g.holds(&t.probe.Packet) }) {
		v.Copied = CopiedPerhaps // some of its copies are without guards
		v.Why = append(v.Why, "packets of tunnels and what finds their way are not copied where they would make a loop")
	}
	return true
}

// place is what becomes of the packet at one destination.
func (t *tracer) place(v *Verdict, i int) PlaceVerdict {
	o := v.Outcome
	p := PlaceVerdict{Place: o.Places[i], Copied: v.Copied}
	if v.Copied == CopiedNo {
		return p
	}
	switch {
	case p.Absent != "":
		p.Copied, p.Note = CopiedNo, p.Absent
	case p.Port != "":
		if o.Session.Balance != "" && len(o.Places) > 1 {
			p.Copied = CopiedPerhaps
		}
		if port, _ := t.device(p.Port); port < 0 || !slices.ContainsFunc(t.ports[port].Interfaces, func(i Interface) bool { return i.OFPort > 0 }) {
			p.Note = "ovs-vswitchd does not have it"
		} else if down := t.down(port); down && !t.ports[port].Managed() {
			p.Note = "its link is down"
		}
	default:
		vlan := uint16(o.targets[i].vlan)
		if t.probe.VLAN == vlan || isReserved(t.probe.Packet.DstMAC) {
			p.Copied, p.Note = CopiedNo, "the packet is in that VLAN already"
			if t.probe.VLAN != vlan {
				p.Note = "packets to a reserved multicast address are not copied into a VLAN"
			}
		}
	}
	return p
}

func (t *tracer) down(port int32) bool {
	return !slices.ContainsFunc(t.ports[port].Interfaces, func(i Interface) bool { return i.LinkState != "down" })
}

// isReserved reports whether the address is of a protocol of the bridge itself,
// whose packets are never flooded (lib/packets.c: eth_addr_is_reserved, OVS 3.1).
func isReserved(mac string) bool {
	return strings.HasPrefix(mac, "01:80:c2:00:00:0") || strings.HasPrefix(mac, "01:00:0c:cc:cc:c") ||
		mac == "01:00:0c:00:00:00" || strings.HasPrefix(mac, "00:e0:2b:00:00:0")
}
