package ovstest_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// bench is two guests with a running connection, a third as audit port and one that has nothing to do with it.
type bench struct {
	ctx                    context.Context
	lab                    *ovstest.Lab
	a, b, audit, bystander *ovstest.Guest
}

func newBench(t *testing.T) bench {
	t.Helper()
	ctx, lab := start(t, ovstest.Config{})
	return bench{
		ctx, lab, guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b"), guest(ctx, t, lab, "audit"), guest(ctx, t, lab, "c"),
	}
}

// state of the mirror, in the order of how much it copies of an exchange of 2n frames.
type state string

const (
	absent state = "absent" // 0
	narrow state = "narrow" // n: from a only
	wide   state = "wide"   // 2n
)

func (s state) copies(n int) int {
	return map[state]int{absent: 0, narrow: n, wide: 2 * n}[s]
}

// change is the part of a transaction that takes the mirror m from one state to another.
func (b bench) change(from, to state) []string {
	selection := []string{"select_all=true", "select_src_port=[]", "select_dst_port=[]"}
	if to == narrow {
		selection = []string{"select_all=false", "select_src_port=@a"}
	}
	src := []string{"--", "--id=@a", "get", "Port", b.a.Port()}
	switch {
	case to == absent:
		return []string{"--", "clear", "Bridge", "br0", "mirrors"}
	case from == absent:
		args := append(src, "--", "--id=@out", "get", "Port", b.audit.Port(),
			"--", "--id=@m", "create", "Mirror", "name=m", "output_port=@out")
		if to == narrow {
			args = append(args, selection...)
		} else {
			args = append(args, "select_all=true")
		}
		return append(args, "--", "add", "Bridge", "br0", "mirrors", "@m")
	default:
		return append(append(src, "--", "set", "Mirror", "m"), selection...)
	}
}

// flip is the part that adds or removes a parked patch port without a peer.
var flips = map[string][]string{
	"none": nil,
	"add": {
		"--", "add-port", "br0", "flip", "vlan_mode=trunk", "trunks=4095",
		"--", "set", "Interface", "flip", "type=patch", "options:peer=nowhere",
	},
	"remove": {"--", "del-port", "br0", "flip"},
}

// copied changes the mirror under a running connection, and is how many of the next 2n frames of it were copied.
func (b bench) copied(t *testing.T, from, to state, flip string, n int) int {
	t.Helper()
	vsctl(b.ctx, t, b.lab, "--if-exists", "del-port", "flip", "--", "clear", "Bridge", "br0", "mirrors")
	if flip == "remove" {
		vsctl(b.ctx, t, b.lab, flips["add"]...)
	}
	if from != absent {
		vsctl(b.ctx, t, b.lab, b.change(absent, from)...)
	}
	b.appctl(t, "revalidator/purge")
	running := ovstest.Flow{A: b.a, B: b.b, APort: 40000, BPort: 40001}
	_, err := running.Exchange(b.ctx, 5)
	check(t, err)
	copies, floods := capture(b.ctx, t, b.audit), capture(b.ctx, t, b.bystander)
	vsctl(b.ctx, t, b.lab, append(b.change(from, to), flips[flip]...)...)
	b.appctl(t, "revalidator/wait") // a full round over all flows
	sent, err := running.Exchange(b.ctx, n)
	check(t, err)
	// A new source is a new flow, which sees the mirror as it is; a broadcast arrives with and without one.
	fresh := ovstest.Station{MAC: append([]byte{2}, rand.Text()[:5]...), IP: b.a.Addr()}
	for _, c := range []*ovstest.Capture{copies, floods} {
		check(t, c.FenceFrame(b.ctx, b.a, func(payload []byte) []byte {
			return ovstest.UDP(fresh, ovstest.Broadcast, 9, 9, payload)
		}))
	}
	total := 0
	for _, s := range sent {
		total += ovstest.CountPayload(copies.Frames(), s.Payload)
		if to == absent { // the audit port is an ordinary one again: floods are no copies
			total -= ovstest.CountPayload(floods.Frames(), s.Payload)
		}
	}
	return total
}

func (b bench) appctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := b.lab.AppCtl(b.ctx, args...)
	check(t, err)
	return out
}

// Fact 10: in OVS 3.1.0 a running connection follows no change of a mirror, unless the same transaction adds or removes
// a port; a parked patch port that leads nowhere will do. (Removing a port that a mirror selects, as select_all does,
// flushes the bridge's MAC table in one of three cases: production floods. Adding never does.)
func TestRunningConnectionFollowsMirrorWithPatchPort(t *testing.T) {
	b := newBench(t)
	vsctl(b.ctx, t, b.lab, "set", "Open_vSwitch", ".", "other_config:max-revalidator=100") // ms; the least
	const n, rounds = 5, 2
	for _, c := range []struct{ from, to state }{
		{absent, wide}, {narrow, wide}, {wide, narrow}, {wide, absent},
	} {
		for _, flip := range []string{"none", "add", "remove"} {
			want := c.to.copies(n)
			if flip == "none" {
				want = c.from.copies(n)
			}
			for range rounds {
				if got := b.copied(t, c.from, c.to, flip, n); got != want {
					t.Errorf("%s to %s, patch port %s: %d of %d frames copied, want %d", c.from, c.to, flip, got, 2*n, want)
				}
			}
		}
	}
}

func TestPatchPortWithoutPeerHasANumberAnErrorAndNoLogLine(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	vsctl(ctx, t, lab, flips["add"]...)
	number, err := lab.OFPort(ctx, "flip")
	check(t, err)
	if number <= 0 {
		t.Errorf("ofport %d", number)
	}
	got := vsctl(ctx, t, lab, "get", "Interface", "flip", "error", "link_state", "ifindex")
	if want := "\"No usable peer 'nowhere' exists in 'netdev' datapath.\"\nup\n0\n"; got != want {
		t.Errorf("error, link_state, ifindex are\n%s\nwant\n%s", got, want)
	}
	log, err := lab.VSwitchdLog()
	check(t, err)
	for line := range strings.Lines(log) {
		if strings.Contains(line, "|WARN|") || strings.Contains(line, "|ERR|") {
			t.Error(line)
		}
	}
}
