package ovs_test

import (
	"fmt"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// TestObserveIsOfOneMoment observes again and again while another hand
// replaces every guest's rows in one transaction each time. No snapshot may
// show a state that never was: fewer guests, a port without its interface, or
// a mirror that lacks a port.
func TestObserveIsOfOneMoment(t *testing.T) {
	t.Parallel()
	const guests, rounds = 25, 40
	lab := start(t, ovstest.Config{})
	replace := func(round int) {
		args := []string{"--if-exists", "del-br", "br0", "--", "add-br", "br0", "--", "set", "Open_vSwitch", ".", fmt.Sprintf("ovs_version=%d", round)}
		sources := ""
		for g := range guests {
			name := fmt.Sprintf("vif%d.%d", round, g)
			args = append(args, "--", "add-port", "br0", name, "--", fmt.Sprintf("--id=@p%d", g), "get", "Port", name)
			sources += fmt.Sprintf(",@p%d", g)
		}
		args = append(args, "--", "--id=@m", "create", "Mirror", "name=m", "select_src_port="+sources[1:], "--", "set", "Bridge", "br0", "mirrors=@m")
		if _, err := lab.VSCtl(within(t, patience), args...); err != nil {
			t.Error(err)
		}
	}
	replace(0)
	conn := dial(t, lab.DB)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for round := range rounds {
			replace(round + 1)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if what := torn(observe(t, conn), guests); what != "" {
			t.Errorf("snapshot has %s", what)
			break
		}
	}
	<-done
	await(t, conn, "the last round", func(s *plan.Snapshot) bool { return s.OVSVersion == fmt.Sprint(rounds) })
}

// torn says what a snapshot has that never was.
func torn(s *plan.Snapshot, guests int) string {
	if len(s.Bridges) != 1 {
		return fmt.Sprintf("%d bridges", len(s.Bridges))
	}
	bridge := &s.Bridges[0]
	if len(bridge.Ports) != guests+1 {
		return fmt.Sprintf("%d ports", len(bridge.Ports))
	}
	for i := range bridge.Ports {
		if p := &bridge.Ports[i]; len(p.Interfaces) != 1 || p.Interfaces[0].Name != p.Name {
			return "port " + p.Name + " without its interface"
		}
	}
	if len(bridge.Mirrors) != 1 || len(bridge.Mirrors[0].SelectSrc) != guests {
		return "a mirror that lacks ports"
	}
	want := fmt.Sprintf("vif%s.0", s.OVSVersion)
	if bridge.Port(want) == nil {
		return "a root of another moment than its ports: " + s.OVSVersion
	}
	return ""
}
