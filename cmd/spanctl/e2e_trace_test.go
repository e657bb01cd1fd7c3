package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// tracing runs spanctl trace, which must end with the code.
func (s *site) tracing(code int, args string) (answer jsonAnswer) {
	s.Helper()
	out := s.want(code, append([]string{"trace", "-o", "json"}, strings.Fields(args)...)...)
	s.check(json.Unmarshal([]byte(out), &answer))
	return answer
}

// wantTrace wants a session's answer: whether the packet is copied, and how often the switch sends it to each destination.
func (s *site) wantTrace(session, args string, copied plan.Copied, copies ...int) jsonVerdict {
	s.Helper()
	answer := s.tracing(exitOK, session+" "+args)
	v := answer.Sessions[0]
	var got []int
	for _, p := range v.Places {
		got = append(got, len(p.Exits))
	}
	if len(answer.Sessions) != 1 || v.Copied != copied || fmt.Sprint(got) != fmt.Sprint(copies) {
		s.Errorf("trace %s %s: %s, copies %v, want %s, %v\n%s", session, args, v.Copied, got, copied, copies, s.want(exitOK, append([]string{"trace", session}, strings.Fields(args)...)...))
	}
	return v
}

// wantDisagreement wants the switch to do something else than the session says, in these words.
func (s *site) wantDisagreement(session, args, says string) {
	s.Helper()
	answer := s.tracing(exitDegraded, session+" "+args)
	if answer.Agrees || !strings.Contains(strings.Join(answer.Sessions[0].Disagreements, "\n"), says) {
		s.Errorf("trace %s %s: %q, want %q", session, args, answer.Sessions[0].Disagreements, says)
	}
	if out := s.want(exitDegraded, append([]string{"trace", session}, strings.Fields(args)...)...); !strings.Contains(out, "  THE SWITCH DISAGREES: "+answer.Sessions[0].Disagreements[0]) {
		s.Errorf("trace %s %s says\n%s", session, args, out)
	}
}

func (s *site) to(guest string) string { return "dst_mac=" + s.guests[guest].HardwareAddr().String() }

func TestE2ETraceDirect(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.add(ovstest.GuestConfig{Name: "c", Tag: 10})
	s.add(ovstest.GuestConfig{Name: "d", Tag: 10})
	s.greet(s.guests["a"], s.guests["b"])
	s.send(s.guests["d"], ovstest.ARP(s.guests["d"], s.guests["c"]))
	s.await("the place of d", func() bool {
		out, err := s.lab.AppCtl(s.ctx, "fdb/show", "br0")
		s.check(err)
		return strings.Contains(out, s.guests["d"].HardwareAddr().String())
	})
	s.apply("  one: {sources: [{vm: a, direction: from}, {vm: b, direction: to, vlans: [0, 20]}], except: [{interface: vif-c}], destinations: [{vm: audit}], snaplen: 128}\n")
	for _, c := range []struct {
		args   string
		copied plan.Copied
		copies int
		why    string
	}{
		{"--in vif-a tcp " + s.to("b"), plan.CopiedYes, 1, "it enters by vif-a, a source: sources[0]|it leaves by vif-b, a source: sources[1]"},
		{"--in vif-b tcp " + s.to("a"), plan.CopiedNo, 0, "it enters by vif-b, which is no source for what it sends: sources[1] selects it with direction: to|it leaves by vif-a, which is no source for what is sent to it: sources[0] selects it with direction: from"},
		{"--in br0 icmp vlan=20 " + s.to("b"), plan.CopiedYes, 1, "it enters by br0, which is no source for what it sends: no selector of sources selects it|it leaves by vif-b, a source: sources[1]"},
		{"--in br0 icmp vlan=10 " + s.to("b"), plan.CopiedNo, 0, "it enters by br0, which is no source for what it sends: no selector of sources selects it|it leaves by vif-b, which is no source for what is sent to it: sources[1] selects it in VLANs 0,20, and the packet is in VLAN 10"},
		{"--in vif-c arp " + s.to("d"), plan.CopiedNo, 0, "it enters by vif-c, which is no source for what it sends: no selector of sources selects it|it leaves by vif-d, which is no source for what is sent to it: no selector of sources selects it"},
		{"--in vif-c tcp vlan=10 " + s.to("d"), plan.CopiedNo, 0, "it enters by vif-c: port vif-c is an access port, which takes no packets with a tag|it leaves by no port of production"},
		{"--in vif-audit tcp " + s.to("b"), plan.CopiedNo, 0, "it enters by vif-audit, which is no source for what it sends: it is the destination of session one|it leaves by no port of production"},
		{"--in vif-a lldp", plan.CopiedYes, 1, "it enters by vif-a, a source: sources[0]"},
		{"--in vif-b udp dst=255.255.255.255", plan.CopiedNo, 0, ""},
		{"--in vif-a tcp vlan=7", plan.CopiedYes, 1, "it enters by vif-a, a source: sources[0]"},
	} {
		v := s.wantTrace("one", c.args, c.copied, c.copies)
		if why := strings.Join(v.Why, "|"); c.why != "" && why != c.why {
			s.Errorf("%s: %s, want %s", c.args, why, c.why)
		}
	}
	answer := s.tracing(exitOK, "one --in vif-c arp")
	if answer.In.VLAN != 10 || answer.In.Bridge != "br0" || answer.Packet.VLAN != 0 || !answer.Switch.Asked {
		s.Errorf("the packet enters %+v", answer.In)
	}
	const packet = "--in vif-a tcp"
	s.vsctl("set", "Mirror", "spanctl-one", "snaplen=64")
	s.wantDisagreement("one", packet, "by the policy copies to vif-audit are cut to 128 bytes, and the switch sends cut to 64 bytes")
	s.vsctl("clear", "Mirror", "spanctl-one", "select_src_port")
	s.wantDisagreement("one", "--in vif-a lldp", "by the policy a copy goes to vif-audit, and the switch sends none")
	s.vsctl("set", "Mirror", "spanctl-one", "select_all=true", "snaplen=128")
	s.wantDisagreement("one", "--in vif-c arp", "by the policy no copy goes to vif-audit, and the switch sends one")
	s.want(exitOK, "apply")
	s.wantTrace("one", packet, plan.CopiedYes, 1)

	s.lab.KillVSwitchd()
	for _, args := range []string{"trace one --in vif-a", "trace --all --in vif-a"} {
		if code, _, err := s.spanctl(strings.Fields(args)...); code != exitUnreachable || !strings.Contains(err, "OpenFlow is unreachable") {
			s.Errorf("%s without ovs-vswitchd exits %d: %s", args, code, err)
		}
	}
}

func TestE2ETraceHub(t *testing.T) {
	t.Parallel()
	s := newHubSite(t)
	c := s.collector("coll")
	s.want(exitDegraded, "apply", "-f", s.policy("  audit: {sources: [{bridge: \"br[01]\", direction: from}], destinations: [{vm: audit}, {erspan: {remote: "+c.Addr().String()+", session: 100}}, {gre: {remote: 192.0.2.99, key: 7}}, {vm: later}]}\n"+
		"  also: {sources: [{vm: a, direction: to}], destinations: [{vm: later}, {gre: {remote: 192.0.2.99, key: 7}}, {vm: audit}, {erspan: {remote: "+c.Addr().String()+", session: 100}}]}\n"+
		"  nobody: {sources: [{role: all}], destinations: [{vm: absent}]}\n"+
		"  off: {enabled: false, sources: [{role: all}], destinations: [{vm: audit}]}\n"))
	v := s.wantTrace("audit", "--in vif-a tcp "+s.to("b"), plan.CopiedYes, 1, 1, 0, 0)
	for i, want := range []string{"", "", "it would be sent: the address of the next hop is not known yet, and is asked for", "vm later is not present"} {
		if v.Places[i].Note != want {
			s.Errorf("place %d: %q, want %q", i, v.Places[i].Note, want)
		}
	}
	if e := v.Places[1].Exits[0]; e.Remote != c.Addr() || *e.Key != 100 || fmt.Sprint(e.By) != "[ext-coll]" {
		s.Errorf("the tunnel is %+v", e)
	}
	s.wantTrace("audit", "--in vif-d udp "+s.to("c"), plan.CopiedYes, 1, 1, 0, 0)
	v = s.wantTrace("also", "--in vif-a udp "+s.to("b"), plan.CopiedNo, 0, 0, 1, 1)
	if v.Places[2].Note != "that copy is session audit's" {
		s.Errorf("%+v", v.Places[2])
	}
	s.wantTrace("also", "--in vif-b udp "+s.to("a"), plan.CopiedYes, 0, 0, 1, 1)
	s.wantTrace("nobody", "--in vif-a tcp "+s.to("b"), plan.CopiedNo, 0)
	s.wantTrace("off", "--in vif-a tcp "+s.to("b"), plan.CopiedNo)
	if answer := s.tracing(exitOK, "--all --in vif-audit"); len(answer.Sessions) != 4 || answer.Sessions[0].Copied != plan.CopiedNo || answer.In.Bridge == "br0" {
		s.Errorf("%+v", answer)
	}

	s.vsctl("clear", "Bridge", "br0", "mirrors")
	s.wantDisagreement("audit", "--in vif-a tcp "+s.to("b"), "by the policy a copy goes to erspan "+c.Addr().String()+" session 100, and the switch sends none")
	s.want(exitDegraded, "apply")
	s.wantTrace("audit", "--in vif-a tcp "+s.to("b"), plan.CopiedYes, 1, 1, 0, 0)
}

func TestE2ETraceRSPAN(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b")
	s.add(ovstest.GuestConfig{Name: "span", Tag: 100})
	s.check(s.lab.AddBridge(s.ctx, "br1"))
	s.add(ovstest.GuestConfig{Name: "c", Bridge: "br1"})
	s.greet(s.guests["a"], s.guests["b"])
	s.vsctl("add-port", "br0", "to-br1", "--", "set", "Interface", "to-br1", "type=patch", "options:peer=to-br0",
		"--", "add-port", "br1", "to-br0", "--", "set", "Interface", "to-br0", "type=patch", "options:peer=to-br1")
	s.apply("  rspan: {sources: [{vm: a}], destinations: [{vlan: 100}], snaplen: 200}\n")
	for _, c := range []struct {
		args   string
		copied plan.Copied
		copies int
	}{
		{"--in vif-a tcp " + s.to("b"), plan.CopiedYes, 4}, // br0, a, b and span: what is cut goes over no patch (OVS 3.1)
		{"--in vif-b tcp " + s.to("a"), plan.CopiedYes, 4},
		{"--in vif-b tcp", plan.CopiedYes, 4},
		{"--in vif-c tcp " + s.to("a"), plan.CopiedYes, 4},
		{"--in vif-c tcp " + s.to("b"), plan.CopiedNo, 0},
		{"--in vif-a tcp vlan=100", plan.CopiedYes, 0},
		{"--in vif-span tcp", plan.CopiedYes, 0},
		{"--in vif-a lldp", plan.CopiedYes, 0},
	} {
		v := s.wantTrace("rspan", c.args, c.copied, c.copies)
		if c.copies > 0 && v.Places[0].Exits[0].Limit != 200 {
			s.Errorf("%s: %+v", c.args, v)
		}
	}
	s.vsctl("set", "Mirror", "spanctl-rspan", "output_vlan=101")
	s.wantDisagreement("rspan", "--in vif-a tcp", "by the policy a copy goes to vlan 100, and the switch sends none")
}
