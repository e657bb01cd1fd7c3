package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ask sends one packet of the case and says what is wrong, nothing if the switch does what the oracle wants.
func (o *oracle) ask(s *oracleSwitch, p *oraclePacket) (string, error) {
	o.reserved, o.filtered, o.mirrored, o.now = s.reserved, s.filtered, s.mirrored, s.bridge
	trace, err := s.send(p.In, p.frame())
	if err != nil {
		return "", err
	}
	in := o.at[p.In]
	production, copies, problem := o.sort(trace.frames)
	problems := []string{problem, production.disturbed(in.port.Name)}
	if s.reserved[in.port.Name] && len(trace.frames) > 0 {
		problems = append(problems, "a frame from a port to which copies go leaves the switch")
	}
	list := o.wants(p, o.passages(in, production))
	problems = append(problems, o.explain(list, copies), o.wrongNumbers(p, copies))
	for _, frames := range trace.metered {
		problems = append(problems, o.overRate(list, trace.frames, frames))
	}
	problems = slices.DeleteFunc(problems, func(problem string) bool { return problem == "" })
	if len(problems) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s\n\nframe %x\n%s", strings.Join(problems, "\n"), p.frame(), trace.text), nil
}

// sort tells copies from what else leaves the switch, and names Ports.
func (o *oracle) sort(frames []oracleFrame) (production oracleProduction, copies []oracleFrame, problem string) {
	for _, one := range frames {
		port := o.at[one.to].port
		switch {
		case port == nil:
			problem = "a frame leaves by " + one.to
		case o.foreign(port.Name):
		case o.reserved[port.Name]:
			copies = append(copies, oracleFrame{port.Name, one.frame})
		default:
			production = append(production, oracleFrame{port.Name, one.frame})
		}
	}
	return production, copies, problem
}

// oracleProduction is what leaves the switch and is no copy.
type oracleProduction []oracleFrame

// disturbed says what no switch does: a port gets a packet twice, or its own.
func (list oracleProduction) disturbed(in string) string {
	seen := map[string]bool{in: true}
	for _, one := range list {
		if seen[one.to] {
			return "production is disturbed: a frame too many leaves by " + one.to
		}
		seen[one.to] = true
	}
	return ""
}

// passages are what the packet does on each bridge.
func (o *oracle) passages(in oraclePlace, production oracleProduction) []oraclePassage {
	list := []oraclePassage{{bridge: in.bridge, in: in.port.Name}}
	for _, one := range production {
		bridge := o.at[one.to].bridge
		i := slices.IndexFunc(list, func(c oraclePassage) bool { return c.bridge == bridge })
		if i < 0 {
			i = len(list)
			list = append(list, oraclePassage{bridge: bridge})
		}
		list[i].outs = append(list[i].outs, one.to)
	}
	return list
}

// wrongNumbers says where the numbers of copies are not those that a golden case has.
func (o *oracle) wrongNumbers(p *oraclePacket, copies []oracleFrame) string {
	if p.Want == nil {
		return ""
	}
	got := map[string]int{}
	for _, c := range copies {
		got[c.to]++
	}
	if !maps.Equal(got, p.Want) {
		return fmt.Sprintf("copies made: %v; the case wants %v", got, p.Want)
	}
	return ""
}

// overRate says what is wrong where a meter has dropped a packet, and these frames are left: only copies may be missing, and
// only those of one treatment, which has a rate.
func (o *oracle) overRate(list []oracleCopies, all, left []oracleFrame) string {
	missing := slices.Clone(all)
	for _, one := range left {
		i := slices.IndexFunc(missing, func(f oracleFrame) bool { return f.to == one.to && bytes.Equal(f.frame, one.frame) })
		if i < 0 {
			return "a packet over the rate makes a frame that one below it does not"
		}
		missing = slices.Delete(missing, i, i+1)
	}
	production, copies, _ := o.sort(missing)
	if len(production) > 0 {
		return "a packet of production is lost where copies are over their rate: at " + production[0].to
	}
	o.count.of("copies over their rate", len(copies) > 0)
	for _, w := range list {
		if w.MaxRate == "" {
			continue
		}
		var same []oracleNeed
		for _, other := range list {
			if other.treatment == w.treatment {
				for _, port := range other.ports {
					same = append(same, oracleNeed{port, other.frames})
				}
			}
		}
		if among(same, copies) {
			return ""
		}
	}
	if len(copies) == 0 {
		return ""
	}
	return fmt.Sprintf("a copy for another session is lost where copies are over their rate: %v", copies)
}

// among tells whether the copies are some of those that are needed.
func among(list []oracleNeed, copies []oracleFrame) bool {
	if len(copies) == 0 {
		return true
	}
	for i, n := range list {
		if n.is(copies[0]) && among(slices.Delete(slices.Clone(list), i, i+1), copies[1:]) {
			return true
		}
	}
	return false
}
