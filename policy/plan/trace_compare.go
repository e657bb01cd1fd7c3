package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// An expectation is what all sessions together say of one destination.
type expectation struct {
	copied Copied
	// by are the sessions that copy to it, or may; limits what they cut copies to,
	// nil if that is not known.
	by     []string
	limits map[int]bool
}

// compare finds what the switch does otherwise than the sessions say. Sessions
// share destinations, so that a copy is asked for if any of them asks for it. It
// returns what is copied for none.
func (t *tracer) compare(verdicts []Verdict) (strays []string) {
	ports, spans := map[int32]*expectation{}, map[span]*expectation{}
	for i := range verdicts {
		v := &verdicts[i]
		for j := range v.Places {
			t.eachKey(v, j, func(port int32) { expect(ports, port, v, j) }, func(at span) { expect(spans, at, v, j) })
		}
		if v.Copied == CopiedPerhaps && !v.limits { // what stands of it goes on, to wherever
			for port, owners := range t.owners {
				if slices.Contains(owners, v.Outcome.Name) {
					expect(ports, port, v, -1)
				}
			}
			for at := range t.spans {
				expect(spans, at, v, -1)
			}
		}
	}
	known := map[int32]bool{}
	for i := range verdicts {
		v := &verdicts[i]
		for j := range v.Places {
			t.eachKey(v, j, func(port int32) {
				known[port] = true
				v.Places[j].Exits = t.copies[port]
				t.judge(v, j, ports[port], t.copies[port], t.excused(v, j, port))
			}, func(at span) {
				v.Places[j].Exits = append(v.Places[j].Exits, t.spans[at]...)
				t.judge(v, j, spans[at], t.spans[at], !t.carries(at))
			})
		}
		t.judgeShares(v, ports)
	}
	for _, port := range slices.Sorted(maps.Keys(t.copies)) {
		if !known[port] && ports[port] == nil {
			strays = append(strays, t.stray(verdicts, port)...)
		}
	}
	return strays
}

// expect adds what a session says of its place, -1 for one that is not known.
func expect[K comparable](all map[K]*expectation, key K, v *Verdict, place int) {
	e := all[key]
	if e == nil {
		e = &expectation{copied: CopiedNo, limits: map[int]bool{}}
		all[key] = e
	}
	copied := v.Copied
	if place >= 0 {
		copied = v.Places[place].Copied
	}
	if copied == CopiedNo {
		return
	}
	if e.copied != CopiedYes {
		e.copied = copied
	}
	e.by = append(e.by, v.Outcome.Name)
	switch {
	case !v.limits:
		e.limits = nil
	case e.limits != nil:
		e.limits[v.Outcome.Session.Snaplen] = true
	}
}

// eachKey calls one of the functions with where the session's place is: a port, or
// an RSPAN VLAN of each bridge that it copies.
func (t *tracer) eachKey(v *Verdict, i int, atPort func(int32), atSpan func(span)) {
	o := v.Outcome
	switch place := &o.Places[i]; {
	case place.Port != "":
		if port, _ := t.device(place.Port); port >= 0 {
			atPort(port)
		}
	case i < len(o.targets) && o.targets[i].rspan():
		bridges := map[int32]bool{}
		for _, w := range v.chosen {
			bridges[t.bridge[w.port]] = true
		}
		if len(v.chosen) == 0 {
			o.sources(func(s source) { bridges[t.bridge[s.port]] = true })
		}
		for _, b := range slices.Sorted(maps.Keys(bridges)) {
			atSpan(span{b, uint16(o.targets[i].vlan)})
		}
	}
}

// judge compares one place with what is sent there. A copy that is not there is
// excused where the switch says that it would be sent.
func (t *tracer) judge(v *Verdict, i int, e *expectation, exits []Exit, excused bool) {
	p := &v.Places[i]
	disagree := func(format string, args ...any) {
		v.Disagreements = append(v.Disagreements, fmt.Sprintf(format, args...))
	}
	switch {
	case len(exits) == 0 && p.Copied == CopiedYes && !excused:
		disagree("by the policy a copy goes to %s, and the switch sends none", p.Label())
	case len(exits) > 0 && e.copied == CopiedNo:
		disagree("by the policy no copy goes to %s, and the switch sends %s", p.Label(), copyCount(len(exits)))
	case len(exits) > 0 && p.Copied == CopiedNo && p.Note == "":
		p.Note = "that copy is session " + strings.Join(e.by, ", ") + "'s"
	}
	for _, exit := range exits {
		if e.limits == nil || p.Copied == CopiedNo || e.limits[exit.Limit] {
			continue
		}
		disagree("by the policy copies to %s are %s, and the switch sends %s", p.Label(), cutText(slices.Sorted(maps.Keys(e.limits))[0]), cutText(exit.Limit))
		break
	}
}

func copyCount(n int) string {
	if n == 1 {
		return "one"
	}
	return fmt.Sprintf("%d", n)
}

func cutText(limit int) string {
	if limit == 0 {
		return "whole packets"
	}
	return fmt.Sprintf("cut to %d bytes", limit)
}

// judgeShares compares a session whose destinations share the copies: one of them
// gets the packet.
func (t *tracer) judgeShares(v *Verdict, all map[int32]*expectation) {
	if v.Outcome.Session == nil || v.Outcome.Session.Balance == "" || len(v.Places) < 2 || v.Copied == CopiedNo {
		return
	}
	own, others, excused, present := 0, false, false, 0
	for i := range v.Places {
		port, _ := t.device(v.Places[i].Port)
		if port < 0 || v.Places[i].Port == "" {
			continue
		}
		present++
		excused = excused || t.excused(v, i, port)
		if shared := len(all[port].by) > 1; len(t.copies[port]) > 0 {
			own += btoi(!shared)
			others = others || shared
		}
	}
	switch {
	case present == 0:
	case own == 0 && !others && !excused && v.Copied == CopiedYes:
		v.Disagreements = append(v.Disagreements, "by the policy one of the destinations gets a copy, and the switch sends none to any")
	case own > 1:
		v.Disagreements = append(v.Disagreements, fmt.Sprintf("by the policy one of the destinations gets a copy, and the switch sends one to %d of them", own))
	}
}

// excused reports whether there is no copy because of what the policy cannot help,
// and notes it: the next hop's address is not known yet, the port is not there, or
// the trace leaves it open.
func (t *tracer) excused(v *Verdict, i int, port int32) bool {
	p := &v.Places[i]
	if len(t.copies[port]) > 0 || p.Copied == CopiedNo {
		return false
	}
	target := v.Outcome.targets[i]
	switch {
	case target.tunnel != nil && t.awaits(target.tunnel.remote):
		p.Note = "it would be sent: the address of the next hop is not known yet, and is asked for"
		return true
	case p.Note == "ovs-vswitchd does not have it":
		return true
	case len(t.trace.Open) > 0 && len(t.ports[port].Interfaces) > 1:
		p.Note = "the trace does not say whether it is sent"
		return true
	}
	return false
}

// awaits reports whether the way to a tunnel's far end waits for an address: its own,
// or a router's.
func (t *tracer) awaits(remote netip.Addr) bool {
	if slices.Contains(t.trace.Neighbors, remote) {
		return true
	}
	return slices.ContainsFunc(t.trace.Neighbors, func(hop netip.Addr) bool {
		for _, o := range t.plan.Outcomes {
			if slices.ContainsFunc(o.targets, func(u target) bool { return u.tunnel != nil && u.tunnel.remote == hop }) {
				return false // that is another tunnel's
			}
		}
		return true
	})
}

// carries reports whether a port of the bridge is in the RSPAN VLAN.
func (t *tracer) carries(at span) bool {
	for port := t.first[at.bridge]; port < t.first[at.bridge+1]; port++ {
		p := t.ports[port]
		if t.on[port] != at.bridge || isPatch(p) || len(t.owners[port])+len(t.foreign[port]) > 0 {
			continue
		}
		if _, dropped := p.vlanOf(&at.vlan); dropped == "" || p.Tag != nil && uint16(*p.Tag) == at.vlan {
			return true
		}
	}
	return false
}

// stray says that a port gets a copy though it is no place of a session. It is the
// disagreement of the sessions that its rows name, if one is stored.
func (t *tracer) stray(verdicts []Verdict, port int32) []string {
	name := t.ports[port].Name
	claimed := false
	for i := range verdicts {
		if v := &verdicts[i]; slices.Contains(t.owners[port], v.Outcome.Name) {
			claimed = true
			v.Disagreements = append(v.Disagreements, fmt.Sprintf("the session does not copy to %s, and the switch still sends a copy there", name))
		}
	}
	if claimed {
		return nil
	}
	return []string{fmt.Sprintf("the switch sends a copy to %s for no stored session", name)}
}
