package openflow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/openflow"
	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// dummies adds ports p1, p2 ... of that many dummy devices to a bridge, with these
// OpenFlow numbers.
func dummies(ctx context.Context, t *testing.T, lab *ovstest.Lab, bridge string, n int) {
	t.Helper()
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("%s-p%d", bridge, i)
		_, err := lab.VSCtl(ctx, "add-port", bridge, name, "--", "set", "Interface", name, "type=dummy", fmt.Sprintf("ofport_request=%d", i))
		check(t, err)
	}
}

func exits(trace *plan.Trace) string {
	var names []string
	for _, e := range trace.Exits {
		name := e.Interface
		if e.Limit > 0 {
			name += fmt.Sprintf(":%d", e.Limit)
		}
		if len(e.Tags) > 0 {
			name += fmt.Sprint(e.Tags)
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestTrace(t *testing.T) {
	t.Parallel()
	ctx, lab, s := start(t, "br0", "br1")
	dummies(ctx, t, lab, "br0", 3)
	dummies(ctx, t, lab, "br1", 2)
	for _, patch := range []string{"br0", "br1"} {
		peer := map[string]string{"br0": "to-br0", "br1": "to-br1"}[patch]
		name := map[string]string{"br0": "to-br1", "br1": "to-br0"}[patch]
		_, err := lab.VSCtl(ctx, "add-port", patch, name, "--", "set", "Interface", name, "type=patch", "options:peer="+peer, "ofport_request=9")
		check(t, err)
	}
	for _, rule := range []string{
		"br0 in_port=1,tcp,tp_dst=80,actions=output(port=2,max_len=64),3,9",
		"br0 in_port=1,ip,nw_frag=later,actions=2",
		"br0 in_port=1,vlan_tci=0x1000/0x1000,actions=2,strip_vlan,3",
		"br0 in_port=1,udp6,ipv6_src=2001:db8::/32,tp_src=53,actions=set_field:1->reg0,2",
		"br1 in_port=9,actions=1,2",
	} {
		bridge, flow, _ := strings.Cut(rule, " ")
		_, err := lab.OFCtl(ctx, "add-flow", bridge, flow)
		check(t, err)
	}
	for flow, want := range map[string]string{
		"in_port=1,tcp,tcp_dst=80":                                 "br0-p2:64 br0-p3 br1-p1 br1-p2",
		"in_port=1,tcp,tcp_dst=81":                                 "",
		"in_port=2,tcp,tcp_dst=80":                                 "",
		"in_port=1,udp,nw_frag=later":                              "br0-p2",
		"in_port=1,dl_vlan=10,arp":                                 "br0-p2[10] br0-p3",
		"in_port=1,udp6,ipv6_src=2001:db8::1,udp_src=53,nw_ttl=64": "br0-p2",
	} {
		trace, err := s.Trace(ctx, "br0", flow)
		check(t, err)
		if got := exits(trace); got != want || trace.Failure != "" || len(trace.Open) > 0 {
			t.Errorf("%s leaves by %q, want %q\n%s", flow, got, want, trace.Text)
		}
	}
}

func TestTraceOfMirrors(t *testing.T) {
	t.Parallel()
	ctx, lab, s := start(t, "br0")
	dummies(ctx, t, lab, "br0", 3)
	_, err := lab.OFCtl(ctx, "add-flow", "br0", "actions=NORMAL")
	check(t, err)
	_, err = lab.VSCtl(ctx, "--", "--id=@p", "get", "Port", "br0-p3", "--", "--id=@m", "create", "Mirror", "name=m", "select_all=true", "output_port=@p", "snaplen=100",
		"--", "set", "Bridge", "br0", "mirrors=@m")
	check(t, err)
	trace, err := s.Trace(ctx, "br0", "in_port=1,tcp")
	check(t, err)
	if got, want := exits(trace), "br0-p3:100 br0 br0-p2"; got != want {
		t.Errorf("leaves by %q, want %q\n%s", got, want, trace.Text)
	}
}

func TestTraceRefused(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	for says, ask := range map[string][2]string{
		"br1: unknown bridge":                  {"br1", "in_port=1,tcp"},
		"unknown field bogus":                  {"br0", "in_port=1,bogus=3"},
		"more than a rule":                     {"br0", "in_port=1\nfoo"},
		"prerequisites not met for setting tp": {"br0", "in_port=1,udp,tp_src=3"},
	} {
		if _, err := s.Trace(ctx, ask[0], ask[1]); !errors.Is(err, openflow.ErrRejected) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: error %v, want one that says %q", ask, err, says)
		}
	}
}

func TestTraceWithoutVSwitchd(t *testing.T) {
	t.Parallel()
	ctx, lab, s := start(t, "br0")
	lab.KillVSwitchd()
	_, err := s.Trace(ctx, "br0", "in_port=1,tcp")
	if !errors.Is(err, openflow.ErrUnreachable) || errors.Is(err, openflow.ErrRejected) {
		t.Errorf("killed: %v", err)
	}
	check(t, os.Remove(filepath.Join(lab.Dir, "ovs-vswitchd.pid")))
	if _, err := s.Trace(ctx, "br0", "in_port=1,tcp"); !errors.Is(err, openflow.ErrUnreachable) || !strings.Contains(err.Error(), "OVS_RUNDIR") {
		t.Errorf("without pid file: %v", err)
	}
}
