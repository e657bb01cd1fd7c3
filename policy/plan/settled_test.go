package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"spanctl/policy"
	"spanctl/policy/plan"
)

// Whatever host, intent and state before: when a plan is carried out nothing is left to do. Over a remote connection, where
// rules are not seen, neither.
func TestNothingIsLeftToDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap := anyHost(t)
		for range rapid.IntRange(1, 3).Draw(t, "plans") {
			intent := anyIntent(t)
			for name, w := range intent {
				w.Stored = snap.Intent[name]
				intent[name] = w
			}
			p := plan.Make(snap, intent, noon)
			if p.Refused(intent.Names()) != nil {
				continue // nothing is done
			}
			after := carriedOut(t, snap, p)
			stored := plan.Intent{}
			for name, w := range intent {
				w.Stored = w.Raw
				stored[name] = w
			}
			again := plan.Make(after, stored, noon)
			for len(again.Changes) > 0 && slices.IndexFunc(again.Changes, func(c plan.Change) bool { return c.Table != plan.TablePort || c.Action != plan.Delete }) < 0 {
				after = carriedOut(t, after, again) // what was postponed
				again = plan.Make(after, stored, noon)
			}
			if len(again.Changes) > 0 {
				t.Fatalf("left to do:\n%s\nof:\n%s", renderPlan(again), renderPlan(p))
			}
			snap = after
		}
	})
}

// carriedOut is the snapshot after a plan.
func carriedOut(t interface{ Fatalf(string, ...any) }, snap *plan.Snapshot, p *plan.Plan) *plan.Snapshot {
	s := *snap
	s.Intent = maps.Clone(snap.Intent)
	if s.Intent == nil {
		s.Intent = map[string]string{}
	}
	s.Bridges = slices.Clone(snap.Bridges)
	for i := range s.Bridges {
		b := &s.Bridges[i]
		b.Ports, b.Mirrors, b.Flows, b.Meters = slices.Clone(b.Ports), slices.Clone(b.Mirrors), slices.Clone(b.Flows), slices.Clone(b.Meters)
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		switch c.Table {
		case plan.TableIntent:
			if delete(s.Intent, c.Name); c.Action != plan.Delete {
				s.Intent[c.Name] = c.Columns["intent"].New[0]
			}
		case plan.TableBridge:
			if c.Action != plan.Delete {
				changeBridge(&s, c)
			}
		}
	}
	for i := range p.Changes {
		if c := &p.Changes[i]; c.Table == plan.TablePort {
			changePort(t, &s, c)
		}
	}
	for i := range p.Changes {
		if c := &p.Changes[i]; c.Table == plan.TableBridge && c.Action == plan.Delete {
			changeBridge(&s, c)
		}
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		b := s.Bridge(c.Bridge)
		switch {
		case b == nil:
		case c.Table == plan.TableMirror:
			changeMirror(t, b, c)
		case c.Table == plan.TableFlow, c.Table == plan.TableMeter:
			changeRules(b, c)
		}
	}
	for i := range s.Bridges {
		b := &s.Bridges[i]
		slices.SortFunc(b.Ports, func(x, y plan.Port) int { return strings.Compare(x.Name, y.Name) })
		for m := range b.Mirrors { // what a mirror refers to goes with the port
			mirror := &b.Mirrors[m]
			gone := func(name string) bool { return name != "" && b.Port(name) == nil }
			if gone(mirror.OutputPort) {
				mirror.OutputPort = ""
			}
			mirror.SelectSrc, mirror.SelectDst = slices.DeleteFunc(slices.Clone(mirror.SelectSrc), gone), slices.DeleteFunc(slices.Clone(mirror.SelectDst), gone)
		}
		slices.SortFunc(b.Mirrors, func(x, y plan.Mirror) int { return strings.Compare(x.Name, y.Name) })
	}
	slices.SortFunc(s.Bridges, func(x, y plan.Bridge) int { return strings.Compare(x.Name, y.Name) })
	return &s
}

func pairsOf(old map[string]string, d plan.Delta) map[string]string {
	ids := maps.Clone(old)
	if ids == nil {
		ids = map[string]string{}
	}
	for _, atom := range d.Old {
		key, _, _ := strings.Cut(atom, "=")
		delete(ids, key)
	}
	for _, atom := range d.New {
		key, v, _ := strings.Cut(atom, "=")
		ids[key] = v
	}
	return ids
}

func rangesOf(v plan.Value) policy.Ranges {
	var r policy.Ranges
	for _, atom := range v {
		first, last, ok := strings.Cut(atom, "-")
		if !ok {
			last = first
		}
		a, _ := strconv.Atoi(first)
		b, _ := strconv.Atoi(last)
		r = append(r, policy.Range{First: uint16(a), Last: uint16(b)})
	}
	return r
}

func numberOf(v plan.Value) int {
	n, _ := strconv.Atoi(first(v))
	return n
}

func changeBridge(s *plan.Snapshot, c *plan.Change) {
	at := slices.IndexFunc(s.Bridges, func(b plan.Bridge) bool { return b.Name == c.Name })
	if c.Action == plan.Delete {
		s.Bridges = slices.Delete(s.Bridges, at, at+1)
		return
	}
	if at < 0 {
		s.Bridges = append(s.Bridges, plan.Bridge{UUID: "uuid-" + c.Name, Name: c.Name})
		at = len(s.Bridges) - 1
	}
	b := &s.Bridges[at]
	for column, d := range c.Columns {
		switch column {
		case "datapath_type":
			b.Datapath = first(d.New)
		case "fail_mode":
			if b.FailMode = first(d.New); b.FailMode == "standalone" {
				b.Flows = append(b.Flows, plan.Flow{Actions: "NORMAL"})
			}
		case "flood_vlans":
			b.FloodVLANs = rangesOf(d.New)
		case "other_config":
			b.OtherConfig = pairsOf(b.OtherConfig, d)
		case "external_ids":
			b.ExternalIDs = pairsOf(b.ExternalIDs, d)
		}
	}
}

func changePort(t interface{ Fatalf(string, ...any) }, s *plan.Snapshot, c *plan.Change) {
	var port plan.Port
	found := false
	for i := range s.Bridges {
		b := &s.Bridges[i]
		if at := slices.IndexFunc(b.Ports, func(p plan.Port) bool { return p.Name == c.Name }); at >= 0 {
			port, found = b.Ports[at], true
			b.Ports = slices.Delete(b.Ports, at, at+1)
		}
	}
	if c.Action == plan.Delete {
		return
	}
	if found != (c.Action == plan.Update) {
		if found {
			t.Fatalf("port %s is there already", c.Name)
		}
		return // it went with its bridge
	}
	if !found {
		port = plan.Port{UUID: "uuid-" + c.Name, Name: c.Name, Interfaces: []plan.Interface{{UUID: "uuid-i-" + c.Name, Name: c.Name, OFPort: 900}}}
	}
	port.Interfaces = slices.Clone(port.Interfaces)
	iface := &port.Interfaces[0]
	for column, d := range c.Columns {
		switch column {
		case "vlan_mode":
			port.VLANMode = first(d.New)
		case "trunks":
			port.Trunks = rangesOf(d.New)
		case "protected":
			port.Protected = first(d.New) == "true"
		case "other_config":
			port.OtherConfig = pairsOf(port.OtherConfig, d)
		case "external_ids":
			port.ExternalIDs = pairsOf(port.ExternalIDs, d)
		case "interface.type":
			iface.Type = first(d.New)
		case "interface.options":
			iface.Options = pairsOf(nil, plan.Delta{New: d.New})
		case "interface.external_ids":
			iface.ExternalIDs = pairsOf(iface.ExternalIDs, d)
		case "interface.ofport":
			iface.OFPort = numberOf(d.New)
		case "interface.ofport_request":
			if iface.OFPortRequest = numberOf(d.New); iface.OFPortRequest > 0 {
				iface.OFPort = iface.OFPortRequest
			}
		}
	}
	if _, moved := c.Columns["bridge"]; moved && c.Columns["interface.ofport"].New == nil && iface.OFPortRequest == 0 {
		iface.OFPort = 700 + len(c.Name) + int(c.Name[len(c.Name)-1]) // one that nobody asked for
	}
	if b := s.Bridge(c.Bridge); b != nil {
		b.Ports = append(b.Ports, port)
	}
}

func changeMirror(t interface{ Fatalf(string, ...any) }, b *plan.Bridge, c *plan.Change) {
	at := slices.IndexFunc(b.Mirrors, func(m plan.Mirror) bool { return m.UUID == c.UUID })
	switch {
	case c.Action == plan.Create:
		b.Mirrors = append(b.Mirrors, plan.Mirror{UUID: fmt.Sprintf("uuid-%s-%s", b.Name, c.Name)})
		at = len(b.Mirrors) - 1
	case at < 0:
		t.Fatalf("mirror %s is not there", c.Name)
	case c.Action == plan.Delete:
		b.Mirrors = slices.Delete(b.Mirrors, at, at+1)
		return
	}
	m := &b.Mirrors[at]
	m.Name = c.Name
	for column, d := range c.Columns {
		switch column {
		case "select_all":
			m.SelectAll = first(d.New) == "true"
		case "select_src_port":
			m.SelectSrc = d.New
		case "select_dst_port":
			m.SelectDst = d.New
		case "select_vlan":
			m.SelectVLANs = rangesOf(d.New)
		case "output_port":
			m.OutputPort = first(d.New)
		case "output_vlan":
			if m.OutputVLAN = nil; len(d.New) > 0 {
				n := numberOf(d.New)
				m.OutputVLAN = &n
			}
		case "snaplen":
			m.Snaplen = numberOf(d.New)
		case "filter":
			m.Filter = first(d.New)
		case "external_ids":
			m.ExternalIDs = pairsOf(m.ExternalIDs, d)
		}
	}
}

// changeRules does what package openflow does, by the plan's own words for it.
func changeRules(b *plan.Bridge, c *plan.Change) {
	before, after := (&plan.Plan{Base: &plan.Snapshot{}, Changes: []plan.Change{*c}}).Rules()
	for _, r := range slices.Concat(before, after) {
		for _, f := range slices.Concat(r.Set, r.Delete) {
			b.Flows = slices.DeleteFunc(b.Flows, func(have plan.Flow) bool {
				return have.Table == f.Table && have.Priority == f.Priority && have.Match == f.Match
			})
		}
		b.Flows = append(b.Flows, r.Set...)
		for _, m := range r.SetMeters {
			b.Meters = append(slices.DeleteFunc(b.Meters, func(have plan.Meter) bool { return have.ID == m.ID }), m)
		}
		b.Meters = slices.DeleteFunc(b.Meters, func(have plan.Meter) bool { return slices.Contains(r.DeleteMeters, have.ID) })
	}
}
