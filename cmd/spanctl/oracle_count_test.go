package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// oracleCounts says how many decisions of which kind were compared: by feature, those that made a copy (or a field that
// holds) and those that did not.
type oracleCounts map[string]*[2]int

func (n oracleCounts) of(feature string, yes bool) {
	if n == nil {
		return
	}
	if n[feature] == nil {
		n[feature] = &[2]int{}
	}
	n[feature][map[bool]int{true: 0, false: 1}[yes]]++
}

// selector notes which fields of a selector that names the port were there.
func (n oracleCounts) selector(kind string, e *oracleSelector, inside bool) {
	for field, there := range map[string]bool{
		"role": e.Role != "", "interface": e.Interface != "", "vm": e.VM != "", "external_ids": e.IDs != nil, "mac": e.MAC != "",
		"bridge": e.Bridge != "", "vlans": e.VLANs != nil, "direction " + e.Direction: e.Direction != "",
	} {
		if there {
			n.of(kind+" "+field, inside)
		}
	}
}

// decision notes that it was decided whether the delivery copies the packet on a bridge, and what there was to decide.
func (n oracleCounts) decision(o *oracle, d *oracleDelivery, h oracleHeaders, c oraclePassage, selected, passes bool) {
	if n == nil {
		return
	}
	copied := selected && passes
	n.of("sources", selected)
	if !selected {
		return
	}
	for feature, there := range map[string]bool{
		"include and exclude":            true,
		"frame " + h.family():            true,
		"frame untagged":                 len(h.Tags) == 0,
		"frame tagged":                   len(h.Tags) == 1 && h.Tags[0].VID != 0,
		"frame priority-tagged":          len(h.Tags) > 0 && h.Tags[0].VID == 0,
		"frame QinQ":                     len(h.Tags) > 1,
		"fragment " + h.Frag:             h.isIP() && h.Frag != "",
		"frame with options":             h.Options,
		"bridge it arrives at":           c.in != "",
		"bridge behind a patch":          c.in == "",
		"port " + o.at[h.In].port.mode(): true,
		"port of a bond":                 len(o.at[h.In].port.Members) > 0,
		"tier " + o.tier(d):              true,
		"with a Mirror's filter":         o.filtered[d.ports[0]],
		"beside a foreign mirror":        o.Foreign != nil,
		"after another policy":           o.Before != nil,
		"several sessions in one":        len(d.sessions) > 1,
		"several destinations":           len(d.ports) > 1 || len(o.Sessions[d.sessions[0]].Destinations) > 1,
		"destination on another bridge":  slices.ContainsFunc(d.ports, func(p string) bool { return o.at[p].bridge != c.bridge }),
		"with include":                   d.Include != nil,
		"with exclude":                   d.Exclude != nil,
		"with balance":                   d.Balance != "",
		"with sample":                    d.Sample != "",
		"with max_rate":                  d.MaxRate != "",
		"with fail open":                 d.Fail != "",
		"with snaplen":                   d.Snaplen != 0,
		"with strip_vlan":                d.StripVLAN,
	} {
		if there {
			n.of(feature, copied)
		}
	}
}

// copied notes what becomes of a copy.
func (n oracleCounts) copied(t *oracleTreatment, whole, treated []byte, tags []oracleTag) {
	if t.Snaplen > 0 {
		n.of("copy cut", len(treated) == t.Snaplen && len(whole) > t.Snaplen)
	}
	n.of("copy stripped", t.StripVLAN && len(tags) > 0)
	n.of("copy tagged", len(tags) > 0 && !(t.StripVLAN && len(tags) == 1))
}

// tier is what the delivery is made of, as the switch has it.
func (o *oracle) tier(d *oracleDelivery) string {
	port := d.ports[0]
	switch {
	case !o.reserved[port]:
		return "none"
	case o.now[o.at[port].port.interfaces()[0]] == o.at[port].bridge:
		return "direct"
	case o.mirrored[port]:
		return "hub"
	}
	return "flow"
}

// family is what the packet is, in one word.
func (p *oraclePacket) family() string {
	switch p.Kind {
	case "ipv4", "ipv6", "arp", "llc":
		return p.Kind
	}
	return "of another type"
}

// choice notes what balance or sample has decided, once it is known.
func (n oracleCounts) choice(name string, choices []string) {
	if n != nil && len(choices) == 1 {
		kind, _, _ := strings.Cut(name, " ")
		n.of("decided by "+kind, choices[0] != "drop")
	}
}

// mustBoth are features of which there must be decisions of both kinds, mustYes those of which some must be yes: a run in
// which one is missing would not have seen it fail.
var (
	mustBoth = []string{
		"sources", "include and exclude", "frame ipv4", "frame ipv6", "frame arp", "frame llc", "frame of another type", "frame untagged",
		"frame tagged", "frame priority-tagged", "frame QinQ", "frame with options", "fragment first", "fragment later",
		"bridge it arrives at", "bridge behind a patch", "port trunk", "port access", "port native-tagged", "port native-untagged", "port dot1q-tunnel",
		"port of a bond", "tier flow", "after another policy", "several sessions in one", "several destinations", "destination on another bridge",
		"with include", "with exclude", "with balance", "with sample", "with max_rate", "with snaplen", "with strip_vlan",
		"copy cut", "copy stripped", "copy tagged", "decided by sample", "sources vlans", "except vlans",
	}
	mustYes = []string{
		"tier direct", "tier hub", "with fail open", "beside a foreign mirror", "decided by balance", "copies over their rate", "applied", "sources role", "sources interface", "sources vm",
		"sources external_ids", "sources mac", "sources bridge", "sources direction from", "sources direction to", "sources direction both",
		"sources tag", "except role",
	}
	mustFields = []string{
		"protocol", "ethertype", "src", "dst", "net", "src_port", "dst_port", "port", "vlan", "src_mac", "dst_mac", "mac", "dscp",
	}
)

// missing are the features of which too little was decided.
func (n oracleCounts) missing() []string {
	both := slices.Clone(mustBoth)
	for _, field := range mustFields {
		both = append(both, "include "+field, "exclude "+field)
	}
	var list []string
	for _, feature := range slices.Concat(both, mustYes) {
		if n[feature] == nil || n[feature][0] == 0 {
			list = append(list, feature+": yes")
		}
	}
	for _, feature := range both {
		if n[feature] == nil || n[feature][1] == 0 {
			list = append(list, feature+": no")
		}
	}
	return list
}

// text is the counts, a line each.
func (n oracleCounts) text() string {
	var b strings.Builder
	for _, feature := range slices.Sorted(maps.Keys(n)) {
		fmt.Fprintf(&b, "%8d yes %8d no  %s\n", n[feature][0], n[feature][1], feature)
	}
	return b.String()
}
