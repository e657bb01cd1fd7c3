package openflow

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/digitalocean/go-openvswitch/ovs"

	"spanctl/policy/plan"
)

// Apply carries changes out: meters are set, then all rules are set and deleted in
// one atomic bundle, then meters are deleted. A rule that is set replaces the one
// that has its table, priority and match, whatever that one's cookie; to delete what
// is not there is no error. No packet meets half of a bundle, and of one that is
// refused (ErrRejected) nothing is in force; the meters then are.
// Rules of another hand, which no cookie of their own names, are deleted right
// after the bundle.
func (s *Switch) Apply(ctx context.Context, c plan.Rules) error {
	err := s.apply(ctx, c.Bridge, c)
	if err != nil {
		return fmt.Errorf("bridge %q: %w", c.Bridge, err)
	}
	return nil
}

func (s *Switch) apply(ctx context.Context, bridge string, c plan.Rules) error {
	named, unnamed, err := s.deletions(ctx, bridge, c)
	if err != nil {
		return err
	}
	if err := s.setMeters(ctx, bridge, c.SetMeters); err != nil {
		return err
	}
	if err := s.bundle(ctx, bridge, c.Set, named); err != nil {
		return err
	}
	if err := s.deleteStrict(ctx, bridge, unnamed); err != nil {
		return err
	}
	return s.deleteMeters(ctx, bridge, c.DeleteMeters)
}

// A place is what no two rules of a bridge have in common.
type place struct {
	table, priority int
	match           string
}

func placeOf(f plan.Flow) place { return place{f.Table, f.Priority, f.Match} }

// deletions are the rules to delete that no addition replaces: the named are the
// only ones on the bridge with their cookies.
func (s *Switch) deletions(ctx context.Context, bridge string, c plan.Rules) (named, unnamed []plan.Flow, err error) {
	if len(c.Delete) == 0 {
		return nil, nil, nil
	}
	there, err := s.flows(ctx, bridge)
	if err != nil {
		return nil, nil, err
	}
	carriers := map[uint64][]place{}
	for _, f := range there {
		carriers[f.Cookie] = append(carriers[f.Cookie], placeOf(f))
	}
	replaced := map[place]bool{}
	for _, f := range c.Set {
		replaced[placeOf(f)] = true
	}
	for _, f := range c.Delete {
		switch {
		case replaced[placeOf(f)]:
		case f.Cookie != 0 && slices.Equal(carriers[f.Cookie], []place{placeOf(f)}):
			named = append(named, f)
		default:
			unnamed = append(unnamed, f)
		}
	}
	return named, unnamed, nil
}

// bundle deletes rules by their cookies and adds others, all or nothing. An added
// rule may have the cookie of a deleted one: deletions come first.
func (s *Switch) bundle(ctx context.Context, bridge string, add, named []plan.Flow) error {
	if len(add)+len(named) == 0 {
		return nil
	}
	var cause error // which the library does not wrap
	pipe := func(in io.Reader, name string, args ...string) (out []byte, err error) {
		out, cause = run(ctx, in, name, args)
		return out, cause
	}
	client := ovs.New(ovs.Protocols(protocols), ovs.Pipe(pipe))
	err := client.OpenFlow.AddFlowBundle(s.target(bridge), func(tx *ovs.FlowTransaction) error {
		for _, f := range named {
			tx.Delete(&ovs.MatchFlow{Cookie: f.Cookie, Table: ovs.AnyTable})
		}
		for _, f := range add {
			tx.Add(rule(f))
		}
		return tx.Commit()
	})
	if cause != nil {
		return cause
	}
	return err
}

// rule is the rule as the library writes it.
func rule(f plan.Flow) *ovs.Flow {
	flow := &ovs.Flow{Cookie: f.Cookie, Table: f.Table, Priority: f.Priority, Actions: []ovs.Action{words(f.Actions)}}
	if f.Match != "" {
		flow.Matches = []ovs.Match{words(f.Match)}
	}
	return flow
}

// words are a whole match, or all actions of a rule, in the words of ovs-ofctl;
// the library has types for some of these.
type words string

// MarshalText is the words, if they are on one line: the next would be a command.
func (w words) MarshalText() ([]byte, error) {
	if strings.ContainsAny(string(w), "\r\n#") {
		return nil, fmt.Errorf("%w: more than a rule: %q", ErrRejected, string(w))
	}
	return []byte(w), nil
}

// GoString is the words for a debugger.
func (w words) GoString() string { return fmt.Sprintf("words(%q)", string(w)) }

// deleteStrict removes rules by cookie, table, priority and match, all or nothing.
func (s *Switch) deleteStrict(ctx context.Context, bridge string, flows []plan.Flow) error {
	if len(flows) == 0 {
		return nil
	}
	var lines strings.Builder
	for _, f := range flows {
		fmt.Fprintf(&lines, "cookie=%#x/-1,table=%d,priority=%d,%s\n", f.Cookie, f.Table, f.Priority, f.Match)
	}
	_, err := s.ofctl(ctx, strings.NewReader(lines.String()), bridge, "del-flows", "--bundle", "--strict", "-")
	return err
}
