package ovs_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/openflow"
	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

const (
	ruledSession = "audit: {sources: [{interface: vif1.0}], exclude: [{ethertype: arp}], destinations: [{interface: vif9.0}]}"
	otherSession = "other: {sources: [{interface: vif2.0}], exclude: [{ethertype: lldp}], destinations: [{interface: vif8.0}]}"
)

// ruledLab is a lab whose ovs-vswitchd has dummy ports, and two connections to it.
func ruledLab(t *testing.T) (lab *ovstest.Lab, one, two *ovs.Conn) {
	t.Helper()
	lab, err := ovstest.Start(within(t, patience), ovstest.Config{Name: t.Name(), Dummy: true})
	check(t, err)
	t.Cleanup(func() { check(t, lab.Close()) })
	for _, p := range []string{"vif1.0", "vif2.0", "vif8.0", "vif9.0"} {
		vsctl(t, lab, "add-port", "br0", p, "--", "set", "Interface", p, "type=dummy")
	}
	return lab, dialOnce(t, lab.DB), dialOnce(t, lab.DB)
}

// onHost plans for the stored sessions and those of the text, with the rules that are there. Before the nth call, from 1, it
// lets another do something.
func onHost(t *testing.T, conn *ovs.Conn, text string, n int, other func()) ovs.Planner {
	t.Helper()
	sessions := parse(t, text)
	calls := 0
	return func(snap *plan.Snapshot) (*plan.Plan, error) {
		if calls++; calls == n {
			other()
		}
		intent := plan.StoredIntent(snap)
		for name, session := range sessions {
			if err := intent.Put(name, session); err != nil {
				return nil, err
			}
		}
		conn.LookAtHost(context.Background(), snap, intent)
		return plan.Make(snap, intent, noon), nil
	}
}

// wantSettled wants so many sessions in force, with all their rows and rules, their borrowed ports among them.
func wantSettled(t *testing.T, lab *ovstest.Lab, sessions int) {
	t.Helper()
	conn := dialOnce(t, lab.DB)
	snap := observe(t, conn)
	intent := plan.StoredIntent(snap)
	conn.LookAtHost(context.Background(), snap, intent)
	p := plan.Make(snap, intent, noon)
	if len(intent) != sessions || !p.Empty() {
		t.Errorf("%d sessions are stored, want %d; left to do: %+v", len(intent), sessions, p.Changes)
	}
	for _, o := range p.Outcomes {
		if o.State != plan.StateActive {
			t.Errorf("session %s is %s: %s", o.Name, o.State, o.Reason)
		}
	}
	if got := vsctl(t, lab, "get", "Open_vSwitch", ".", "external_ids"); sessions > 0 && !strings.Contains(got, plan.KeyRevision) {
		t.Errorf("no revision in %s", got)
	}
}

// Another spanctl, between the steps of one: it applies the same session, or another one and takes what is inert for an
// orphan. Both are in force in the end, and nothing of the other's is undone.
func TestAnotherBetweenTheSteps(t *testing.T) {
	for name, c := range map[string]struct {
		theirs   string
		sessions int
	}{"the same session": {ruledSession, 1}, "another": {otherSession, 2}} {
		t.Run(name, func(t *testing.T) {
			lab, one, two := ruledLab(t)
			_, err := one.Apply(within(t, patience), onHost(t, one, ruledSession, 2, func() {
				_, err := two.Apply(within(t, patience), onHost(t, two, c.theirs, 0, nil), "two")
				check(t, err)
			}), "one")
			check(t, err)
			wantSettled(t, lab, c.sessions)
		})
	}
}

// Whoever gives up leaves what another has put in force meanwhile, and nothing of his own.
func TestGivingUpBetweenTheSteps(t *testing.T) {
	for _, theirs := range []string{"", ruledSession} {
		lab, one, two := ruledLab(t)
		ctx, cancel := context.WithCancel(within(t, patience))
		_, err := one.Apply(ctx, onHost(t, one, ruledSession, 2, func() {
			if theirs != "" {
				_, err := two.Apply(within(t, patience), onHost(t, two, theirs, 0, nil), "two")
				check(t, err)
			}
			cancel()
		}), "one")
		if err == nil && theirs == "" {
			t.Error("nothing says that it gave up")
		}
		if theirs != "" {
			wantSettled(t, lab, 1)
		} else if left := vsctl(t, lab, "--columns=name", "find", "Port", "external_ids:spanctl-managed=true") + vsctl(t, lab, "--columns=name", "find", "Bridge", "external_ids:spanctl-managed=true"); strings.TrimSpace(left) != "" {
			t.Errorf("left: %s", left)
		}
		if bridge := strings.TrimSpace(vsctl(t, lab, "iface-to-br", "vif9.0")); theirs == "" && bridge != "br0" {
			t.Errorf("the audit guest's port is on %q", bridge)
		}
	}
}

// What cannot be read is left alone: a session on such a tap bridge cannot be changed, another one can.
func TestRulesThatCannotBeRead(t *testing.T) {
	lab, one, _ := ruledLab(t)
	_, err := one.Apply(within(t, patience), onHost(t, one, ruledSession, 0, nil), "one")
	check(t, err)
	blind := func(text string) ovs.Planner {
		return func(snap *plan.Snapshot) (*plan.Plan, error) {
			for b := range snap.Bridges {
				if bridge := &snap.Bridges[b]; bridge.Ruled() {
					bridge.FlowsError = "for a test"
				}
			}
			intent := plan.StoredIntent(snap)
			for name, session := range parse(t, text) {
				check(t, intent.Put(name, session))
			}
			return plan.Make(snap, intent, noon), nil
		}
	}
	changed := strings.Replace(ruledSession, "arp", "lldp", 1)
	if _, err := one.Apply(within(t, patience), blind(changed), "blind"); !errors.Is(err, openflow.ErrUnreachable) {
		t.Errorf("a change of rules that cannot be read: %v", err)
	}
	wantSettled(t, lab, 1)
	_, err = one.Apply(within(t, patience), blind("direct: {sources: [{interface: vif2.0}], destinations: [{interface: vif8.0}]}"), "blind")
	check(t, err)
	wantSettled(t, lab, 2)
}
