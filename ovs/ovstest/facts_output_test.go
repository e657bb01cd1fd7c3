package ovstest_test

import (
	"bytes"
	"slices"
	"testing"

	"spanctl/ovs/ovstest"
)

// shapes is how a frame may be tagged, by name.
var shapes = map[string]func(frame []byte) []byte{
	"untagged": func(f []byte) []byte { return f },
	"10":       func(f []byte) []byte { return ovstest.Tagged(f, 10) },
	"20":       func(f []byte) []byte { return ovstest.Tagged(f, 20) },
	"10 30":    func(f []byte) []byte { return ovstest.Tagged(f, 10, 30) },
	"s10 30":   func(f []byte) []byte { return ovstest.QinQ(f, 10, 30) },
	"30":       func(f []byte) []byte { return ovstest.Tagged(f, 30) },
}

// arrived is every frame with the payload.
func arrived(c *ovstest.Capture, payload []byte) [][]byte {
	var found [][]byte
	for _, f := range c.Frames() {
		if bytes.Contains(f.Data, payload) {
			found = append(found, f.Data)
		}
	}
	return found
}

// An output port that is an access port, by its tag or by its mode, strips each copy's outermost tag, whatever it is;
// a trunk keeps every tag, whatever its tag and trunks say.
func TestTagsOfCopiesFollowTheOutputsMode(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b, d := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b"), guest(ctx, t, lab, "d")
	mirrorAll(ctx, t, lab, "br0", "m", d.Port())
	keeps := map[string]string{}
	strips := map[string]string{"10": "untagged", "20": "untagged", "10 30": "30", "s10 30": "30"}
	for _, c := range []struct {
		columns []string
		becomes map[string]string // shape of the copy, where it is not that of the frame
	}{
		{nil, keeps},
		{[]string{"vlan_mode=trunk", "tag=10"}, keeps},
		{[]string{"vlan_mode=trunk", "trunks=4095"}, keeps},
		{[]string{"trunks=99"}, keeps},
		{[]string{"vlan_mode=native-tagged", "tag=10"}, keeps},
		{[]string{"tag=10"}, strips},
		{[]string{"vlan_mode=access"}, strips},
		{[]string{"vlan_mode=access", "tag=10"}, strips},
		{[]string{"vlan_mode=dot1q-tunnel", "tag=10"}, strips},
	} {
		vsctl(ctx, t, lab, append([]string{
			"clear", "Port", d.Port(), "tag", "trunks", "vlan_mode",
			"--", "set", "Port", d.Port(), "protected=false",
		}, c.columns...)...)
		copies := capture(ctx, t, d)
		for _, shape := range []string{"untagged", "10", "20", "10 30", "s10 30"} {
			payload := ovstest.Payload(shape)
			frame := ovstest.UDP(a, b, 1, 2, payload)
			check(t, a.Send(shapes[shape](frame)))
			check(t, copies.Fence(ctx, a, b))
			want := shapes[shape](frame)
			if becomes, other := c.becomes[shape]; other {
				want = shapes[becomes](frame)
			}
			if got := arrived(copies, payload); len(got) != 1 || !bytes.Equal(got[0], want) {
				t.Errorf("%q, frame tagged %s: copies\n%x\nwant\n%x", c.columns, shape, got, want)
			}
		}
	}
}

func TestTwoMirrorsOfEverythingHaveEachFrameOnce(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	d1, d2 := guest(ctx, t, lab, "d1"), guest(ctx, t, lab, "d2")
	mirrorAll(ctx, t, lab, "br0", "m1", d1.Port())
	mirrorAll(ctx, t, lab, "br0", "m2", d2.Port())
	outputs := []*ovstest.Capture{capture(ctx, t, d1), capture(ctx, t, d2)}
	guests := []*ovstest.Capture{capture(ctx, t, a), capture(ctx, t, b)}
	sent, err := ovstest.Exchange(ctx, a, b, 100)
	check(t, err)
	for _, c := range outputs {
		check(t, c.Fence(ctx, a, b))
		for _, s := range sent {
			wantFrame(t, c.Frames(), s.Frame, s.Payload)
		}
	}
	var injected [][]byte
	for _, d := range []*ovstest.Guest{d1, d2} {
		for _, to := range []ovstest.Endpoint{a, b, d1, d2, ovstest.Broadcast} {
			for _, shape := range shapes {
				payload := ovstest.Payload("injected")
				check(t, d.Send(shape(ovstest.UDP(d, to, 1, 2, payload))))
				injected = append(injected, payload)
			}
		}
	}
	check(t, guests[0].Fence(ctx, b, a))
	check(t, guests[1].Fence(ctx, a, b))
	for _, c := range outputs {
		check(t, c.Fence(ctx, a, b))
	}
	for _, c := range slices.Concat(outputs, guests) {
		for _, payload := range injected {
			if n := len(arrived(c, payload)); n != 0 {
				t.Errorf("%d frames of %d injected arrived", n, len(injected))
			}
		}
	}
}
