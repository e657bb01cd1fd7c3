package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
)

// The oracle (oracle_*_test.go) decides for a packet and a policy which copies there must be, and asks the real switch
// after spanctl has applied the policy. It shares no code with packages policy and plan: it has types of its own, which
// are written as YAML, and reads no more of the program's words than its exit code.

// An oracleCase is a host, a policy, and packets: all that a decision needs. Its YAML is how differences are reported, and
// how golden cases are written.
type oracleCase struct {
	Bridges []oracleBridge `yaml:"bridges"`
	// Patches are pairs of bridges that a patch joins. There is no way around in a circle.
	Patches [][]string `yaml:"patches,omitempty,flow"`
	// Foreign are mirrors that somebody else has made.
	Foreign []oracleForeign `yaml:"foreign,omitempty,flow"`
	// Before are sessions that were in force before.
	Before   map[string]oracleSession `yaml:"before,omitempty"`
	Sessions map[string]oracleSession `yaml:"sessions"`
	Packets  []oraclePacket           `yaml:"packets"`
}

type oracleBridge struct {
	Name  string       `yaml:"name"`
	Ports []oraclePort `yaml:"ports"` // its own port, which has its name, need not be in it
}

// An oraclePort is a real port of a production bridge. Its zero VLAN columns are OVS's: it trunks every VLAN.
type oraclePort struct {
	Name    string            `yaml:"name"`
	Members []string          `yaml:"members,omitempty,flow"` // of a bond: Interfaces
	IDs     map[string]string `yaml:"ids,omitempty,flow"`     // external_ids of each Interface
	PortIDs map[string]string `yaml:"port_ids,omitempty,flow"`
	Mode    string            `yaml:"mode,omitempty"` // vlan_mode
	Tag     uint16            `yaml:"tag,omitempty"`
	Trunks  oracleRanges      `yaml:"trunks,omitempty,flow"`
}

// interfaces are the names of the port's Interfaces.
func (p *oraclePort) interfaces() []string {
	if len(p.Members) > 0 {
		return p.Members
	}
	return []string{p.Name}
}

// An oracleForeign copies all packets of a bridge, or those that arrive at some ports, to a port of it.
type oracleForeign struct {
	Bridge string   `yaml:"bridge"`
	Output string   `yaml:"output"`
	Src    []string `yaml:"src,omitempty,flow"` // none: all
}

type oracleSession struct {
	Enabled      *bool               `yaml:"enabled,omitempty"`
	Sources      []oracleSelector    `yaml:"sources,flow"`
	Except       []oracleSelector    `yaml:"except,omitempty,flow"`
	Destinations []oracleDestination `yaml:"destinations,flow"`
	Treatment    oracleTreatment     `yaml:",inline"`
}

// An oracleTreatment is what sessions must have in common for their copies to be one.
type oracleTreatment struct {
	Include   []oracleMatch `yaml:"include,omitempty,flow"`
	Exclude   []oracleMatch `yaml:"exclude,omitempty,flow"`
	Balance   string        `yaml:"balance,omitempty"`
	Sample    string        `yaml:"sample,omitempty"`
	Snaplen   int           `yaml:"snaplen,omitempty"`
	StripVLAN bool          `yaml:"strip_vlan,omitempty"`
	MaxRate   string        `yaml:"max_rate,omitempty"`
	Fail      string        `yaml:"fail,omitempty"`
}

type oracleSelector struct {
	Role      string            `yaml:"role,omitempty"`
	Interface string            `yaml:"interface,omitempty"`
	VM        string            `yaml:"vm,omitempty"`
	IDs       map[string]string `yaml:"external_ids,omitempty,flow"`
	MAC       string            `yaml:"mac,omitempty"`
	Bridge    string            `yaml:"bridge,omitempty"`
	VLANs     oracleRanges      `yaml:"vlans,omitempty,flow"`
	Direction string            `yaml:"direction,omitempty"`
}

type oracleMatch struct {
	Protocol  string       `yaml:"protocol,omitempty"`
	EtherType string       `yaml:"ethertype,omitempty"`
	Src       string       `yaml:"src,omitempty"`
	Dst       string       `yaml:"dst,omitempty"`
	Net       string       `yaml:"net,omitempty"`
	SrcPort   oracleRanges `yaml:"src_port,omitempty,flow"`
	DstPort   oracleRanges `yaml:"dst_port,omitempty,flow"`
	Port      oracleRanges `yaml:"port,omitempty,flow"`
	VLAN      oracleRanges `yaml:"vlan,omitempty,flow"`
	SrcMAC    string       `yaml:"src_mac,omitempty"`
	DstMAC    string       `yaml:"dst_mac,omitempty"`
	MAC       string       `yaml:"mac,omitempty"`
	DSCP      *uint8       `yaml:"dscp,omitempty"`
}

type oracleDestination struct {
	Interface string            `yaml:"interface,omitempty"`
	VM        string            `yaml:"vm,omitempty"`
	NIC       *int              `yaml:"nic,omitempty"`
	IDs       map[string]string `yaml:"external_ids,omitempty,flow"`
	Dedicated bool              `yaml:"dedicated,omitempty"`
}

// oracleRanges are numbers and ranges, both ends included.
type oracleRanges [][2]uint16

func (r oracleRanges) has(n uint16) bool {
	for _, one := range r {
		if one[0] <= n && n <= one[1] {
			return true
		}
	}
	return false
}

// MarshalYAML writes a list of numbers and of ranges, 7788-7799.
func (r oracleRanges) MarshalYAML() (any, error) {
	var list []any
	for _, one := range r {
		if one[0] == one[1] {
			list = append(list, one[0])
		} else {
			list = append(list, fmt.Sprintf("%d-%d", one[0], one[1]))
		}
	}
	return list, nil
}

// UnmarshalYAML reads what policies may have: a number, a range, or a list of both.
func (r *oracleRanges) UnmarshalYAML(text []byte) error {
	var list []string
	if err := yaml.Unmarshal(text, &list); err != nil {
		list = []string{strings.TrimSpace(string(text))}
	}
	*r = nil
	for _, item := range list {
		first, last, isRange := strings.Cut(strings.Trim(item, `"`), "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return err
		}
		to, err := strconv.ParseUint(last, 10, 16)
		if err != nil {
			return err
		}
		*r = append(*r, [2]uint16{uint16(from), uint16(to)})
	}
	return nil
}

// parseCase reads a case; unknown fields are errors.
func parseCase(text string) (*oracleCase, error) {
	c := &oracleCase{}
	err := yaml.UnmarshalWithOptions([]byte(text), c, yaml.Strict())
	c.fill()
	return c, err
}

// fill gives packets what they do not say: they are then UDP, over IPv4 if they do not say so either, and to all.
func (c *oracleCase) fill() {
	for i := range c.Packets {
		p := &c.Packets[i]
		if p.Kind == "" {
			p.Kind = "ipv4"
		}
		p.SrcMAC, p.DstMAC = cmp.Or(p.SrcMAC, "02:00:00:00:00:01"), cmp.Or(p.DstMAC, "ff:ff:ff:ff:ff:ff")
		switch p.Kind {
		case "ipv4", "arp":
			p.Src, p.Dst = cmp.Or(p.Src, "10.0.0.1"), cmp.Or(p.Dst, "10.0.0.2")
		case "ipv6":
			p.Src, p.Dst = cmp.Or(p.Src, "fd00::1"), cmp.Or(p.Dst, "fd00::2")
		}
		if p.isIP() && p.Proto == 0 {
			p.Proto = 17
		}
	}
}

// text is the case in YAML, a line for each port, session and packet.
func (c *oracleCase) text() string {
	var b strings.Builder
	line := func(indent string, v any) {
		text, err := yaml.MarshalWithOptions(v, yaml.Flow(true))
		if err != nil {
			panic(err)
		}
		b.WriteString(indent + strings.TrimSpace(string(text)) + "\n")
	}
	b.WriteString("bridges:\n")
	for _, bridge := range c.Bridges {
		b.WriteString("  - name: " + bridge.Name + "\n    ports:\n")
		for _, p := range bridge.Ports {
			line("      - ", p)
		}
	}
	if c.Patches != nil {
		line("patches: ", c.Patches)
	}
	if c.Foreign != nil {
		line("foreign: ", c.Foreign)
	}
	for i, sessions := range []map[string]oracleSession{c.Before, c.Sessions} {
		if len(sessions) == 0 {
			continue
		}
		b.WriteString([]string{"before:\n", "sessions:\n"}[i])
		for _, name := range slices.Sorted(maps.Keys(sessions)) {
			line("  "+name+": ", sessions[name])
		}
	}
	b.WriteString("packets:\n")
	for _, p := range c.Packets {
		line("  - ", p)
	}
	return b.String()
}

// policyOf is a policy, a file for spanctl.
func policyOf(sessions map[string]oracleSession) string {
	return yamlOf(struct {
		Version  int                      `yaml:"version"`
		Sessions map[string]oracleSession `yaml:"sessions"`
	}{1, sessions})
}

func yamlOf(v any) string {
	text, err := yaml.MarshalWithOptions(v, yaml.IndentSequence(true))
	if err != nil {
		panic(err) // the types above always marshal
	}
	return string(text)
}
