package ovs_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// A hand does what comes to its mind to a database, for TestAnyHistory: as
// administrators, hypervisors and other tools do.
type hand struct {
	*testing.T
	*rand.Rand
	lab   *ovstest.Lab
	modes map[string]string // by port: the VLAN mode that it wants
	steps []string
}

func (h *hand) one(list ...string) string { return list[h.IntN(len(list))] }
func (h *hand) port() string              { return fmt.Sprintf("p%d", h.IntN(7)) }
func (h *hand) name() string              { return h.one("a", "b", "c", "d") }

// sessions are one or two random sessions.
func (h *hand) sessions() string {
	var b strings.Builder
	for _, name := range slices.Compact(slices.Sorted(slices.Values([]string{h.name(), h.name()}))) {
		source := h.one("{interface: "+h.port()+"}", "{role: all}", "{role: all, bridge: br0}", "{interface: \"p[0-3]\"}, {role: host}", "{interface: \"p*\", vlans: [1-3, 7]}",
			"{interface: "+h.port()+", direction: from}, {interface: "+h.port()+", direction: to, vlans: [7]}")
		destination := h.one("interface: "+h.port(), "interface: "+h.port(), "interface: "+h.port(), "vlan: 99", "interface: absent",
			"interface: "+h.one("p0", "p1")+"}, {interface: "+h.one("p2", "p3", "p4"), "interface: p1}, {interface: absent", "interface: p1}, {erspan: {remote: 192.0.2.1, session: 7}")
		extra := h.one("", "", "", ", snaplen: 64", ", strip_vlan: true", ", enabled: false", ", expires: 2020-01-01T00:00:00Z", ", description: words")
		fmt.Fprintf(&b, "%s: {sources: [%s], destinations: [{%s}]%s}\n", name, source, destination, extra)
	}
	return b.String()
}

// act does one thing to the database.
func (h *hand) act() string {
	snap := look(h.T, h.lab)
	bridge := &snap.Bridges[h.IntN(len(snap.Bridges))]
	port := h.port()
	owner := slices.IndexFunc(snap.Bridges, func(b plan.Bridge) bool { return b.Port(port) != nil })
	mirror := ""
	if len(bridge.Mirrors) > 0 {
		mirror = bridge.Mirrors[h.IntN(len(bridge.Mirrors))].UUID
	}
	switch n := h.IntN(10); {
	case owner < 0 && !bridge.Managed():
		h.modes[port] = ""
		return "add-port " + bridge.Name + " " + port
	case owner >= 0 && n < 3:
		delete(h.modes, port)
		return "del-port " + port
	case owner >= 0 && n < 5:
		p := snap.Bridges[owner].Port(port)
		if _, borrowed := p.ExternalIDs[plan.KeySavedPrefix+"vlan_mode"]; borrowed {
			return "set Port " + port + " external_ids:theirs=2"
		}
		h.modes[port] = h.one("access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel")
		return "set Port " + port + " vlan_mode=" + h.modes[port] + " tag=" + h.one("[]", "5")
	case mirror == "":
		return "-- --id=@m create Mirror name=" + h.one("theirs", "spanctl-a") + " snaplen=64 -- add Bridge " + bridge.Name + " mirrors @m"
	case n == 5:
		return "clear Bridge " + bridge.Name + " mirrors"
	case n == 6:
		return "set Mirror " + mirror + " select_all=" + h.one("true", "false") + " select_vlan=" + h.one("[]", "1,2,3") + " external_ids:theirs=1"
	case n == 7:
		return "clear Mirror " + mirror + " " + h.one("output_port", "select_src_port", "snaplen")
	case n == 8:
		return "set Mirror " + mirror + " name=renamed output_vlan=" + h.one("[]", "99")
	}
	return h.one("set open . external_ids:spanctl/session/"+h.name()+"=broken", "remove open . external_ids spanctl/session/"+h.name(), "set open . external_ids:theirs=1")
}

// foreign is what is not spanctl's, a line each.
func foreign(s *plan.Snapshot) string {
	theirs := func(ids map[string]string) map[string]string {
		ids = maps.Clone(ids)
		maps.DeleteFunc(ids, func(key, _ string) bool { return strings.HasPrefix(key, "spanctl") })
		return ids
	}
	var b strings.Builder
	var ports []string // some are borrowed: on a tap bridge
	for i := range s.Bridges {
		for _, p := range s.Bridges[i].Ports {
			if !p.Managed() {
				home := s.Bridges[i].Name
				if s.Bridges[i].Managed() {
					home = p.ExternalIDs[plan.KeySavedPrefix+"bridge"]
				}
				ports = append(ports, fmt.Sprintln("port", p.UUID, home, p.Name, p.Tag != nil, p.Trunks, p.Protected, theirs(p.ExternalIDs), p.Interfaces))
			}
		}
		for _, m := range s.Bridges[i].Mirrors {
			if !m.Managed() && !s.Bridges[i].Managed() {
				writeValue(&b, "mirror", reflect.ValueOf(m))
			}
		}
	}
	slices.Sort(ports)
	return strings.Join(ports, "") + b.String()
}

// TestAnyHistory lets many hands and spanctl work on one database in turn, over TCP:
// without rules, which need ovs-vswitchd.
// Whatever has happened, apply succeeds in one transaction, leaves nothing to
// do and nothing of others changed; and when all sessions are deleted, all that
// is spanctl's is gone and every port has its own VLAN mode.
func TestAnyHistory(t *testing.T) {
	t.Parallel()
	const rounds = 25
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			lab := start(t, ovstest.Config{Bridges: []string{"br0", "br1"}})
			lab.DB = "tcp:127.0.0.1:" + listen(t, lab, "ptcp:0:127.0.0.1")
			h := &hand{T: t, Rand: rand.New(rand.NewPCG(seed, 1)), lab: lab, modes: map[string]string{}}
			defer func() {
				if t.Failed() {
					t.Log(strings.Join(h.steps, "\n"))
				}
			}()
			settle := func(planner ovs.Planner) (committed bool) {
				before := foreign(look(t, lab))
				committed = carryOutAny(t, lab, planner)
				if after := foreign(look(t, lab)); after != before {
					t.Fatalf("others' rows are\n%s\nand were\n%s", after, before)
				}
				return committed
			}
			for range rounds {
				for range 1 + h.IntN(3) {
					h.steps = append(h.steps, h.act())
					shell(t, lab, h.steps[len(h.steps)-1])
				}
				switch h.IntN(4) {
				case 0:
					h.steps = append(h.steps, "apply")
					settle(put(t, ""))
				case 1:
					if names := slices.Sorted(maps.Keys(look(t, lab).Intent)); len(names) > 0 {
						name := h.one(names...)
						h.steps = append(h.steps, "delete "+name)
						settle(without(name))
					}
				default:
					sessions := h.sessions()
					h.steps = append(h.steps, sessions)
					planner, names := put(t, sessions), slices.Collect(maps.Keys(parse(t, sessions)))
					if p, err := planner(look(t, lab)); err == nil && p.Refused(names) == nil { // as the program does
						settle(planner)
					}
				}
			}
			committed := settle(without())
			snap := look(t, lab)
			// Where another hand has deleted the last session, and it had no
			// rows, the revision stays until the next transaction.
			if len(snap.Intent) > 0 || committed && snap.Revision != "" {
				t.Errorf("left: revision %q, intent %v", snap.Revision, snap.Intent)
			}
			for _, bridge := range snap.Bridges {
				if bridge.Managed() || slices.ContainsFunc(bridge.Mirrors, func(m plan.Mirror) bool { return m.Managed() }) {
					t.Errorf("left: bridge %s, mirrors %+v", bridge.Name, bridge.Mirrors)
				}
				for _, p := range bridge.Ports {
					if p.Managed() || p.VLANMode != h.modes[p.Name] {
						t.Errorf("left: port %s with mode %q, want %q", p.Name, p.VLANMode, h.modes[p.Name])
					}
				}
			}
		})
	}
}

// carryOutAny applies a plan, whether there is anything to do or not, and wants
// nothing left to do.
func carryOutAny(t *testing.T, lab *ovstest.Lab, planner ovs.Planner) (committed bool) {
	t.Helper()
	before := transactions(t, lab)
	applied := apply(t, lab, planner)
	if sent := transactions(t, lab) - before; sent != btoi(applied.Committed) {
		t.Fatalf("%d transactions", sent)
	}
	stored := put(t, "")
	if p, err := stored(look(t, lab)); err != nil || !p.Empty() && len(p.Tidy().Changes) != len(p.Changes) {
		t.Fatalf("left to do (%v): %+v", err, p.Changes)
	} else if !p.Empty() {
		apply(t, lab, stored)
		if p, err := stored(look(t, lab)); err != nil || !p.Empty() {
			t.Fatalf("left to do (%v): %+v", err, p.Changes)
		}
	}
	return applied.Committed
}
