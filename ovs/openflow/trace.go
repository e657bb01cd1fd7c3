package openflow

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/digitalocean/go-openvswitch/ovs"

	"spanctl/policy/plan"
)

// Trace asks ovs-vswitchd what it would do with a packet that enters the bridge:
// flow is its fields, in_port among them, in the words of ovs-fields(7). Nothing is
// sent, but for an ARP or ND request where a tunnel does not know its next hop's
// address, and nothing is learnt. Numbers of the datapath's ports are resolved to names.
func (s *Switch) Trace(ctx context.Context, bridge, flow string) (*plan.Trace, error) {
	out, err := s.protoTrace(ctx, bridge, flow)
	if err != nil {
		return nil, fmt.Errorf("tracing a packet on bridge %s: %w", bridge, err)
	}
	shown, err := s.appctl(ctx, "dpif/show")
	if err != nil {
		return nil, fmt.Errorf("reading the datapath's ports: %w", err)
	}
	return readTrace(string(out), readPorts(string(shown))), nil
}

// protoTrace is what ofproto/trace prints. The library reads too little of it,
// and stops at fields that it does not know, so its own reading is not asked.
func (s *Switch) protoTrace(ctx context.Context, bridge, flow string) (out []byte, err error) {
	client := ovs.New(ovs.Exec(func(_ string, args ...string) ([]byte, error) {
		out, err = s.appctl(ctx, args...)
		return out, err
	}))
	if _, failed := client.App.ProtoTrace(bridge, "", []ovs.Match{words(flow)}); out == nil && err == nil {
		err = failed
	}
	return out, err
}

// appctl runs a command of ovs-appctl on the daemon.
func (s *Switch) appctl(ctx context.Context, args ...string) ([]byte, error) {
	pid, err := os.ReadFile(filepath.Join(s.dir, "ovs-vswitchd.pid"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w; start ovs-vswitchd, or name the folder of its sockets by OVS_RUNDIR", ErrUnreachable, err)
	}
	socket := filepath.Join(s.dir, "ovs-vswitchd."+strings.TrimSpace(string(pid))+".ctl")
	return run(ctx, nil, "ovs-appctl", append([]string{"--target=" + socket}, args...))
}

var (
	// flowLine begins a part of the answer: the packet, and after a recirculation
	// the packet again.
	flowLine    = regexp.MustCompile(`(?m)^Flow: (.*)$`)
	actionsLine = regexp.MustCompile(`(?m)^Datapath actions: (.*)$`)
	tagField    = regexp.MustCompile(`\bdl_vlan\d?=(\d+)`)
	missLine    = regexp.MustCompile(`neighbor cache miss for ([0-9a-fA-F.:]+) on bridge`)
	failLine    = regexp.MustCompile(`(?m)^Translation failed \((.*?)\)`)
	routeLine   = regexp.MustCompile(`native tunnel routing failed`)
)

// readTrace reads the answer of ofproto/trace.
func readTrace(text string, ports datapath) *plan.Trace {
	t := &plan.Trace{Text: text}
	parts := flowLine.FindAllStringSubmatchIndex(text, -1)
	recirculated := 0
	for i, at := range parts {
		end := len(text)
		if i+1 < len(parts) {
			end = parts[i+1][0]
		}
		var tags []uint16
		for _, tag := range tagField.FindAllStringSubmatch(text[at[2]:at[3]], -1) {
			id, _ := strconv.ParseUint(tag[1], 10, 16)
			tags = append(tags, uint16(id))
		}
		for _, actions := range actionsLine.FindAllStringSubmatch(text[at[1]:end], -1) {
			r := &actionReader{ports: ports}
			r.read(actions[1], &packetState{tags: tags})
			t.Exits = append(t.Exits, r.exits...)
			t.Open = append(t.Open, r.open...)
			recirculated += r.recirculated
		}
	}
	if recirculated > max(0, len(parts)-1) { // some of it is not in the answer
		t.Open = append(t.Open, "what happens after a recirculation, as for a bond that balances by ports")
	}
	for _, miss := range missLine.FindAllStringSubmatch(text, -1) {
		if address, err := netip.ParseAddr(miss[1]); err == nil {
			t.Neighbors = append(t.Neighbors, address.Unmap())
		}
	}
	if failed := failLine.FindStringSubmatch(text); failed != nil {
		t.Failure = failed[1]
	} else if routeLine.MatchString(text) {
		t.Failure = "a tunnel has no route"
	}
	return t
}
