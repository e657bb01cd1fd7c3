package ovstest_test

import (
	"bytes"
	"testing"

	"spanctl/ovs/ovstest"
)

// rspanFrame is a frame of a test, as it should arrive at the ports that get a copy.
type rspanFrame struct {
	what    string
	from    *ovstest.Guest
	frame   []byte
	payload []byte
	copied  bool
}

// An output VLAN goes out of every port that carries it, also of those nobody thought of: a port without tag and
// trunks carries all, and has the copies beside its own traffic. The outermost tag gives way to the VLAN's, the
// second stays; an access port of the VLAN has the copy without. Even the port a frame came in by gets its copy, if
// it carries the VLAN: a sender on a trunk hears itself.
// Reserved multicast (BPDU, LLDP, CDP) is not copied, with and without forward-bpdu, nor is what is in the VLAN already.
func TestOutputVLANReachesEveryPortThatCarriesIt(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a := add(ctx, t, lab, ovstest.GuestConfig{Name: "a", Tag: 10})
	b := add(ctx, t, lab, ovstest.GuestConfig{Name: "b", Tag: 10})
	sender := guest(ctx, t, lab, "sender") // a trunk of everything
	vsctl(ctx, t, lab, "--", "--id=@m", "create", "Mirror", "name=m", "select_all=true", "output_vlan=99",
		"--", "add", "Bridge", "br0", "mirrors", "@m")

	gets := map[*ovstest.Guest]bool{sender: true} // the copy: with tag 99 or, in an access port, without
	for _, c := range []struct {
		cfg    ovstest.GuestConfig
		tagged bool
	}{
		{ovstest.GuestConfig{Name: "plain"}, true},
		{ovstest.GuestConfig{Name: "trunk99", Trunks: []int{99}}, true},
		{ovstest.GuestConfig{Name: "native99", Tag: 99, PortColumns: []string{"vlan_mode=native-tagged"}}, true},
		{ovstest.GuestConfig{Name: "access99", Tag: 99}, false},
	} {
		gets[add(ctx, t, lab, c.cfg)] = c.tagged
	}
	others := []*ovstest.Guest{
		a, b,
		add(ctx, t, lab, ovstest.GuestConfig{Name: "trunk20", Trunks: []int{20}}),
		add(ctx, t, lab, ovstest.GuestConfig{Name: "access20", Tag: 20}),
	}
	captures := map[*ovstest.Guest]*ovstest.Capture{}
	for g := range gets {
		captures[g] = capture(ctx, t, g)
	}
	for _, g := range others {
		captures[g] = capture(ctx, t, g)
	}
	_, err := ovstest.Exchange(ctx, a, b, 2)
	check(t, err)

	for _, bpdu := range []string{"false", "true"} {
		vsctl(ctx, t, lab, "set", "Bridge", "br0", "other_config:forward-bpdu="+bpdu)
		for _, f := range rspanFrames(a, b, sender) {
			check(t, f.from.Send(f.frame))
			for g := range gets {
				check(t, captures[g].Fence(ctx, a, b))
			}
			for g, tagged := range gets {
				want := 0
				if f.copied {
					want = 1
				}
				if n := count(captures[g], f, tagged); n != want {
					t.Errorf("forward-bpdu=%s, %s: %d copies at %s, want %d", bpdu, f.what, n, g.Name(), want)
				}
			}
			for _, g := range others {
				if n := count(captures[g], f, true); n != 0 {
					t.Errorf("forward-bpdu=%s, %s: %d copies at %s, want 0", bpdu, f.what, n, g.Name())
				}
			}
		}
	}
}

func rspanFrames(a, b, sender *ovstest.Guest) []rspanFrame {
	var frames []rspanFrame
	add := func(what string, from *ovstest.Guest, copied bool, build func(payload []byte) []byte) {
		payload := ovstest.Payload(what)
		frames = append(frames, rspanFrame{what, from, build(payload), payload, copied})
	}
	nobody := ovstest.Station{MAC: []byte{2, 8, 8, 8, 8, 8}, IP: b.Addr()}
	add("access unicast", a, true, func(p []byte) []byte { return ovstest.UDP(a, b, 1, 2, p) })
	add("access broadcast", a, true, func(p []byte) []byte { return ovstest.UDP(a, ovstest.Broadcast, 1, 2, p) })
	add("trunk untagged", sender, true, func(p []byte) []byte { return ovstest.UDP(sender, nobody, 1, 2, p) })
	add("trunk 20", sender, true, func(p []byte) []byte { return ovstest.Tagged(ovstest.UDP(sender, nobody, 1, 2, p), 20) })
	add("qinq", sender, true, func(p []byte) []byte { return ovstest.Tagged(ovstest.UDP(sender, nobody, 1, 2, p), 20, 30) })
	for what, mac := range map[string][]byte{
		"bpdu": {1, 0x80, 0xc2, 0, 0, 0}, "lldp": {1, 0x80, 0xc2, 0, 0, 0x0e}, "cdp": {1, 0, 0x0c, 0xcc, 0xcc, 0xcc},
	} {
		add(what, a, false, func(p []byte) []byte { return ovstest.Raw(a, mac, 0x88cc, p) })
	}
	return frames
}

// count is the copies of f that a capture has: tagged 99 or, in an access port of 99, without a tag of its own.
func count(c *ovstest.Capture, f rspanFrame, tagged bool) int {
	n := 0
	for _, got := range arrived(c, f.payload) {
		inner := f.frame
		for bytes.Equal(inner[12:14], []byte{0x81, 0}) && bytes.Equal(inner[14:16], []byte{0, 20}) {
			inner = append(bytes.Clone(inner[:12]), inner[16:]...)
		}
		if tagged {
			inner = ovstest.Tagged(inner, 99)
		}
		if bytes.Equal(got, inner) {
			n++
		}
	}
	return n
}
