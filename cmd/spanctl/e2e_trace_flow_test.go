package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

func TestE2ETraceFlow(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	s.add(ovstest.GuestConfig{Name: "tagged", Tag: 10})
	s.add(ovstest.GuestConfig{Name: "ids"})
	s.apply(`  chosen:
    sources: [{bridge: "br[01]", direction: from}]
    include: [{protocol: tcp, net: 10.20.0.0/16}, {ethertype: arp}, {vlan: 10}, {port: 0-1023}]
    exclude: [{protocol: tcp, port: 7788-7799}, {dst: 2001:db8::/32, dscp: 46}]
    destinations: [{vm: audit}]
  rest:
    sources: [{vm: a}]
    exclude: [{protocol: tcp}]
    destinations: [{vm: audit}, {vm: ids}]
    max_rate: 1Mbps
`)
	for _, c := range []struct {
		args   string
		chosen plan.Copied
		why    string
		copies int
	}{
		{"tcp src=10.20.0.1", plan.CopiedYes, "include[0] holds: {protocol: tcp, net: 10.20.0.0/16}", 1},
		{"tcp src=10.20.0.1 dst_port=7790", plan.CopiedNo, "exclude[0] holds: {protocol: tcp, port: 7788-7799}", 0},
		{"tcp src=10.20.0.1 dst_port=7790 fragment=first", plan.CopiedYes, "include[0] holds: {protocol: tcp, net: 10.20.0.0/16}", 1},
		{"tcp src=10.21.0.1", plan.CopiedNo, "no include holds", 0},
		{"tcp dst_port=0", plan.CopiedYes, "include[3] holds: {port: 0-1023}", 1},
		{"tcp dst_port=0 fragment=later", plan.CopiedNo, "", 0},
		{"arp src=10.21.0.1", plan.CopiedYes, "include[1] holds: {ethertype: arp}", 2},
		{"udp vlan=10", plan.CopiedYes, "include[2] holds: {vlan: 10}", 2},
		{"udp vlan=11", plan.CopiedNo, "no include holds", 1},
		{"udp dst=2001:db8::9 dst_port=53 dscp=46", plan.CopiedNo, "exclude[1] holds: {dst: \"2001:db8::/32\", dscp: 46}", 1},
		{"udp dst=2001:db8::9 dst_port=53 dscp=45", plan.CopiedYes, "include[3] holds: {port: 0-1023}", 2},
		{"lldp", plan.CopiedNo, "no include holds", 1},
	} {
		if strings.HasPrefix(c.args, "tcp dst_port=0 fragment") {
			c.args, c.why = "tcp fragment=later", "no include holds"
		}
		v := s.wantTrace("chosen", "--in vif-a "+c.args, c.chosen, c.copies)
		if c.why != "" && v.Why[len(v.Why)-1] != c.why {
			s.Errorf("%s: %q, want %q", c.args, v.Why, c.why)
		}
	}
	s.wantTrace("chosen", "--in vif-tagged udp", plan.CopiedYes, 2)
	s.wantTrace("chosen", "--in vif-c arp", plan.CopiedYes, 1)
	v := s.wantTrace("rest", "--in vif-a udp "+s.to("b"), plan.CopiedYes, 1, 1)
	if e := v.Places[0].Exits[0]; !e.Metered || strings.Join(v.Notes, "|") != "copies over 1Mbps are dropped" {
		s.Errorf("%+v", v)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.check(err)
	s.forward(listener, carry)
	var out, said bytes.Buffer
	code := run([]string{"trace", "chosen", "--in", "vif-a", "arp", "--db", "tcp:" + listener.Addr().String()}, strings.NewReader(""), &out, &said)
	if text := out.String(); code != exitOK || !strings.Contains(text, "\nswitch: not asked: the database is another host's\n") || !strings.Contains(text, "\nsession chosen: copied\n") ||
		!strings.Contains(text, "\n  include[1] holds: {ethertype: arp}\n  to vif-audit: copied\n") {
		s.Errorf("from afar trace exits %d and says\n%s%s", code, text, said.String())
	}
	tap := s.vsctl("--bare", "--columns=name", "find", "Bridge", "fail_mode=secure")
	_, err = s.lab.OFCtl(s.ctx, "-OOpenFlow14", "del-flows", tap, "arp")
	s.check(err)
	s.wantDisagreement("chosen", "--in vif-c arp", "by the policy a copy goes to vif-audit, and the switch sends none")
	_, err = s.lab.OFCtl(s.ctx, "-OOpenFlow14", "add-flow", tap, "priority=999,ipv6,actions=flood")
	s.check(err)
	s.wantDisagreement("chosen", "--in vif-c icmp6", "by the policy no copy goes to vif-audit, and the switch sends one")
	answer := s.tracing(exitDegraded, "rest --in vif-c icmp6")
	if d := answer.Sessions[0].Disagreements; fmt.Sprint(d) != "[by the policy no copy goes to vif-audit, and the switch sends one by the policy no copy goes to vif-ids, and the switch sends one]" {
		s.Errorf("%q", d)
	}
	_, err = s.lab.OFCtl(s.ctx, "-OOpenFlow14", "del-flows", tap)
	s.check(err)
	s.wantDisagreement("rest", "--in vif-a udp", "by the policy a copy goes to vif-ids, and the switch sends none")
	s.want(exitOK, "apply")
	s.wantTrace("rest", "--in vif-a udp", plan.CopiedYes, 1, 1)
}

func TestE2ETraceShares(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "one", "two", "three")
	s.apply("  shared: {sources: [{vm: a}], balance: flow, destinations: [{vm: one}, {vm: two}, {vm: three}]}\n")
	got := map[string]bool{}
	for port := range 20 {
		answer := s.tracing(exitOK, fmt.Sprintf("shared --in vif-a tcp dst_port=%d", port))
		n := 0
		for _, p := range answer.Sessions[0].Places {
			if len(p.Exits) > 0 {
				n++
				got[p.Name] = true
			}
			if p.Copied != plan.CopiedPerhaps {
				s.Errorf("%+v", p)
			}
		}
		if n != 1 || answer.Sessions[0].Copied != plan.CopiedYes {
			s.Errorf("port %d goes to %d destinations", port, n)
		}
	}
	if len(got) != 3 {
		s.Errorf("only %v get copies", got)
	}
	tap := s.vsctl("--bare", "--columns=name", "find", "Bridge", "fail_mode=secure")
	_, err := s.lab.OFCtl(s.ctx, "-OOpenFlow14", "add-flow", tap, "priority=999,actions=drop")
	s.check(err)
	s.wantDisagreement("shared", "--in vif-a tcp", "by the policy one of the destinations gets a copy, and the switch sends none to any")
	_, err = s.lab.OFCtl(s.ctx, "-OOpenFlow14", "add-flow", tap, "priority=999,actions=flood")
	s.check(err)
	s.wantDisagreement("shared", "--in vif-a tcp", "by the policy one of the destinations gets a copy, and the switch sends one to 3 of them")

	s.want(exitOK, "delete", "--all")
	s.apply("  some: {sources: [{vm: a}], sample: 1/4, snaplen: 99, destinations: [{vm: one}]}\n")
	kept := 0
	for port := range 24 {
		answer := s.tracing(exitOK, fmt.Sprintf("some --in vif-a tcp dst_port=%d", port))
		if answer.Sessions[0].Copied != plan.CopiedPerhaps {
			s.Errorf("%+v", answer.Sessions[0])
		}
		kept += len(answer.Sessions[0].Places[0].Exits)
	}
	if kept == 0 || kept > 18 {
		s.Errorf("%d of 24 connections are kept, want about 6", kept)
	}
}
