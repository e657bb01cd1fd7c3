package plan

import (
	"slices"

	"spanctl/policy"
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

// A need is a policy field that neither mirrors nor the hub can express.
type need struct{ field, why string }

// needs lists the fields of a session that call for the flow tier.
func needs(s *policy.Session) []need {
	var list []need
	add := func(present bool, field, why string) {
		if present {
			list = append(list, need{field, why})
		}
	}
	add(len(s.Include) > 0, "include", "choosing packets by their headers")
	add(len(s.Exclude) > 0, "exclude", "leaving packets out by their headers")
	add(s.Balance != "", "balance", "sharing copies between destinations")
	add(s.Sample.N > 1, "sample", "keeping one connection in N")
	add(!s.MaxRate.IsZero(), "max_rate", "limiting the rate of copies")
	add(s.Snaplen > 0 && slices.ContainsFunc(s.Destinations, func(d policy.Destination) bool { return isTunnel(&d) }), "snaplen",
		"cutting copies before a tunnel wraps them")
	return list
}

// refuseNeeds turns needs into refusals: this version does not compile the flow
// tier.
func refuseNeeds(name string, list []need) []*Refusal {
	refusals := make([]*Refusal, len(list))
	for i, n := range list {
		refusals[i] = &Refusal{
			Session: name, Field: n.field, Tier: TierFlow,
			Problem: n.why + " needs the flow tier, which this version of spanctl does not have", Remedy: "leave it out",
		}
	}
	return refusals
}
