package ovstest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// hub makes a mirror hub by hand, in one transaction: everything that two guests of br0 send goes to a tap bridge, and
// from there by an ERSPAN II tunnel to the collector.
func hub(ctx context.Context, t *testing.T, lab *ovstest.Lab, a, b, collector *ovstest.Guest) {
	t.Helper()
	vsctl(ctx, t, lab,
		"--", "add-br", "tap", "--", "set", "Bridge", "tap", "datapath_type=netdev", "fail_mode=standalone",
		"flood_vlans=0-4095", "other_config:forward-bpdu=true",
		"--", "--id=@self", "get", "Port", "tap",

		"--", "add-port", "br0", "to-tap", "vlan_mode=trunk", "trunks=4095",
		"--", "set", "Interface", "to-tap", "type=patch", "options:peer=from-br0",
		"--", "add-port", "tap", "from-br0", "protected=true", "trunks=0-4094",
		"--", "set", "Interface", "from-br0", "type=patch", "options:peer=to-tap",
		"--", "--id=@a", "get", "Port", a.Port(), "--", "--id=@b", "get", "Port", b.Port(),
		"--", "--id=@to", "get", "Port", "to-tap",
		"--", "--id=@in", "create", "Mirror", "name=in", "select_src_port=@a,@b", "output_port=@to",
		"--", "add", "Bridge", "br0", "mirrors", "@in",

		"--", "add-port", "tap", "erspan0", "--", "set", "Interface", "erspan0", "type=erspan",
		"options:remote_ip="+collector.Addr().String(), "options:key=100", "options:erspan_ver=1", "options:erspan_idx=64",
		"--", "--id=@erspan", "get", "Port", "erspan0",
		"--", "--id=@out", "create", "Mirror", "name=out", "select_dst_port=@self", "output_port=@erspan",
		"--", "add", "Bridge", "tap", "mirrors", "@out")
}

func suricata(ctx context.Context, t *testing.T, g *ovstest.Guest, rules string) *ovstest.Suricata {
	t.Helper()
	s, err := g.StartSuricata(ctx, rules)
	check(t, err)
	return s
}

// A real IDS behind a real tunnel raises an alert for traffic that only ever ran between two guests, and names them.
func TestSuricataAlertsOnCopiesInERSPAN(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	collector, err := lab.AddCollector(ctx, ovstest.CollectorConfig{Name: "collector"})
	check(t, err)
	hub(ctx, t, lab, a, b, collector)
	ping, datagram := ovstest.Payload("ping"), ovstest.Payload("datagram")
	ids := suricata(ctx, t, collector, fmt.Sprintf(`
alert icmp $HOME_NET any -> any any (msg:"ping seen"; itype:8; content:"%s"; sid:1;)
alert udp any any -> any 53 (msg:"datagram seen"; content:"%s"; sid:2;)`, ping, datagram))

	for _, c := range []struct {
		from, to *ovstest.Guest
		frame    []byte
		want     ovstest.Alert
	}{
		{a, b, ovstest.Ping(a, b, 1, 1, ping), ovstest.Alert{Signature: "ping seen", ID: 1, Proto: "ICMP"}},
		{
			b, a, ovstest.UDP(b, a, 40000, 53, datagram),
			ovstest.Alert{Signature: "datagram seen", ID: 2, Proto: "UDP", SrcPort: 40000, DestPort: 53},
		},
	} {
		check(t, c.from.Send(c.frame))
		got, err := ids.WaitAlert(ctx, func(a ovstest.Alert) bool { return a.ID == c.want.ID })
		check(t, err)
		if got.Tunnel == nil {
			t.Fatalf("alert %v is without tunnel", got)
		}
		if got.Tunnel.SrcIP.String() != "192.0.2.1" || got.Tunnel.DestIP != collector.Addr() || got.Tunnel.Proto != "GRE" {
			t.Errorf("%s: tunnel %+v, want GRE from 192.0.2.1 to %s", got.Signature, *got.Tunnel, collector.Addr())
		}
		got.Tunnel = nil
		c.want.EventType, c.want.SrcIP, c.want.DestIP = "alert", c.from.Addr(), c.to.Addr()
		if got != c.want {
			t.Errorf("alert %+v, want %+v", got, c.want)
		}
	}
	alerts, err := ids.Alerts()
	check(t, err)
	if len(alerts) != 2 {
		t.Errorf("%d alerts, want 2: %v", len(alerts), alerts)
	}
}

func TestSuricataUnpacksERSPANAndGREAndVXLANAndGeneve(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	collector, err := lab.AddCollector(ctx, ovstest.CollectorConfig{Name: "collector"})
	check(t, err)
	hub(ctx, t, lab, a, b, collector)
	ids := suricata(ctx, t, collector, `alert udp any any -> any any (msg:"inside"; content:"<inside/"; sid:1;)`)
	for i, kind := range []string{"erspan", "gre", "vxlan", "geneve"} {
		vsctl(ctx, t, lab, "set", "Interface", "erspan0", "type="+kind)
		port := uint16(5000 + i)
		check(t, a.Send(ovstest.UDP(a, b, 40000, port, ovstest.Payload("inside"))))
		got, err := ids.WaitAlert(ctx, func(a ovstest.Alert) bool { return a.DestPort == port })
		check(t, err)
		if got.Tunnel == nil || got.Tunnel.DestIP != collector.Addr() || got.Tunnel.Depth != 1 {
			t.Errorf("%s: alert %v, want it by one tunnel to %s", kind, got, collector.Addr())
		}
	}
}

func TestSuricataEndsWithTheLabAndBefore(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	g := guest(ctx, t, lab, "g")
	const rule = `alert ip any any -> any any (msg:"anything"; sid:1;)`
	closed, other := suricata(ctx, t, g, rule), suricata(ctx, t, g, rule)
	check(t, closed.Close())
	check(t, closed.Close())
	if _, err := closed.WaitAlert(ctx, nil); !errors.Is(err, ovstest.ErrClosed) {
		t.Errorf("WaitAlert after Close: %v", err)
	}
	if left := processes(t, closed.Dir); len(left) != 0 {
		t.Errorf("left by Close: %q", left)
	}
	if len(processes(t, other.Dir)) != 1 {
		t.Error("the other does not run")
	}
	check(t, lab.Close())
	if left := processes(t, lab.Dir); len(left) != 0 {
		t.Errorf("left by the lab: %q", left)
	}
	if _, err := os.Stat(other.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

func TestSuricataSaysWhyItDoesNotStart(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	g := guest(ctx, t, lab, "g")
	_, err := g.StartSuricata(ctx, `alert icmp any any -> any any (itypo:8; sid:1;)`)
	if err == nil || !strings.Contains(err.Error(), "itypo") {
		t.Errorf("a rule with a mistake: %v", err)
	}
	t.Setenv("PATH", "")
	_, err = g.StartSuricata(ctx, "")
	if !errors.Is(err, ovstest.ErrNoSuricata) || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("without the program: %v", err)
	}
	if ovstest.SuricataInstalled() {
		t.Error("it is there without the program")
	}
}
