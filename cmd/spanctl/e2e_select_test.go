package main

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// selections are sources (and except) of a session, and which packets they copy: FROM>TO@VLAN of ports a, b, c, up and
// host, * for any, untagged being VLAN 0.
var selections = []struct{ name, session, copied string }{
	{"interface", `sources: [{interface: vif-a}]`, "a>* *>a"},
	{"from", `sources: [{interface: vif-a, direction: from}]`, "a>*"},
	{"to", `sources: [{interface: vif-a, direction: to}]`, "*>a"},
	{"from one, to another", `sources: [{interface: vif-a, direction: from}, {interface: vif-b, direction: to}]`, "a>* *>b"},
	{"from and to", `sources: [{interface: vif-a, direction: from}, {interface: vif-a, direction: to}]`, "a>* *>a"},
	{"from all", `sources: [{role: all, direction: from}]`, "*>*"},
	{"glob", `sources: [{interface: "vif-[ab]", direction: to}]`, "*>a *>b"},
	{"vm", `sources: [{vm: "web-?", direction: from}]`, "a>* b>*"},
	{"external_ids", `sources: [{external_ids: {zone: "d*"}}]`, "a>* *>a"},
	{"mac", `sources: [{mac: "02:00:00:00:00:BB"}]`, "b>* *>b"},
	{"role guest", `sources: [{role: guest, direction: from}]`, "a>* b>* c>*"},
	{"role uplink", `sources: [{role: uplink}]`, "up>* *>up"},
	{"role host", `sources: [{role: host}]`, "host>* *>host"},
	{"fields and together", `sources: [{role: guest, vm: "web-*", external_ids: {zone: dmz}}]`, "a>* *>a"},
	{"one VLAN", `sources: [{role: all, vlans: [10]}]`, "*>*@10"},
	{"untagged", `sources: [{role: all, vlans: [0]}]`, "*>*@0"},
	{"several VLANs", `sources: [{interface: vif-b, vlans: [0, 15-25]}]`, "b>*@0 *>b@0 b>*@20 *>b@20"},
	{
		"VLANs by port", `sources: [{interface: vif-a, vlans: [10]}, {interface: vif-b, vlans: [20]}, {role: uplink}]`,
		"a>*@10 *>a@10 b>*@20 *>b@20 up>* *>up",
	},
	{
		"VLANs by direction", `sources: [{interface: vif-a, vlans: [10], direction: from}, {interface: vif-a, vlans: [20], direction: to}]`,
		"a>*@10 *>a@20",
	},
	{"all but one", `{sources: [{role: guest}], except: [{interface: vif-b}]}`, "a>* *>a c>* *>c"},
	{"all but one direction", `{sources: [{vm: "web-*"}], except: [{interface: vif-b, direction: to}]}`, "a>* *>a b>*"},
	{"all but one VLAN", `{sources: [{vm: web-1}], except: [{role: all, vlans: [10]}]}`, "a>*@0 *>a@0 a>*@20 *>a@20"},
	{"all but the rest", `{sources: [{role: all}], except: [{role: guest}, {role: host}]}`, "up>* *>up"},
}

func TestE2ESelectionsCopyWhatTheySay(t *testing.T) {
	t.Parallel()
	s, matrix := newMatrix(t)
	for _, c := range selections {
		s.sub(c.name, func(s *site) {
			session := strings.TrimSuffix(strings.TrimPrefix(c.session, "{"), "}")
			s.apply("  audit: {" + session + ", destinations: [{vm: audit}]}\n")
			s.wantSelected(matrix, c.copied)
		})
	}
}

func TestE2ETagInOVSDBAddsAPort(t *testing.T) {
	t.Parallel()
	s, matrix := newMatrix(t)
	s.apply("  audit: {sources: [{interface: vif-a, vlans: [10]}], destinations: [{vm: audit}]}\n")
	for _, step := range []struct{ change, copied string }{
		{"set Interface vif-b external_ids:spanctl=audit", "a>*@10 *>a@10 b>* *>b"},
		{"set Interface vif-c external_ids:spanctl=other,audit", "a>*@10 *>a@10 b>* *>b c>* *>c"},
		{"remove Interface vif-b external_ids spanctl", "a>*@10 *>a@10 c>* *>c"},
		{"set Interface vif-c external_ids:spanctl=other", "a>*@10 *>a@10"},
	} {
		s.sub(step.change, func(s *site) {
			s.vsctl(strings.Fields(step.change)...)
			s.want(exitOK, "apply")
			s.wantSelected(matrix, step.copied)
		})
	}
}

// A cell is one frame of the matrix: from one port to another, or to all, in a VLAN.
type cell struct {
	from, to string
	vlan     int
	sender   ovstest.Sender
	receiver ovstest.Endpoint
}

// newMatrix is a site with ports a, b, c, up and host on br0, and every frame that they can send each other.
func newMatrix(t *testing.T) (*site, []cell) {
	s := newSite(t, "audit")
	ports := map[string]ovstest.Sender{
		"a":  s.add(ovstest.GuestConfig{Name: "a", ExternalIDs: map[string]string{"vm-id": "web-1", "zone": "dmz"}}),
		"b":  s.add(ovstest.GuestConfig{Name: "b", ExternalIDs: map[string]string{"iface-id": "web-2", "attached-mac": "02:00:00:00:00:bb"}}),
		"c":  s.add(ovstest.GuestConfig{Name: "c", ExternalIDs: map[string]string{"xs-vm-uuid": "db-1", "zone": "lan"}}),
		"up": s.uplink("up"),
	}
	host, err := s.lab.HostIP(s.ctx, "br0", netip.MustParsePrefix("10.9.0.100/24"))
	s.check(err)
	ports["host"] = host
	s.greet(s.guests["a"], ports["b"], ports["c"], ports["up"], host)
	var cells []cell
	for from, sender := range ports {
		for _, vlan := range []int{0, 10, 20} {
			for to, receiver := range ports {
				if from != to {
					cells = append(cells, cell{from, to, vlan, sender, receiver})
				}
			}
			cells = append(cells, cell{from, "all", vlan, sender, ovstest.Broadcast})
		}
	}
	return s, cells
}

func (c cell) frame(payload []byte) []byte {
	frame := ovstest.UDP(c.sender, c.receiver, 1000, 2000, payload)
	if c.vlan != 0 {
		return ovstest.Tagged(frame, uint16(c.vlan))
	}
	return frame
}

// in tells whether one of the patterns FROM>TO@VLAN holds for the frame. One to all is to each other port.
func (c cell) in(patterns string) bool {
	for pattern := range strings.FieldsSeq(patterns) {
		ports, vlan, inVLAN := strings.Cut(pattern, "@")
		from, to, _ := strings.Cut(ports, ">")
		if (from == "*" || from == c.from) &&
			(to == "*" || to == c.to || c.to == "all" && to != c.from) &&
			(!inVLAN || vlan == strconv.Itoa(c.vlan)) {
			return true
		}
	}
	return false
}

// wantSelected sends the whole matrix and wants exactly the selected frames at the audit guest.
func (s *site) wantSelected(matrix []cell, patterns string) {
	s.Helper()
	s.settle()
	atAudit := s.capture(s.guests["audit"])
	var want [][]byte
	var fence *cell
	for _, c := range matrix {
		frame := c.frame(ovstest.Payload(c.from + ">" + c.to))
		s.send(c.sender, frame)
		if c.in(patterns) {
			want, fence = append(want, frame), &c
		}
	}
	if fence == nil {
		s.Fatalf("%s selects nothing", patterns)
	}
	s.check(atAudit.FenceFrame(s.ctx, fence.sender, fence.frame))
	s.wantExactly(atAudit, want...)
}
