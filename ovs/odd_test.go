package ovs_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// oddNames are names and values that OVSDB takes and that mean something to a
// shell, to JSON, to a glob, to ovs-vsctl, or to spanctl's own row texts.
var oddNames = []string{
	"a b", `quo"te`, "apo'strophe", "back\\slash", "a=b", "a,b", "a=b,c=d", "x;y|z&", "*", "vif[12]?", "{}", "[]", "-dash", "..", "#hash", "%41%",
	"ünïcode", "日本語", "☃", "🐧", "new\nline", "tab\ttab", "e\u0301", "true", "1", "null", "spanctl-audit", "uuid", "\x01\x1b[31m",
}

// quote writes a string as ovs-vsctl reads it.
func quote(text string) string {
	b, _ := json.Marshal(text) // strings always encode
	return string(b)
}

// TestOddPortNames mirrors ports whose names are odd, to a port whose name is.
func TestOddPortNames(t *testing.T) {
	t.Parallel()
	lab := start(t, ovstest.Config{})
	args := []string{"--", "set", "Open_vSwitch", ".", "ovs_version=3.5.0"}
	for i, name := range append(oddNames, "out put") {
		args = append(args, "--", fmt.Sprintf("--id=@i%d", i), "create", "Interface", "name="+quote(name), "external_ids:vm-id="+quote(name),
			"--", fmt.Sprintf("--id=@p%d", i), "create", "Port", "name="+quote(name), fmt.Sprintf("interfaces=@i%d", i), "external_ids:odd="+quote(name),
			"--", "add", "Bridge", "br0", "ports", fmt.Sprintf("@p%d", i))
	}
	vsctl(t, lab, args...)
	vsctl(t, lab, "set", "Port", "out put", "tag=1")
	sessions := `
odd: {sources: [{external_ids: {odd: "*"}}], except: [{interface: "out put"}], destinations: [{vm: "out put"}]}`
	carryOut(t, lab, put(t, sessions), true)
	want := slices.Sorted(slices.Values(oddNames))
	snap := look(t, lab)
	for _, m := range snap.Bridges[0].Mirrors {
		if !slices.Equal(m.SelectSrc, want) || !slices.Equal(m.SelectDst, want) || m.OutputPort != "out put" {
			t.Errorf("mirror is %+v", m)
		}
	}
	for _, name := range oddNames {
		p := snap.Bridges[0].Port(name)
		if p == nil || p.ExternalIDs["odd"] != name || p.Interfaces[0].ExternalIDs["vm-id"] != name {
			t.Errorf("port %q is %+v", name, p)
		}
	}
	// By a glob that quotes what globs mean by themselves.
	carryOut(t, lab, put(t, `
odd: {sources: [{interface: "[*]"}, {interface: 'vif\[12\]\?'}, {vm: "a=b,c=d"}], destinations: [{interface: "quo\"te"}]}`), true)
	if m := look(t, lab).Bridges[0].Mirrors[0]; !slices.Equal(m.SelectSrc, []string{"*", "a=b,c=d", "vif[12]?"}) || m.OutputPort != `quo"te` {
		t.Errorf("mirror is %+v", m)
	}
	carryOut(t, lab, without(), true)
	if p := look(t, lab).Bridges[0].Port("out put"); *p.Tag != 1 || p.VLANMode != "" || p.ExternalIDs["odd"] != "out put" {
		t.Errorf("the borrowed port is %+v", p)
	}
}

// TestOddBridgeNames mirrors on bridges whose names are odd, with their turns.
func TestOddBridgeNames(t *testing.T) {
	t.Parallel()
	lab := start(t, ovstest.Config{Bridges: []string{}})
	args := []string{"--", "set", "Open_vSwitch", ".", "ovs_version=3.1.0"}
	for i, name := range oddNames {
		refs := ""
		for _, n := range []int{0, 9} {
			id := fmt.Sprintf("%d_%d", i, n)
			port := fmt.Sprintf("vif%d.%d", i, n)
			args = append(args, "--", "--id=@i"+id, "create", "Interface", "name="+port, "--", "--id=@p"+id, "create", "Port", "name="+port, "interfaces=@i"+id)
			refs += ",@p" + id
		}
		args = append(args, "--", fmt.Sprintf("--id=@b%d", i), "create", "Bridge", "name="+quote(name), "ports="+refs[1:],
			"--", "add", "Open_vSwitch", ".", "bridges", fmt.Sprintf("@b%d", i))
	}
	vsctl(t, lab, args...)
	var sessions strings.Builder
	for i := range oddNames {
		fmt.Fprintf(&sessions, "s%d: {sources: [{interface: vif%d.0}], destinations: [{interface: vif%d.9}]}\n", i, i, i)
	}
	carryOut(t, lab, put(t, sessions.String()), true)
	for _, bridge := range look(t, lab).Bridges {
		if len(bridge.Mirrors) != 1 || len(bridge.Ports) != 3 {
			t.Errorf("bridge is %+v", bridge)
		}
	}
	carryOut(t, lab, without(), true)
	for _, bridge := range look(t, lab).Bridges {
		if len(bridge.Mirrors) != 0 || len(bridge.Ports) != 2 {
			t.Errorf("bridge is %+v", bridge)
		}
	}
}

// TestOddValues leaves values of others as they are, on rows that spanctl
// changes too.
func TestOddValues(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	apply(t, lab, put(t, session))
	for _, row := range [][]string{{"Open_vSwitch", "."}, {"Bridge", "br0"}, {"Mirror", "spanctl-audit"}, {"Port", "vif9.0"}} {
		args := append([]string{"set"}, row...)
		for i, value := range oddNames {
			args = append(args, fmt.Sprintf("external_ids:odd%d=%s", i, quote(value)), "external_ids:"+quote(value)+"=key")
		}
		vsctl(t, lab, args...)
	}
	huge := quote(strings.Repeat("huge ☃ ", 10_000))
	for _, table := range []string{"Open_vSwitch", "Port", "Mirror"} {
		transact(t, lab, fmt.Sprintf(`{"op":"mutate","table":%q,"where":[],"mutations":[["external_ids","insert",["map",[["huge",%s]]]]]}`, table, huge))
	}
	vsctl(t, lab, "set", "Port", "vif9.0", "tag=5")
	before := externalIDs(dump(t, lab))
	carryOut(t, lab, put(t, strings.Replace(session, "audit:", "odd: {sources: [{role: all}], destinations: [{interface: vif9.0}]}\naudit:", 1)), true)
	if after := externalIDs(dump(t, lab)); !isSubset(before, after) {
		t.Errorf("values of others are lost: %d lines of %d", len(after), len(before))
	}
	carryOut(t, lab, without(), true)
	for line := range strings.Lines(dump(t, lab)) {
		if strings.Contains(line, "spanctl") && !strings.Contains(line, "spanctl-audit key") && !strings.HasSuffix(line, " spanctl-audit\n") {
			t.Errorf("left: %s", line)
		}
	}
}

// externalIDs are the lines of a dump with others' keys, less those of rows
// that go.
func externalIDs(rows string) []string {
	var lines []string
	for line := range strings.Lines(rows) {
		if strings.HasPrefix(line, "  external_ids:") && !strings.HasPrefix(line, "  external_ids:spanctl") {
			lines = append(lines, line)
		}
	}
	return lines
}

func isSubset(small, large []string) bool {
	have := map[string]bool{}
	for _, line := range large {
		have[line] = true
	}
	return !slices.ContainsFunc(small, func(line string) bool { return !have[line] })
}

// TestManySessions stores 300 sessions, one of them huge, in one transaction,
// changes one and deletes all.
func TestManySessions(t *testing.T) {
	t.Parallel()
	const sessions, destinations = 300, 10
	lab := start(t, ovstest.Config{})
	args := []string{"--", "set", "Open_vSwitch", ".", "ovs_version=3.5.0"}
	for i := range sessions {
		args = append(args, "--", "add-port", "br0", fmt.Sprintf("vif%d.0", i))
	}
	for i := range destinations {
		args = append(args, "--", "add-port", "br0", fmt.Sprintf("out%d", i))
	}
	vsctl(t, lab, args...)
	var text strings.Builder
	for i := range sessions {
		huge := ""
		if i == 0 {
			huge = strings.Repeat("huge ", 20_000)
		}
		fmt.Fprintf(&text, "s%d: {description: %q, sources: [{interface: vif%d.0}], destinations: [{interface: out%d}]}\n", i, huge, i, i%destinations)
	}
	carryOut(t, lab, put(t, text.String()), true)
	snap := look(t, lab)
	if mirrors := snap.Bridges[0].Mirrors; len(snap.Intent) != sessions || len(mirrors) != destinations || len(mirrors[0].SelectSrc) != sessions/destinations {
		t.Errorf("%d sessions, %d mirrors", len(snap.Intent), len(mirrors))
	}
	p := plan.Make(snap, plan.StoredIntent(snap), noon)
	for _, o := range p.Outcomes {
		if o.State != plan.StateActive {
			t.Fatalf("session %s is %s: %s", o.Name, o.State, o.Reason)
		}
	}
	carryOut(t, lab, put(t, "s7: {sources: [{interface: vif8.0}], destinations: [{interface: out0}]}"), true)
	carryOut(t, lab, without(), true)
	if rows := dump(t, lab); strings.Contains(rows, "spanctl") {
		t.Errorf("something is left:\n%s", rows)
	}
}
