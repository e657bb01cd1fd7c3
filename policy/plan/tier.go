package plan

import (
	"fmt"

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

// A need is a policy field that direct rows cannot express.
type need struct {
	field, why string
	tier       Tier
}

// needs lists the fields of a session that call for more than the direct tier.
func needs(s *policy.Session) []need {
	var list []need
	add := func(present bool, field string, tier Tier, why string) {
		if present {
			list = append(list, need{field, why, tier})
		}
	}
	add(len(s.Include) > 0, "include", TierFlow, "choosing packets by their headers")
	add(len(s.Exclude) > 0, "exclude", TierFlow, "leaving packets out by their headers")
	add(s.Balance != "", "balance", TierFlow, "sharing copies between destinations")
	add(s.Sample.N > 1, "sample", TierFlow, "keeping one connection in N")
	add(!s.MaxRate.IsZero(), "max_rate", TierFlow, "limiting the rate of copies")
	add(len(s.Destinations) > 1, "destinations", TierHub, "several destinations")
	for i, d := range s.Destinations {
		field := fmt.Sprintf("destinations[%d].", i)
		add(d.ERSPAN != nil, field+"erspan", TierHub, "a tunnel")
		add(d.GRE != nil, field+"gre", TierHub, "a tunnel")
		add(d.VXLAN != nil, field+"vxlan", TierHub, "a tunnel")
		add(d.Geneve != nil, field+"geneve", TierHub, "a tunnel")
	}
	return list
}

// refuseNeeds turns needs into refusals: this version compiles only the direct
// tier.
func refuseNeeds(name string, list []need) []*Refusal {
	refusals := make([]*Refusal, len(list))
	for i, n := range list {
		refusals[i] = &Refusal{
			Session: name, Field: n.field, Tier: n.tier,
			Problem: fmt.Sprintf("%s needs the %s tier, which this version of spanctl does not have", n.why, n.tier),
			Remedy:  "leave it out",
		}
	}
	return refusals
}
