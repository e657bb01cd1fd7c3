package ovstest_test

import (
	"context"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

func uuid(ctx context.Context, t *testing.T, lab *ovstest.Lab, table, record string) string {
	t.Helper()
	return strings.TrimSpace(vsctl(ctx, t, lab, "get", table, record, "_uuid"))
}

func TestRestartedGuestHasNewRows(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a := guest(ctx, t, lab, "a")
	b := add(ctx, t, lab, ovstest.GuestConfig{
		Name: "b", Port: "vif1.0", Tag: 10, ExternalIDs: map[string]string{"iface-id": `x"y`, "attached-mac": "02:00:00:00:00:01"},
	})
	if got := vsctl(ctx, t, lab, "get", "Interface", "vif1.0", "external_ids"); !strings.Contains(got, `"x\"y"`) {
		t.Errorf("external_ids are %s", got)
	}
	capture(ctx, t, b) // ends with the device
	port, iface := uuid(ctx, t, lab, "Port", "vif1.0"), uuid(ctx, t, lab, "Interface", "vif1.0")
	check(t, b.Stop(ctx))
	check(t, b.Stop(ctx))
	if got := vsctl(ctx, t, lab, "list-ports", "br0"); strings.Contains(got, "vif1.0") {
		t.Errorf("ports of br0 after Stop:\n%s", got)
	}
	check(t, b.Start(ctx))
	if uuid(ctx, t, lab, "Port", "vif1.0") == port || uuid(ctx, t, lab, "Interface", "vif1.0") == iface {
		t.Error("the rows are the old ones")
	}
	check(t, b.Stop(ctx))
	check(t, b.Rename("vif7.0"))
	check(t, b.Start(ctx))
	vsctl(ctx, t, lab, "clear", "Port", "vif7.0", "tag")
	_, err := ovstest.Exchange(ctx, a, b, 2)
	check(t, err)
}

func TestVanishedDeviceKeepsItsRow(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a := guest(ctx, t, lab, "a")
	before := vsctl(ctx, t, lab, "get", "Interface", a.Port(), "ofport")
	check(t, a.Vanish(ctx))
	// Fact 13: only the link tells.
	vsctl(ctx, t, lab, "--no-wait", "wait-until", "Interface", a.Port(), "link_state=down")
	if after := vsctl(ctx, t, lab, "get", "Interface", a.Port(), "ofport"); after != before {
		t.Errorf("ofport %s, want %s", after, before)
	}
}

func TestLabGoesOnAfterVSwitchdWasKilled(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a, b := guest(ctx, t, lab, "a"), guest(ctx, t, lab, "b")
	lab.KillVSwitchd()
	if _, err := lab.AppCtl(ctx, "version"); err == nil {
		t.Error("ovs-appctl answers after KillVSwitchd")
	}
	check(t, lab.StartVSwitchd(ctx))
	_, err := ovstest.Exchange(ctx, a, b, 3)
	check(t, err)
	log, err := lab.VSwitchdLog()
	check(t, err)
	if n := strings.Count(log, "ovs-vswitchd (Open vSwitch)"); n != 2 {
		t.Errorf("the log has %d starts, want 2", n)
	}
}

func TestLabGoesOnAfterDatabaseWasKilled(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	a := guest(ctx, t, lab, "a")
	lab.KillDB()
	if _, err := lab.VSCtl(ctx, "show"); err == nil {
		t.Error("ovs-vsctl works after KillDB")
	}
	check(t, lab.StartDB(ctx))
	b := guest(ctx, t, lab, "b")
	_, err := ovstest.Exchange(ctx, a, b, 3)
	check(t, err)
}
