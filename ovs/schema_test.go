package ovs_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
)

// A schema is vswitch.ovsschema as a test changes it (RFC 7047 section 3.2).
type schema map[string]any

func installedSchema(t *testing.T) schema {
	t.Helper()
	text, err := os.ReadFile("/usr/share/openvswitch/vswitch.ovsschema")
	check(t, err)
	s := schema{}
	check(t, json.Unmarshal(text, &s))
	delete(s, "cksum")
	s.Remove("Mirror", "filter") // there since OVS 3.4
	return s
}

func (s schema) tables() map[string]any { return s["tables"].(map[string]any) }

func (s schema) columns(table string) map[string]any {
	return s.tables()[table].(map[string]any)["columns"].(map[string]any)
}

// Add adds a column, or gives it another type.
func (s schema) Add(table, column string, typ any) {
	s.columns(table)[column] = map[string]any{"type": typ}
}

// Remove removes a column, or a table, and what refers to it.
func (s schema) Remove(table, column string) {
	if column == "" {
		delete(s.tables(), table)
		return
	}
	delete(s.columns(table), column)
	delete(s.tables()[table].(map[string]any), "indexes")
}

// Write returns a file with the schema.
func (s schema) Write(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(s)
	check(t, err)
	file := filepath.Join(t.TempDir(), "test.ovsschema")
	check(t, os.WriteFile(file, text, 0o600))
	return file
}

// Start starts a database of that schema, without bridges.
func (s schema) Start(t *testing.T) *ovstest.Lab {
	t.Helper()
	return start(t, ovstest.Config{Schema: s.Write(t), Bridges: []string{}})
}

var (
	optionalText = map[string]any{"key": "string", "min": 0, "max": 1}
	textMap      = map[string]any{"key": "string", "value": "string", "min": 0, "max": "unlimited"}
)

// transact sends one transaction, as JSON, by OVS's own client: ovs-vsctl
// knows only the columns of its own release.
func transact(t *testing.T, lab *ovstest.Lab, operations string) {
	t.Helper()
	if out := tool(t, "ovsdb-client", "transact", lab.DB, `["Open_vSwitch",`+operations+`]`); strings.Contains(out, "error") {
		t.Fatalf("%s: %s", operations, out)
	}
}

// TestSchemaWithFilter reads and mends Mirror.filter, of OVS 3.4, where the
// server has it.
func TestSchemaWithFilter(t *testing.T) {
	t.Parallel()
	s := installedSchema(t)
	s.Add("Mirror", "filter", optionalText)
	lab := s.Start(t)
	shell(t, lab, "add-br br0 -- add-port br0 vif1.0 -- add-port br0 vif8.0 -- add-port br0 vif9.0 -- set open . ovs_version=3.5.0")
	shell(t, lab, "-- --id=@p get Port vif8.0 -- --id=@m create Mirror name=theirs output_port=@p -- set Bridge br0 mirrors=@m")
	transact(t, lab, `{"op":"update","table":"Mirror","where":[["name","==","theirs"]],"row":{"filter":"tcp,tp_dst=80"}}`)
	apply(t, lab, put(t, session))
	transact(t, lab, `{"op":"update","table":"Mirror","where":[["name","==","spanctl-audit"]],"row":{"filter":"icmp"}}`)
	snap := look(t, lab)
	mirrors := snap.Bridges[0].Mirrors
	if !snap.MirrorFilter || mirrors[0].Filter != "icmp" || mirrors[1].Filter != "tcp,tp_dst=80" {
		t.Errorf("filter column %v, mirrors %+v", snap.MirrorFilter, mirrors)
	}
	carryOut(t, lab, put(t, ""), true)
	if rows := dump(t, lab); strings.Contains(rows, "icmp") || !strings.Contains(rows, "filter tcp,tp_dst=80") {
		t.Errorf("rows are\n%s", rows)
	}
}

// TestSchemas applies, changes and deletes on servers of other releases.
func TestSchemas(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(schema){
		"without filter": func(schema) {},
		"with filter":    func(s schema) { s.Add("Mirror", "filter", optionalText) },
		"unknown columns": func(s schema) {
			for _, table := range dumped {
				s.Add(table, "a_later_column", textMap)
				s.Add(table, "z_later_column", "integer")
			}
			s.tables()["Later"] = map[string]any{"columns": map[string]any{"name": map[string]any{"type": "string"}}, "isRoot": true}
		},
		"unused columns gone": func(s schema) {
			s.Remove("Port", "cvlans")
			s.Remove("Interface", "ingress_policing_kpkts_rate")
			s.Remove("Bridge", "rstp_status")
		},
		"optional and not": func(s schema) {
			optionalBool := map[string]any{"key": "boolean", "min": 0, "max": 1}
			s.Add("Port", "protected", optionalBool)
			s.Add("Bridge", "stp_enable", optionalBool)
			s.Add("Mirror", "select_all", optionalBool)
			s.Add("Mirror", "name", optionalText)
			s.Add("Interface", "type", optionalText)
			s.Add("Bridge", "datapath_type", optionalText)
			s.Add("Open_vSwitch", "ovs_version", "string")
		},
		"unused tables gone": func(s schema) {
			s.Remove("Open_vSwitch", "datapaths")
			for _, table := range []string{"Datapath", "CT_Zone", "CT_Timeout_Policy"} {
				s.Remove(table, "")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := installedSchema(t)
			change(s)
			lab := s.Start(t)
			shell(t, lab, "add-br br0 -- add-port br0 vif1.0 -- add-port br0 vif8.0 -- add-port br0 vif9.0 -- add-br br1 -- add-port br1 vif2.0 -- set open . ovs_version=3.1.0")
			if look(t, lab).MirrorFilter != (name == "with filter") {
				t.Error("filter column seen, or not")
			}
			carryOut(t, lab, put(t, session), true)
			carryOut(t, lab, put(t, strings.Replace(session, "}]}", "}], snaplen: 64}", 1)), true)
			hub := "audit: {sources: [{interface: \"vif[12].0\"}], destinations: [{interface: vif9.0}, {interface: vif8.0}]"
			carryOut(t, lab, put(t, hub+"}"), true)
			carryOut(t, lab, put(t, hub+", snaplen: 64}"), true)
			carryOut(t, lab, without(), true)
		})
	}
}

// TestSchemaLacks dials servers that lack what spanctl needs.
func TestSchemaLacks(t *testing.T) {
	t.Parallel()
	for _, missing := range []string{
		"Mirror.select_vlan", "Mirror.snaplen", "Mirror.external_ids", "Mirror.statistics", "Port.vlan_mode", "Interface.link_state",
		"Interface.statistics", "Interface.status", "Open_vSwitch.ovs_version", "Open_vSwitch.next_cfg", "Bridge.mirrors", "Mirror",
	} {
		t.Run(missing, func(t *testing.T) {
			t.Parallel()
			s := installedSchema(t)
			table, column, _ := strings.Cut(missing, ".")
			want := " lacks " + missing + "; "
			if column == "" {
				s.Remove("Bridge", "mirrors")
				want = " lacks Bridge.mirrors, " + missing + "; "
			}
			s.Remove(table, column)
			wantUnsupported(t, s, want)
		})
	}
}

// wantUnsupported dials a server with a schema that does not do.
func wantUnsupported(t *testing.T, s schema, want string) {
	t.Helper()
	dir := t.TempDir() // ovs-vsctl, which a lab needs, knows some of the columns too
	path := func(name string) string { return filepath.Join(dir, name) }
	tool(t, "ovsdb-tool", "create", path("conf.db"), s.Write(t))
	cmd := exec.Command("ovsdb-server", path("conf.db"), "--remote=punix:"+path("db.sock"), "--unixctl="+path("ctl"), "-vconsole:off")
	check(t, twoPorts(t).Launch(cmd))
	t.Cleanup(func() {
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	})
	answers(t, path("db.sock"))
	_, err := ovs.Dial(within(t, patience), "unix:"+path("db.sock"), ovs.TLS{}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ovs.ErrSchema) || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, want %q", err, want)
	}
}

// TestSchemaOfOtherType dials servers whose columns are not what they are elsewhere, so that something would be lost.
func TestSchemaOfOtherType(t *testing.T) {
	t.Parallel()
	for name, typ := range map[string]any{
		"Mirror.snaplen": "string", "Mirror.output_vlan": map[string]any{"key": "integer", "min": 0, "max": 2}, "Port.external_ids": "string",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := installedSchema(t)
			table, column, _ := strings.Cut(name, ".")
			s.Add(table, column, typ)
			wantUnsupported(t, s, " has "+name+" as another type")
		})
	}
}

// TestOtherDatabase dials a server that has no Open_vSwitch database, and one
// that has another beside it.
func TestOtherDatabase(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	path := func(name string) string { return filepath.Join(lab.Dir, name) }
	other := installedSchema(t)
	other["name"] = "Other"
	file := other.Write(t)
	tool(t, "ovsdb-tool", "create", path("other.db"), file)
	cmd := exec.Command("ovsdb-server", path("other.db"), "--remote=punix:"+path("other.sock"), "--unixctl="+path("other.ctl"), "-vconsole:off")
	check(t, lab.Launch(cmd))
	t.Cleanup(func() {
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	})
	answers(t, path("other.sock"))
	_, err := ovs.Dial(within(t, patience), "unix:"+path("other.sock"), ovs.TLS{}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, ovs.ErrUnreachable) || !strings.Contains(err.Error(), "Open_vSwitch not found") {
		t.Errorf("error is %v", err)
	}
	tool(t, "ovsdb-tool", "create", path("second.db"), file)
	tool(t, "ovs-appctl", "--target="+path("ovsdb-server.ctl"), "ovsdb-server/add-db", path("second.db"))
	carryOut(t, lab, put(t, session), true)
}

// TestNoRoot observes a database that was never initialised.
func TestNoRoot(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	transact(t, lab, `{"op":"delete","table":"Open_vSwitch","where":[]}`)
	conn := dial(t, lab.DB)
	_, err := conn.Observe(within(t, patience))
	if !errors.Is(err, ovs.ErrUnreachable) || !strings.Contains(err.Error(), "ovs-vsctl init") {
		t.Errorf("Observe: %v", err)
	}
	if _, err := conn.Apply(within(t, patience), put(t, session), t.Name()); !errors.Is(err, ovs.ErrUnreachable) {
		t.Errorf("Apply: %v", err)
	}
	// What the error names mends it.
	vsctl(t, lab, "init")
	waitUntil(t, "the root", func() bool { _, err := conn.Observe(within(t, patience)); return err == nil })
}
