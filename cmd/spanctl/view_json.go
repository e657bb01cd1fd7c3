package main

import (
	"encoding/json"
	"io"
	"maps"
	"slices"

	"spanctl/ovs"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// jsonView writes one document a command, each with a format_version.
type jsonView struct{ out io.Writer }

func (v *jsonView) write(doc any) error {
	enc := json.NewEncoder(v.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

func (v *jsonView) valid(sessions map[string]*policy.Session) error {
	return v.write(struct {
		FormatVersion int      `json:"format_version"`
		Sessions      []string `json:"sessions"`
	}{plan.FormatVersion, slices.Sorted(maps.Keys(sessions))})
}

func (v *jsonView) sessions(doc *policy.Document) error {
	return v.write(struct {
		FormatVersion int              `json:"format_version"`
		Policy        *policy.Document `json:"policy"`
	}{plan.FormatVersion, doc})
}

type jsonImport struct {
	Bridge  string   `json:"bridge"`
	Mirror  string   `json:"mirror"`
	UUID    string   `json:"uuid"`
	Session string   `json:"session,omitempty"` // in the policy; empty if it cannot be said
	Notes   []string `json:"notes"`
}

func (v *jsonView) imports(imports []plan.Import) error {
	doc := struct {
		FormatVersion int              `json:"format_version"`
		Policy        *policy.Document `json:"policy"`
		Mirrors       []jsonImport     `json:"mirrors"`
	}{plan.FormatVersion, &policy.Document{Version: policy.Version, Sessions: map[string]*policy.Session{}}, []jsonImport{}}
	for i := range imports {
		mirror := jsonImport{Bridge: imports[i].Bridge, Mirror: imports[i].Mirror, UUID: imports[i].UUID, Notes: append([]string{}, imports[i].Notes...)}
		if imports[i].Session != nil {
			mirror.Session = imports[i].Name
			doc.Policy.Sessions[mirror.Session] = imports[i].Session
		}
		doc.Mirrors = append(doc.Mirrors, mirror)
	}
	return v.write(doc)
}

func (v *jsonView) version(info versionInfo) error { return v.write(info) }

type jsonPlan struct {
	FormatVersion int           `json:"format_version"`
	OVSVersion    string        `json:"ovs_version"`
	Empty         bool          `json:"empty"`
	Changes       []jsonChange  `json:"changes"`
	Sessions      []jsonSession `json:"sessions"`
	Warnings      []string      `json:"warnings"`
}

type jsonChange struct {
	Action   string               `json:"action"`
	Table    plan.Table           `json:"table"`
	Bridge   string               `json:"bridge,omitempty"`
	Name     string               `json:"name"`
	UUID     string               `json:"uuid,omitempty"`
	Tier     plan.Tier            `json:"tier,omitempty"`
	Sessions []string             `json:"sessions,omitempty"`
	Reason   plan.Reason          `json:"reason"`
	Detail   string               `json:"detail"`
	Columns  map[string]jsonDelta `json:"columns"`
}

type jsonDelta struct {
	Old []string `json:"old"`
	New []string `json:"new"`
}

type jsonSession struct {
	Name        string          `json:"name"`
	State       plan.State      `json:"state"`
	Reason      string          `json:"reason,omitempty"`
	Tier        plan.Tier       `json:"tier,omitempty"`
	Bridge      string          `json:"bridge,omitempty"`
	Destination string          `json:"destination,omitempty"`
	Sources     int             `json:"sources"`
	Refusals    []*plan.Refusal `json:"refusals,omitempty"`
}

var actionNames = map[plan.Action]string{plan.Create: "create", plan.Update: "update", plan.Delete: "delete"}

func newJSONPlan(p *plan.Plan) jsonPlan {
	doc := jsonPlan{
		FormatVersion: plan.FormatVersion, OVSVersion: p.Base.OVSVersion, Empty: p.Empty(),
		Changes: []jsonChange{}, Sessions: []jsonSession{}, Warnings: append([]string{}, p.Warnings...),
	}
	for i := range p.Changes {
		c := &p.Changes[i]
		change := jsonChange{
			Action: actionNames[c.Action], Table: c.Table, Bridge: c.Bridge, Name: c.Name, UUID: c.UUID,
			Tier: c.Tier, Sessions: c.Sessions, Reason: c.Reason, Detail: c.Detail, Columns: map[string]jsonDelta{},
		}
		for column, d := range c.Columns {
			change.Columns[column] = jsonDelta{append([]string{}, d.Old...), append([]string{}, d.New...)}
		}
		doc.Changes = append(doc.Changes, change)
	}
	for _, o := range p.Outcomes {
		doc.Sessions = append(doc.Sessions, newJSONSession(o))
	}
	return doc
}

func newJSONSession(o *plan.Outcome) jsonSession {
	return jsonSession{o.Name, o.State, o.Reason, o.Tier, o.Bridge, o.Destination, o.SourceCount(), o.Refusals}
}

func (v *jsonView) plan(p *plan.Plan) error { return v.write(newJSONPlan(p)) }

func (v *jsonView) applied(a *ovs.Applied, health []plan.Health) error {
	return v.write(struct {
		FormatVersion int          `json:"format_version"`
		Committed     bool         `json:"committed"`
		InForce       bool         `json:"in_force"`
		Plan          jsonPlan     `json:"plan"`
		Status        []jsonHealth `json:"status,omitempty"`
	}{plan.FormatVersion, a.Committed, health != nil, newJSONPlan(a.Plan), newJSONHealth(health)})
}

type jsonHealth struct {
	jsonSession
	Missing  bool         `json:"missing"`
	Copied   int          `json:"copied"`
	Blind    []string     `json:"blind"`
	Problems []string     `json:"problems"`
	Notes    []string     `json:"notes"`
	Mirrors  []jsonMirror `json:"mirrors"`
	Places   []jsonPlace  `json:"destinations"`
	LeftOut  *uint64      `json:"left_out,omitempty"`
	OverRate *uint64      `json:"over_rate,omitempty"`
	Report   *plan.Report `json:"agent_report,omitempty"`
}

// jsonPlace is one destination; what is null or left out is unknown.
type jsonPlace struct {
	Name     string   `json:"name"`
	Port     string   `json:"port,omitempty"`
	Bridge   string   `json:"bridge,omitempty"`
	Absent   string   `json:"absent,omitempty"`
	Link     string   `json:"link,omitempty"`
	MTU      int      `json:"mtu,omitempty"`
	Egress   string   `json:"egress,omitempty"`
	Packets  *uint64  `json:"packets"`
	Bytes    *uint64  `json:"bytes"`
	Dropped  *uint64  `json:"dropped"`
	TooLarge *uint64  `json:"too_large"`
	Narrow   string   `json:"narrow,omitempty"`
	Problems []string `json:"problems"`
}

func newJSONPlace(p *plan.PlaceHealth) jsonPlace {
	doc := jsonPlace{
		Name: p.Name, Port: p.Port, Bridge: p.Bridge, Absent: p.Absent, Link: p.Link, MTU: p.MTU, Egress: p.Egress,
		Narrow: p.Narrow, Problems: append([]string{}, p.Problems...),
	}
	if p.Copies != nil {
		doc.Packets, doc.Bytes = &p.Copies.Packets, &p.Copies.Bytes
	}
	if p.Losses != nil {
		doc.Dropped, doc.TooLarge = &p.Losses.Dropped, &p.Losses.TooLarge
	}
	return doc
}

type jsonMirror struct {
	Bridge  string  `json:"bridge"`
	Name    string  `json:"name"`
	Packets *uint64 `json:"packets"`
	Bytes   *uint64 `json:"bytes"`
}

func newJSONHealth(health []plan.Health) []jsonHealth {
	list := make([]jsonHealth, 0, len(health))
	for i := range health {
		h := &health[i]
		doc := jsonHealth{
			jsonSession: newJSONSession(h.Outcome), Missing: h.Missing, Copied: h.Copied,
			Blind: append([]string{}, h.Blind...), Problems: append([]string{}, h.Problems...), Notes: append([]string{}, h.Notes...), Mirrors: []jsonMirror{}, Places: []jsonPlace{},
			LeftOut: h.LeftOut, OverRate: h.OverRate, Report: h.Report,
		}
		for p := range h.Places {
			doc.Places = append(doc.Places, newJSONPlace(&h.Places[p]))
		}
		doc.State = h.State
		for _, m := range h.Mirrors {
			mirror := jsonMirror{Bridge: m.Bridge, Name: m.Name}
			if m.Counters != nil {
				mirror.Packets, mirror.Bytes = &m.Counters.Packets, &m.Counters.Bytes
			}
			doc.Mirrors = append(doc.Mirrors, mirror)
		}
		list = append(list, doc)
	}
	return list
}

func (v *jsonView) status(health []plan.Health, agent *plan.Lease) error {
	return v.write(struct {
		FormatVersion int          `json:"format_version"`
		Agent         *plan.Lease  `json:"agent"` // null if none lives
		Sessions      []jsonHealth `json:"sessions"`
	}{plan.FormatVersion, agent, newJSONHealth(health)})
}
