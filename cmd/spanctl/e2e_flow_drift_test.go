package main

import (
	"strings"
	"testing"

	"spanctl/policy/plan"
)

// A foreignHand does something to a tap bridge of the flow tier. Status says some words of it, and meanwhile everything is
// copied that should be, or nothing, or whatever. Where numbers of ports have changed rules are others.
type foreignHand struct {
	name     string
	do       func(f *flowSite, tap string)
	says     string
	copied   string
	renumber bool
}

const (
	missing = "it is not there: ovs-vswitchd forgets rules when it ends): run spanctl apply"
	changed = "(not as spanctl left it): run spanctl apply"
	foreign = "(a rule that spanctl did not make): run spanctl apply"
)

var handsOnRules = []foreignHand{
	{"all rules deleted", func(f *flowSite, tap string) { f.ofctl(tap, "del-flows") }, missing, "nothing", false},
	{"a rule changed", func(f *flowSite, tap string) { f.ofctl(tap, "mod-flows", "table=0,actions=drop") }, changed, "nothing", false},
	{"a rule of another hand", func(f *flowSite, tap string) { f.ofctl(tap, "add-flow", "priority=1000,actions=NORMAL") }, foreign, "whatever", false},
	{"a rule that does nothing", func(f *flowSite, tap string) { f.ofctl(tap, "add-flow", "table=9,cookie=7,actions=drop") }, foreign, "everything", false},
	{"a rule that drops copies", func(f *flowSite, tap string) { f.ofctl(tap, "add-flow", "priority=1000,udp,actions=drop") }, foreign, "nothing", false},
	{"meters deleted", func(f *flowSite, tap string) { f.ofctl(tap, "del-meters") }, missing, "nothing", false},
	{"a meter changed", func(f *flowSite, tap string) {
		f.ofctl(tap, "mod-meter", "meter=1,kbps,burst,band=type=drop,rate=10,burst_size=1")
	}, changed, "whatever", false},
	{"a meter more", func(f *flowSite, tap string) { f.ofctl(tap, "add-meter", "meter=77,kbps,band=type=drop,rate=10") }, "(no longer needed): run spanctl apply", "everything", false},
}

// What others do to rules and meters is told by plan and status, leaks nothing and hurts no production; the next apply
// takes it back.
func TestE2EFlowRulesChangedByHand(t *testing.T) {
	t.Parallel()
	newFlowSite(t).wantMended(handsOnRules)
}

var handsOnRows = []foreignHand{
	{"emer-reset", func(f *flowSite, tap string) { f.vsctl("emer-reset") }, "Mirror spanctl-audit is not as it should be", "nothing", false},
	{"fail mode standalone", func(f *flowSite, tap string) { f.vsctl("set-fail-mode", tap, "standalone") }, changed, "whatever", false},
	{"no fail mode", func(f *flowSite, tap string) { f.vsctl("del-fail-mode", tap) }, changed, "whatever", false},
	{"mirrors cleared", func(f *flowSite, tap string) { f.vsctl("clear", "Bridge", "br0", "mirrors") }, "Mirror spanctl-audit is not as it should be", "whatever", false},
	{"a bridge made anew", func(f *flowSite, tap string) {
		for _, kind := range []string{"dummy", "netdev"} {
			f.vsctl("set", "Bridge", tap, "datapath_type="+kind)
		}
	}, missing, "nothing", false},
}

// What others do to the rows that rules rest on, likewise.
func TestE2EFlowRowsChangedByHand(t *testing.T) {
	t.Parallel()
	newFlowSite(t).wantMended(handsOnRows)
}

var handsOnNumbers = []foreignHand{
	{"a number that was asked for", func(f *flowSite, tap string) { f.vsctl("set", "Interface", "vif-audit", "ofport_request=99") }, changed, "nothing", true},
	{"a patch's number", func(f *flowSite, tap string) {
		for port := range strings.Lines(f.vsctl("list-ports", tap)) {
			if port = strings.TrimSpace(port); port != "vif-audit" {
				f.vsctl("set", "Interface", port, "ofport_request=77")
			}
		}
	}, missing, "nothing", true},
	{"numbers no longer asked for", func(f *flowSite, tap string) { f.vsctl("clear", "Interface", "vif-audit", "ofport_request") }, "Port vif-audit is not as it should be", "everything", true},
	{"the tap bridge deleted", func(f *flowSite, tap string) {
		f.vsctl("del-br", tap)
		f.wantProduction("the tap bridge deleted", "nothing")
		f.want(exitOK, "apply")
		f.vsctl(plug("br0")...) // where it is a guest like others
	}, "", "", true},
}

// What others do to the numbers of ports, by which rules know them, likewise.
func TestE2EFlowNumbersChangedByHand(t *testing.T) {
	t.Parallel()
	newFlowSite(t).wantMended(handsOnNumbers)
}

func (f *flowSite) wantMended(hands []foreignHand) {
	f.Helper()
	bare := f.database()
	f.apply(flowSession)
	f.settle()
	rows, rules := f.made(), f.rules(f.tap())
	for _, hand := range hands {
		hand.do(f, f.tap())
		f.settle()
		if hand.copied != "" {
			f.wantProduction(hand.name, hand.copied)
		}
		f.want(exitPending, "plan", "--detailed-exitcode")
		h := f.status(exitDegraded)["audit"]
		if problems := strings.Join(h.Problems, "\n"); h.State != plan.StateDegraded || !strings.Contains(problems, hand.says) {
			f.Errorf("%s: status: %s: %s", hand.name, h.State, problems)
		}
		f.want(exitOK, "apply")
		f.settle()
		f.wantProduction(hand.name+", applied", "everything")
		f.wantNoChanges()
		f.status(exitOK)
		if hand.renumber {
			continue
		}
		if now := f.rules(f.tap()); now != rules {
			f.Errorf("%s: rules were\n%s\nand are\n%s", hand.name, rules, now)
		}
		if now := f.made(); now != rows {
			f.Errorf("%s: rows were\n%s\nand are\n%s", hand.name, rows, now)
		}
	}
	f.want(exitOK, "delete", "--all")
	if hands[0].renumber {
		f.vsctl("get", "Interface", "vif-audit", "_uuid") // the guest's port was made anew
		return
	}
	f.wantSame("after delete", bare, f.database(), ofItself, configuration)
}
