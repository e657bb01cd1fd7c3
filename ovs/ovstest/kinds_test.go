package ovstest_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

func TestTwoLabsAtOnce(t *testing.T) {
	ctx, one := start(t, ovstest.Config{})
	_, two := start(t, ovstest.Config{})
	for _, lab := range []*ovstest.Lab{one, two} {
		_, err := ovstest.Exchange(ctx, guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b"), 2)
		check(t, err)
	}
}

func TestDatabaseOnly(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{DatabaseOnly: true, Bridges: []string{"br0", "br1"}})
	if got := vsctl(ctx, t, lab, "list-br"); got != "br0\nbr1\n" {
		t.Errorf("bridges %q", got)
	}
	if _, err := lab.AddGuest(ctx, ovstest.GuestConfig{Name: "g"}); !errors.Is(err, ovstest.ErrNoNamespaces) {
		t.Errorf("AddGuest: %v", err)
	}
	if err := lab.StartVSwitchd(ctx); err == nil {
		t.Error("StartVSwitchd works")
	}
}

func TestDummy(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{Dummy: true})
	vsctl(ctx, t, lab, "add-port", "br0", "p1", "--", "set", "Interface", "p1", "type=dummy")
	_, err := lab.OFPort(ctx, "p1")
	check(t, err)
	out, err := lab.AppCtl(ctx, "ofproto/trace", "br0", "in_port=p1")
	check(t, err)
	if !strings.Contains(out, "Datapath actions") {
		t.Errorf("trace says %s", out)
	}
}

func TestOFCtlFindsTheBridge(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	out, err := lab.OFCtl(ctx, "dump-flows", "br0")
	check(t, err)
	if !strings.Contains(out, "actions=NORMAL") {
		t.Errorf("flows: %s", out)
	}
}

func TestMissingSchemaSaysWhatToInstall(t *testing.T) {
	_, err := ovstest.Start(t.Context(), ovstest.Config{Schema: "/nowhere", DatabaseOnly: true})
	if !errors.Is(err, ovstest.ErrNotInstalled) || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("error is %v", err)
	}
}

func TestUplinkAndHost(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	up, err := lab.AddUplink(ctx, ovstest.GuestConfig{Name: "up"})
	check(t, err)
	host, err := lab.HostIP(ctx, "br0", netip.MustParsePrefix("10.9.0.100/24"))
	check(t, err)
	for _, restart := range []bool{false, true} {
		if restart {
			lab.KillVSwitchd()
			check(t, lab.StartVSwitchd(ctx))
		}
		atHost, err := lab.CapturePort(ctx, "br0")
		check(t, err)
		check(t, atHost.Fence(ctx, up, host))
		check(t, capture(ctx, t, up).Fence(ctx, host, up))
		conn, err := up.Dial(ctx, "udp", "10.9.0.100:9")
		check(t, err)
		payload := ovstest.Payload("socket")
		_, err = conn.Write(payload)
		check(t, err)
		check(t, atHost.WaitPayload(ctx, payload, 1))
	}
}

func TestCollectorHasEveryCopyFromTheFirst(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	var collectors []*ovstest.Guest
	for _, name := range []string{"c1", "c2"} {
		c, err := lab.AddCollector(ctx, ovstest.CollectorConfig{Name: name})
		check(t, err)
		collectors = append(collectors, c)
	}
	c := collectors[1]
	vsctl(ctx, t, lab, "add-port", "br0", "erspan0", "--", "set", "Interface", "erspan0", "type=erspan",
		"options:remote_ip="+c.Addr().String(), "options:erspan_ver=1", "options:erspan_idx=64", "options:key=100")
	mirrorAll(ctx, t, lab, "br0", "m", "erspan0")
	for _, restart := range []bool{false, true} {
		want := "192.0.2.1 > " + c.Addr().String() + " GRE ERSPAN session 100: 10.9.0.1 > 10.9.0.2 UDP 40000 > 40001"
		if restart {
			lab.KillVSwitchd()
			vsctl(ctx, t, lab, "--no-wait", "set", "Interface", "erspan0", "options:erspan_ver=2",
				"options:erspan_dir=1", "options:erspan_hwid=4")
			check(t, lab.StartVSwitchd(ctx))
			want = strings.Replace(want, "ERSPAN", "ERSPAN III", 1)
		}
		copies := capture(ctx, t, c)
		sent, err := ovstest.Exchange(ctx, a, b, 5)
		check(t, err)
		for _, s := range sent {
			check(t, copies.WaitPayload(ctx, s.Payload, 1))
		}
		if got := ovstest.Describe(copies.Frames()[0].Data); !strings.HasPrefix(got, want) {
			t.Errorf("the first frame is %s, want %s", got, want)
		}
		if n := len(copies.Frames()); n != len(sent) {
			t.Errorf("%d frames at the collector, want %d", n, len(sent))
		}
	}
}
