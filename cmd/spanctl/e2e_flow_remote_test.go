package main

import (
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// Over a remote connection there are no rules to be made: a session that needs some is refused, with what to do. One that
// stands is left alone, to the byte, while others are applied, changed and deleted, and goes on copying; status says that of
// its rules nothing is known.
func TestE2EFlowRemote(t *testing.T) {
	t.Parallel()
	f := newFlowSite(t)
	second := f.add(ovstest.GuestConfig{Name: "second"})
	bare := f.unrevised()
	local, remote := f.lab.DB, f.overTCP()
	f.lab.DB = remote
	for name, session := range map[string]string{
		"exclude":  flowSession,
		"max_rate": "  audit: {sources: [{vm: a}], max_rate: 1Gbps, destinations: [{vm: audit}]}\n",
		"sample":   "  audit: {sources: [{vm: a}], sample: 1/4, destinations: [{vm: audit}]}\n",
		"balance":  "  audit: {sources: [{vm: a}], balance: flow, destinations: [{vm: audit}, {vm: second}]}\n",
	} {
		for _, command := range []string{"plan", "apply"} {
			code, _, said := f.spanctl(command, "-f", f.policy(session))
			if code != exitRefused || !strings.Contains(said, name+": ") || !strings.Contains(said, "needs OpenFlow rules on the host, and this is a remote connection; run spanctl on the host") {
				t.Errorf("%s of %s exits %d and says %s", command, session, code, said)
			}
		}
	}
	f.wantSame("refused", bare, f.unrevised(), ofItself)

	f.lab.DB = local
	f.apply(flowSession)
	f.settle()
	rules := f.rules(f.tap())
	f.lab.DB = remote
	f.wantNoChanges()
	f.want(exitOK, "plan", "--detailed-exitcode")
	const direct = "  direct: {sources: [{vm: b, direction: from}], destinations: [{vm: second}]}\n"
	for _, sessions := range []string{direct, strings.Replace(direct, ", direction: from", "", 1)} {
		f.apply(sessions)
		f.settle()
		at := f.capture(second)
		f.wantProduction("beside another", "everything")
		if len(at.Frames()) == 0 {
			t.Error("the other session copies nothing")
		}
		if now := f.rules(f.tap()); now != rules {
			t.Errorf("rules were\n%s\nand are\n%s", rules, now)
		}
	}
	const neither = "which are neither seen nor changed over a remote connection; run spanctl on the host"
	wantUnknown := func() {
		t.Helper()
		h := f.status(exitOK)["audit"]
		if notes := strings.Join(h.Notes, "\n"); h.State != plan.StateRefused || !strings.Contains(h.Reason, neither) || !strings.Contains(notes, "goes on if tap bridge "+f.tap()+" has its rules, which cannot be seen") {
			t.Errorf("status: %s (%s): %s", h.State, h.Reason, notes)
		}
	}
	wantUnknown()
	f.want(exitOK, "delete", "direct")
	f.wantNoChanges()

	rows := f.unrevised()
	// Changed it is not, deleted it is.
	code, _, said := f.spanctl("apply", "-f", f.policy(strings.Replace(flowSession, "7799", "7800", 1)))
	if code != exitRefused || !strings.Contains(said, neither) {
		t.Errorf("apply of what stands, changed, exits %d and says %s", code, said)
	}
	f.wantSame("refused", rows, f.unrevised(), ofItself, configuration)
	f.lab.DB = local
	f.wantNoChanges()
	f.status(exitOK)
	f.lab.DB = remote
	f.ofctl(f.tap(), "del-flows")
	wantUnknown()
	f.wantNoChanges()
	f.want(exitOK, "delete", "--all")
	f.wantSame("deleted", bare, f.unrevised(), ofItself, configuration)
}
