package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"spanctl/policy"
	"spanctl/policy/plan"
)

// disagreement begins a line that nobody should miss.
const disagreement = "THE SWITCH DISAGREES: "

var copiedWords = map[plan.Copied]string{plan.CopiedYes: "copied", plan.CopiedNo: "not copied", plan.CopiedPerhaps: "perhaps copied"}

func (v *textView) trace(a *plan.Answer, unasked string) error {
	var b bytes.Buffer
	q := a.Probe
	fmt.Fprintf(&b, "packet: %s\n", &q.Packet)
	vlan := fmt.Sprintf("in VLAN %d", q.VLAN)
	switch {
	case q.Dropped != "":
		vlan = "where it is dropped: " + q.Dropped
	case q.VLAN == 0:
		vlan = "untagged"
	}
	fmt.Fprintf(&b, "  enters bridge %s by %s, %s\n", q.Bridge, q.Port, vlan)
	for _, note := range q.Notes {
		fmt.Fprintf(&b, "  %s\n", note)
	}
	if a.Trace == nil {
		fmt.Fprintf(&b, "switch: not asked: %s\n", unasked)
	} else {
		fmt.Fprintf(&b, "switch: %s\n", exitsText(a.Trace))
		for _, open := range a.Trace.Open {
			fmt.Fprintf(&b, "  it does not say %s\n", open)
		}
	}
	if len(a.Verdicts) == 0 {
		b.WriteString("No sessions are stored.\n")
	}
	for i := range a.Verdicts {
		v.writeVerdict(&b, &a.Verdicts[i])
	}
	for _, stray := range a.Strays {
		fmt.Fprintf(&b, "%s%s\n", v.alarm(disagreement), stray)
	}
	return v.flush(&b)
}

func (v *textView) writeVerdict(b *bytes.Buffer, verdict *plan.Verdict) {
	fmt.Fprintf(b, "session %s: %s\n", verdict.Outcome.Name, copiedWords[verdict.Copied])
	for _, why := range verdict.Why {
		fmt.Fprintf(b, "  %s\n", why)
	}
	for i := range verdict.Places {
		p := &verdict.Places[i]
		var facts []string
		if p.Copied != verdict.Copied || p.Copied != plan.CopiedNo {
			facts = append(facts, copiedWords[p.Copied])
		}
		if len(p.Exits) > 0 {
			facts = append(facts, "the switch sends "+exitList(p.Exits))
		}
		if p.Note != "" {
			facts = append(facts, p.Note)
		}
		if len(facts) > 0 {
			fmt.Fprintf(b, "  to %s: %s\n", p.Label(), strings.Join(facts, "; "))
		}
	}
	for _, note := range verdict.Notes {
		fmt.Fprintf(b, "  %s\n", note)
	}
	for _, d := range verdict.Disagreements {
		fmt.Fprintf(b, "  %s%s\n", v.alarm(disagreement), d)
	}
}

func (v *textView) alarm(text string) string {
	if !v.colour {
		return text
	}
	return "\x1b[1;31m" + text + "\x1b[0m"
}

// exitsText says where the switch sends the packet and its copies.
func exitsText(t *plan.Trace) string {
	var list []string
	for i := range t.Exits {
		list = append(list, exitText(&t.Exits[i]))
	}
	text := "sends it nowhere"
	if len(list) > 0 {
		text = "sends it by " + short(list)
	}
	if t.Failure != "" {
		text += "; it gives up: " + t.Failure
	}
	return text
}

func exitText(e *plan.Exit) string {
	text := e.Interface
	if e.Tunnel() {
		text += fmt.Sprintf(" (tunnel to %s)", e.Remote)
	}
	if how := exitDetails(e); how != "" {
		text += " (" + how + ")"
	}
	return text
}

// exitList says how many copies there are, and what is done to them.
func exitList(exits []plan.Exit) string {
	text := count(len(exits), "copy", "copies")
	if how := exitDetails(&exits[0]); how != "" {
		text += ", " + how
	}
	return text
}

func exitDetails(e *plan.Exit) string {
	var facts []string
	if len(e.Tags) > 0 {
		tags := make([]string, len(e.Tags))
		for i, tag := range e.Tags {
			tags[i] = fmt.Sprint(tag)
		}
		facts = append(facts, "tagged "+strings.Join(tags, " "))
	}
	if e.Limit > 0 {
		facts = append(facts, fmt.Sprintf("cut to %d bytes", e.Limit))
	}
	if e.Metered {
		facts = append(facts, "through a meter")
	}
	if e.Sampled {
		facts = append(facts, "at times")
	}
	return strings.Join(facts, ", ")
}

// jsonAnswer is a plan.Answer.
type jsonAnswer struct {
	FormatVersion int            `json:"format_version"`
	Agrees        bool           `json:"agrees"`
	Packet        *policy.Packet `json:"packet"`
	In            jsonIn         `json:"in"`
	Switch        jsonTrace      `json:"switch"`
	Sessions      []jsonVerdict  `json:"sessions"`
	Strays        []string       `json:"strays"`
}

type jsonIn struct {
	Port      string   `json:"port"`
	Interface string   `json:"interface"`
	Bridge    string   `json:"bridge"`
	VLAN      uint16   `json:"vlan"`
	Dropped   string   `json:"dropped,omitempty"`
	Notes     []string `json:"notes"`
}

type jsonTrace struct {
	Asked     bool         `json:"asked"`
	Why       string       `json:"why,omitempty"` // it was not asked
	Exits     []jsonExit   `json:"exits"`
	Neighbors []netip.Addr `json:"neighbors"`
	Open      []string     `json:"open"`
	Failure   string       `json:"failure,omitempty"`
}

type jsonExit struct {
	Interface string     `json:"interface"`
	Remote    netip.Addr `json:"remote,omitzero"`
	Key       *uint64    `json:"key,omitempty"`
	By        []string   `json:"by,omitempty"`
	Limit     int        `json:"limit,omitempty"`
	Tags      []uint16   `json:"tags,omitempty"`
	Metered   bool       `json:"metered,omitempty"`
	Sampled   bool       `json:"sampled,omitempty"`
}

type jsonVerdict struct {
	Name          string             `json:"name"`
	State         plan.State         `json:"state"`
	Tier          plan.Tier          `json:"tier,omitempty"`
	Copied        plan.Copied        `json:"copied"`
	Why           []string           `json:"why"`
	Notes         []string           `json:"notes"`
	Places        []jsonPlaceVerdict `json:"destinations"`
	Disagreements []string           `json:"disagreements"`
}

type jsonPlaceVerdict struct {
	Name   string      `json:"name"`
	Port   string      `json:"port,omitempty"`
	Copied plan.Copied `json:"copied"`
	Exits  []jsonExit  `json:"exits"`
	Note   string      `json:"note,omitempty"`
}

func newJSONExits(exits []plan.Exit) []jsonExit {
	list := make([]jsonExit, len(exits))
	for i, e := range exits {
		list[i] = jsonExit{Interface: e.Interface, Remote: e.Remote, By: e.By, Limit: e.Limit, Tags: e.Tags, Metered: e.Metered, Sampled: e.Sampled}
		if e.Tunnel() {
			list[i].Key = &e.Key
		}
	}
	return list
}

func (v *jsonView) trace(a *plan.Answer, unasked string) error {
	q := a.Probe
	doc := jsonAnswer{
		FormatVersion: plan.FormatVersion, Agrees: a.Agrees(), Packet: &q.Packet,
		In:       jsonIn{q.Port, q.Interface, q.Bridge, q.VLAN, q.Dropped, append([]string{}, q.Notes...)},
		Switch:   jsonTrace{Asked: a.Trace != nil, Why: unasked, Exits: []jsonExit{}, Neighbors: []netip.Addr{}, Open: []string{}},
		Sessions: []jsonVerdict{}, Strays: append([]string{}, a.Strays...),
	}
	if t := a.Trace; t != nil {
		doc.Switch = jsonTrace{Asked: true, Exits: newJSONExits(t.Exits), Neighbors: append([]netip.Addr{}, t.Neighbors...), Open: append([]string{}, t.Open...), Failure: t.Failure}
	}
	for i := range a.Verdicts {
		verdict := &a.Verdicts[i]
		one := jsonVerdict{
			Name: verdict.Outcome.Name, State: verdict.Outcome.State, Tier: verdict.Outcome.Tier, Copied: verdict.Copied,
			Why: append([]string{}, verdict.Why...), Notes: append([]string{}, verdict.Notes...), Places: []jsonPlaceVerdict{}, Disagreements: append([]string{}, verdict.Disagreements...),
		}
		for j := range verdict.Places {
			p := &verdict.Places[j]
			one.Places = append(one.Places, jsonPlaceVerdict{p.Name, p.Port, p.Copied, newJSONExits(p.Exits), p.Note})
		}
		doc.Sessions = append(doc.Sessions, one)
	}
	return v.write(doc)
}
