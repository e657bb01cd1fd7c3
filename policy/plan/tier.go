package plan

import (
	"fmt"
	"slices"
	"strings"
)

// A Tier is how much machinery a session needs; see architecture.md.
type Tier string

// The tiers, the least machinery first: Mirror rows alone; the mirror hub; the
// hub with OpenFlow rules.
const (
	TierDirect Tier = "direct"
	TierHub    Tier = "hub"
	TierFlow   Tier = "flow"
)

var tierOrder = map[Tier]int{TierDirect: 0, TierHub: 1, TierFlow: 2}

// A need is the tier that a session calls for, and why it does not do with less:
// by which field, in words.
type need struct {
	tier       Tier
	by         *Outcome
	field, why string
}

// higher is the need of the higher tier, the first if they are the same.
func higher(a, b need) need {
	if tierOrder[b.tier] > tierOrder[a.tier] {
		return b
	}
	return a
}

// needOf is what the session needs by itself.
func (c *compiler) needOf(o *Outcome) need {
	tap := ""
	if !o.targets[0].rspan() {
		tap = c.needsTap(o)
	}
	d := o.treatment
	filtered := c.snap.filters() && tap == "" && d.filter() != ""
	for _, field := range []struct {
		present    bool
		field, why string
	}{
		{d.chosen && !filtered, "include", "it chooses packets by their headers"},
		{d.exclude != "", "exclude", "it leaves packets out by their headers"},
		{d.balance != "", "balance", "its destinations share the copies"},
		{d.sample > 1, "sample", "it keeps one connection in N"},
		{!d.rate.IsZero(), "max_rate", "it limits the rate of copies"},
		{d.snaplen > 0 && slices.ContainsFunc(o.targets, func(t target) bool { return t.tunnel != nil }), "snaplen", "it cuts copies before a tunnel wraps them"},
		{o.guarded != "", "destinations", o.guarded},
	} {
		if field.present {
			return need{TierFlow, o, field.field, field.why}
		}
	}
	if tap != "" {
		return need{TierHub, o, "destinations", tap}
	}
	return need{tier: TierDirect}
}

// filters reports whether mirrors copy by their filter. The column alone does not say so:
// a database can have the schema of a later release than the ovs-vswitchd that runs, and
// before 3.4 that copies everything.
func (s *Snapshot) filters() bool {
	var major, minor int
	n, _ := fmt.Sscanf(s.OVSVersion, "%d.%d", &major, &minor)
	return s.MirrorFilter && (n < 2 || major > 3 || major == 3 && minor >= 4)
}

// filter is the one OpenFlow match that a Mirror's filter can express (OVS 3.4), if
// it is all that is asked for; else nothing. A filter has no masks, and names ports by
// their protocol (OVS 3.5). It sees packets of access ports without the tag that they
// have in the switch, so that it cannot be about VLANs.
func (t treatment) filter() string {
	if strings.ContainsAny(t.include, "\n/") || strings.Contains(t.include, "vlan") || t != (treatment{include: t.include, chosen: t.chosen, snaplen: t.snaplen, strip: t.strip, open: t.open}) {
		return ""
	}
	protocol := strings.TrimSuffix(strings.SplitN(t.include, ",", 2)[0], "6")
	return strings.ReplaceAll(t.include, ",tp_", ","+protocol+"_")
}

// needsTap says why a session needs a tap bridge, nothing if it does not.
func (c *compiler) needsTap(o *Outcome) string {
	if len(o.targets) > 1 {
		return "it has several destinations"
	}
	t := o.targets[0]
	if t.tunnel != nil {
		return "its destination is a tunnel"
	}
	for _, b := range c.bridgesOf(o) {
		if t.port >= 0 && b != c.bridge[t.port] {
			return fmt.Sprintf("it copies ports of bridge %s to port %s of bridge %s", c.snap.Bridges[b].Name, c.ports[t.port].Name, c.snap.Bridges[c.bridge[t.port]].Name)
		}
	}
	return ""
}
