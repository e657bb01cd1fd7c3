package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"spanctl/ovs/migrate"
	"spanctl/ovs/migrate/persist"
	"spanctl/policy/plan"
)

// bridges writes a block a bridge.
func (v *textView) bridges(list []bridgeInfo) error {
	var b bytes.Buffer
	if len(list) == 0 {
		b.WriteString("There are no Linux bridges.\n")
	}
	for i := range list {
		writeBridge(&b, &list[i])
	}
	return v.flush(&b)
}

func writeBridge(b *bytes.Buffer, info *bridgeInfo) {
	if info.state == nil {
		j := info.journal
		fmt.Fprintf(b, "bridge %s: Open vSwitch since %s, as %s; spanctl bridge revert %s puts the Linux bridge back\n", j.Layout.Bridge,
			j.Started.Format("2006-01-02 15:04:05Z07:00"), j.Layout.New, j.Layout.Bridge)
		return
	}
	s := info.state
	state := "up"
	if !s.Bridge.Up {
		state = "down"
	}
	fmt.Fprintf(b, "bridge %s: %s, MAC %s, MTU %d", s.Bridge.Name, state, s.Bridge.MAC, s.Bridge.MTU)
	for _, setting := range []struct{ name, text string }{{"vlan_filtering", "VLAN filtering"}, {"stp_state", "STP"}, {"mcast_snooping", "multicast snooping"}} {
		if s.Settings[setting.name] != 0 {
			b.WriteString(", " + setting.text)
		}
	}
	b.WriteString("\n")
	for i := range s.Ports {
		p := &s.Ports[i]
		fmt.Fprintf(b, "  port %s (%s)", p.Name, p.Kind)
		if p.User != "" {
			fmt.Fprintf(b, ": %s", p.User)
		}
		b.WriteString("\n")
	}
	for _, r := range s.Host.Addresses {
		fmt.Fprintf(b, "  address %s\n", r.Text)
	}
	for _, r := range s.Host.Routes {
		fmt.Fprintf(b, "  route %s\n", r.Text)
	}
	if j := info.journal; j != nil {
		fmt.Fprintf(b, "  %s: the Linux bridge in whose place Open vSwitch has %s, to be confirmed until %s\n", j.Phase, j.Layout.New, j.Deadline.Format("15:04:05Z07:00"))
		return
	}
	if len(migrate.Refusals(info.findings)) == 0 {
		b.WriteString("  can be migrated\n")
	}
	writeFindings(b, info.findings, "  ")
}

func writeFindings(b *bytes.Buffer, list []migrate.Finding, indent string) {
	for _, f := range list {
		word := "warning"
		if f.Refused {
			word = "cannot be migrated"
		}
		fmt.Fprintf(b, "%s%s: %s\n", indent, word, f.Text)
	}
}

// bridgePlan writes the steps.
func (v *textView) bridgePlan(info *bridgeInfo) error {
	var b bytes.Buffer
	if info.refused() == nil {
		for i, step := range migrate.Steps(info.layout) {
			fmt.Fprintf(&b, "%d. %s\n", i+1, step.Text)
		}
		for _, k := range hostRecords(info.state.Host) {
			for _, r := range k.list {
				fmt.Fprintf(&b, "   %s %s\n", k.what, r.Text)
			}
		}
		fmt.Fprintf(&b, "The Linux bridge is deleted when this is confirmed.\n")
		writeFiles(&b, info.files)
	}
	writeFindings(&b, slices.DeleteFunc(slices.Clone(info.findings), func(f migrate.Finding) bool { return f.Refused }), "") // the error says the others
	return v.flush(&b)
}

// writeFiles writes how the host's configuration files are changed.
func writeFiles(b *bytes.Buffer, c *persist.Changes) {
	if c == nil {
		return
	}
	if len(c.Files) > 0 {
		fmt.Fprintf(b, "Then the configuration of %s is changed; what it was is kept:\n%s", c.Manager, c.Diff())
	}
	for i, text := range c.Boot {
		if i == 0 {
			b.WriteString("At the next boot:\n")
		}
		fmt.Fprintf(b, "  %s\n", text)
	}
	for _, text := range c.Notes {
		fmt.Fprintf(b, "note: %s\n", text)
	}
}

type recordsOf struct {
	what, plural string
	list         []migrate.Record
}

func hostRecords(h *migrate.Host) []recordsOf {
	return []recordsOf{{"address", "addresses", h.Addresses}, {"route", "routes", h.Routes}, {"rule", "rules", h.Rules}, {"neighbour", "neighbours", h.Neighbours}}
}

func (v *textView) bridgeStep(text string) error {
	_, err := fmt.Fprintln(v.out, text)
	return err
}

func (v *textView) bridgeDone(j *migrate.Journal) error {
	text := fmt.Sprintf("%s is a bridge of Open vSwitch now.", j.Layout.New)
	if j.Phase == migrate.Reverted {
		text = fmt.Sprintf("%s is a Linux bridge again. Its ports were without forwarding for %d ms.", j.Layout.Bridge, j.Gap.Milliseconds())
	}
	return v.bridgeStep(text)
}

type jsonBridge struct {
	Name     string              `json:"name"`
	Phase    string              `json:"phase,omitempty"` // of its migration
	New      string              `json:"new,omitempty"`
	MAC      string              `json:"mac,omitempty"`
	MTU      int                 `json:"mtu,omitempty"`
	Up       bool                `json:"up"`
	Settings map[string]uint64   `json:"settings"`
	Ports    []jsonBridgePort    `json:"ports"`
	Host     map[string][]string `json:"host"`
	Can      bool                `json:"can_be_migrated"`
	Findings []migrate.Finding   `json:"findings"`
}

type jsonBridgePort struct {
	Name  string         `json:"name"`
	Kind  string         `json:"kind"`
	MAC   string         `json:"mac"`
	MTU   int            `json:"mtu"`
	Up    bool           `json:"up"`
	VLANs []migrate.VLAN `json:"vlans"`
	User  string         `json:"user,omitempty"`
}

func newJSONBridge(info *bridgeInfo) jsonBridge {
	doc := jsonBridge{Name: info.layout.Bridge, Settings: map[string]uint64{}, Ports: []jsonBridgePort{}, Host: map[string][]string{}, Findings: append([]migrate.Finding{}, info.findings...)}
	if j := info.journal; j != nil {
		doc.Phase, doc.New = string(j.Phase), j.Layout.New
	}
	s := info.state
	if s == nil {
		return doc
	}
	doc.Can = info.journal == nil && len(migrate.Refusals(info.findings)) == 0
	doc.MAC, doc.MTU, doc.Up = s.Bridge.MAC, s.Bridge.MTU, s.Bridge.Up
	maps.Copy(doc.Settings, s.Settings)
	for i := range s.Ports {
		p := &s.Ports[i]
		doc.Ports = append(doc.Ports, jsonBridgePort{p.Name, p.Kind, p.MAC, p.MTU, p.Up, append([]migrate.VLAN{}, p.VLANs...), p.User})
	}
	for _, k := range hostRecords(s.Host) {
		texts := []string{}
		for _, r := range k.list {
			texts = append(texts, r.Text)
		}
		doc.Host[k.plural] = texts
	}
	return doc
}

func (v *jsonView) bridges(list []bridgeInfo) error {
	doc := struct {
		FormatVersion int          `json:"format_version"`
		Bridges       []jsonBridge `json:"bridges"`
	}{plan.FormatVersion, []jsonBridge{}}
	for i := range list {
		doc.Bridges = append(doc.Bridges, newJSONBridge(&list[i]))
	}
	return v.write(doc)
}

func (v *jsonView) bridgePlan(info *bridgeInfo) error {
	type jsonStep struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	doc := struct {
		FormatVersion int             `json:"format_version"`
		Bridge        jsonBridge      `json:"bridge"`
		Layout        *migrate.Layout `json:"layout"`
		Steps         []jsonStep      `json:"steps"`
		Configuration *jsonFiles      `json:"configuration,omitempty"`
	}{plan.FormatVersion, newJSONBridge(info), info.layout, []jsonStep{}, newJSONFiles(info.files)}
	for _, step := range migrate.Steps(info.layout) {
		doc.Steps = append(doc.Steps, jsonStep{step.Name, step.Text})
	}
	return v.write(doc)
}

type jsonFiles struct {
	Manager string     `json:"manager"`
	Files   []jsonFile `json:"files"`
	Boot    []string   `json:"boot"`
	Notes   []string   `json:"notes"`
}

type jsonFile struct {
	Path   string  `json:"path"`
	Before *string `json:"before"` // null: there is none
	After  *string `json:"after"`  // null: it goes
}

func newJSONFiles(c *persist.Changes) *jsonFiles {
	if c == nil {
		return nil
	}
	text := func(content []byte) *string {
		if content == nil {
			return nil
		}
		s := string(content)
		return &s
	}
	doc := &jsonFiles{string(c.Manager), []jsonFile{}, append([]string{}, c.Boot...), append([]string{}, c.Notes...)}
	for _, f := range c.Files {
		doc.Files = append(doc.Files, jsonFile{f.Path, text(f.Before), text(f.After)})
	}
	return doc
}

// bridgeStep writes nothing: the document comes when it is done.
func (v *jsonView) bridgeStep(string) error { return nil }

func (v *jsonView) bridgeDone(j *migrate.Journal) error {
	return v.write(struct {
		FormatVersion int    `json:"format_version"`
		Bridge        string `json:"bridge"`
		New           string `json:"new"`
		Phase         string `json:"phase"`
		Reason        string `json:"reason,omitempty"`
		GapMS         int64  `json:"gap_ms"`
	}{plan.FormatVersion, j.Layout.Bridge, j.Layout.New, string(j.Phase), j.Reason, j.Gap.Milliseconds()})
}
