package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// An ovsSchema is one of OVSDB, RFC 7047 section 3.2.
type ovsSchema struct {
	Name    string               `json:"name"`
	Version string               `json:"version"`
	Tables  map[string]*ovsTable `json:"tables"`
}

type ovsTable struct {
	Columns map[string]json.RawMessage `json:"columns"`
	Indexes [][]string                 `json:"indexes,omitempty"`
	IsRoot  bool                       `json:"isRoot,omitempty"`
	MaxRows int                        `json:"maxRows,omitempty"`
}

// installedSchema is the schema that the installed Open vSwitch ships.
func installedSchema(t *testing.T) *ovsSchema {
	t.Helper()
	text, err := os.ReadFile("/usr/share/openvswitch/vswitch.ovsschema")
	if err != nil {
		t.Fatal(err)
	}
	schema := &ovsSchema{}
	if err := json.Unmarshal(text, schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// write returns a file with the schema.
func (schema *ovsSchema) write(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), schema.Version+".ovsschema")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// set gives TABLE.COLUMN a type, as JSON.
func (schema *ovsSchema) set(name, typ string) {
	name, column, _ := strings.Cut(name, ".")
	table := schema.Tables[name]
	if table.Columns == nil {
		table.Columns = map[string]json.RawMessage{}
	}
	table.Columns[column] = json.RawMessage(`{"type":` + typ + `}`)
}

// remove removes a TABLE or a TABLE.COLUMN, if it is there.
func (schema *ovsSchema) remove(name string) {
	name, column, isColumn := strings.Cut(name, ".")
	table := schema.Tables[name]
	switch {
	case table == nil:
	case !isColumn:
		delete(schema.Tables, name)
	default:
		delete(table.Columns, column)
		table.Indexes = slices.DeleteFunc(table.Indexes, func(columns []string) bool { return slices.Contains(columns, column) })
	}
}

// ovsReleases are what each release has added to vswitch.ovsschema since 2.3, the latest first: tables, columns, and to
// Port.vlan_mode a value. (Compared between the tags of Open vSwitch's repository; those that are not named have
// added nothing, or other values of columns that spanctl does not know.)
var ovsReleases = []struct{ release, version, added string }{
	{"3.4", "8.7.0", "Mirror.filter Flow_Sample_Collector_Set.local_group_id"},
	{"3.3", "8.5.0", "CT_Zone.limit Datapath.ct_zone_default_limit"},
	{"3.2", "8.4.0", "IPFIX.stats_interval IPFIX.template_interval"},
	{"2.16", "8.3.0", "Interface.ingress_policing_kpkts_burst Interface.ingress_policing_kpkts_rate"},
	{"2.13", "8.2.0", "Open_vSwitch.datapaths Datapath CT_Zone CT_Timeout_Policy Controller.controller_queue_size"},
	{"2.12", "8.0.0", "Controller.type"},
	{"2.10", "7.16.1", "Open_vSwitch.dpdk_initialized Open_vSwitch.dpdk_version"},
	{"2.8", "7.15.0", "Port.cvlans Port.vlan_mode"},
	{"2.7", "7.14.0", "Port.protected"},
	{"2.6", "7.14.0", "Interface.mtu_request Mirror.snaplen"},
	{"2.4", "7.12.1", "Bridge.auto_attach AutoAttach Bridge.datapath_version Bridge.mcast_snooping_enable Bridge.rstp_enable Bridge.rstp_status " +
		"IPFIX.other_config Interface.error Interface.lldp Open_vSwitch.datapath_types Open_vSwitch.iface_types " +
		"Port.bond_active_slave Port.rstp_statistics Port.rstp_status"},
	{"2.3", "7.6.0", ""},
}

// asOf is the installed schema without what came after the release.
func asOf(t *testing.T, release string) *ovsSchema {
	t.Helper()
	schema := installedSchema(t)
	for _, r := range ovsReleases {
		if schema.Version = r.version; r.release == release {
			return schema
		}
		for name := range strings.FieldsSeq(r.added) {
			if name == "Port.vlan_mode" { // it has got a value more
				schema.set(name, `{"key":{"type":"string","enum":["set",["trunk","access","native-tagged","native-untagged"]]},"min":0,"max":1}`)
			} else {
				schema.remove(name)
			}
		}
	}
	t.Fatalf("no release %s", release)
	return nil
}

// laterSchema is a schema of the future: more tables, more columns, more values, and columns that have become optional.
func laterSchema(t *testing.T) *ovsSchema {
	t.Helper()
	schema := asOf(t, "3.4")
	schema.Version = "99.0.0"
	schema.set("Mirror.filter", `{"key":"string","min":0,"max":1}`)
	schema.Tables["Later"] = &ovsTable{IsRoot: true}
	schema.set("Later.name", `"string"`)
	for _, table := range monitored {
		schema.set(table+".a_later", `{"key":"string","value":"string","min":0,"max":"unlimited"}`)
		schema.set(table+".z_later", `"integer"`)
		schema.set(table+".later", `{"key":{"type":"uuid","refTable":"Later","refType":"weak"},"min":0,"max":1}`)
	}
	schema.set("Port.vlan_mode", `{"key":{"type":"string","enum":["set",["access","dot1q-tunnel","mesh","native-tagged","native-untagged","trunk"]]},"min":0,"max":1}`)
	schema.set("Bridge.fail_mode", `{"key":{"type":"string","enum":["set",["careful","secure","standalone"]]},"min":0,"max":1}`)
	for _, column := range []string{"Port.protected", "Bridge.stp_enable", "Mirror.select_all"} {
		schema.set(column, `{"key":"boolean","min":0,"max":1}`)
	}
	for _, column := range []string{"Interface.type", "Bridge.datapath_type", "Mirror.name"} {
		schema.set(column, `{"key":"string","min":0,"max":1}`)
	}
	return schema
}

// monitored are the tables that spanctl reads.
var monitored = []string{"Open_vSwitch", "Bridge", "Port", "Interface", "Mirror"}

// The mission's policy, sessions of the other tiers, and one whose include a Mirror's filter could express (OVS 3.4).
const everyTier = `
  audit: {sources: [{role: all}], exclude: [{protocol: tcp, port: 7788-7799}], destinations: [{vm: audit}]}
  direct: {sources: [{vm: a, direction: from}], destinations: [{vm: ids}], snaplen: 128}
  hub: {sources: [{vm: '[ab]', direction: from}], destinations: [{vm: hub1}, {vm: hub2}]}
  web: {sources: [{vm: '[ab]', direction: from}], include: [{ethertype: ipv4, protocol: tcp, dst_port: 80}], destinations: [{vm: web}]}
`

// On the schemas of other releases every command does what it does, real packets are copied as they should be, and what
// others have there is left as it is.
func TestE2ESchemasOfOtherReleases(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]*ovsSchema{
		"2.7": asOf(t, "2.7"), "2.8": asOf(t, "2.8"), "2.12": asOf(t, "2.12"), "2.13": asOf(t, "2.13"), "later": laterSchema(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSiteOf(t, ovstest.Config{Schema: schema.write(t)}, "a", "b", "audit", "ids", "hub1", "hub2", "web", "theirs")
			s.vsctl("--", "--id=@p", "get", "Port", "vif-theirs", "--", "--id=@m", "create", "Mirror", "name=theirs",
				"select_all=true", "select_vlan=7", "output_port=@p", "--", "add", "Bridge", "br0", "mirrors", "@m")
			if name == "later" {
				s.check(s.lab.Transact(s.ctx, `{"op":"insert","table":"Later","row":{"name":"theirs"}}`))
			}
			s.greet(s.guests["a"], s.guests["b"])
			s.markLater(schema)
			before := s.database()
			bare, _ := s.ours()
			file := s.policy(everyTier)
			s.want(exitOK, "validate", file)
			s.want(exitPending, "plan", "-f", file, "--detailed-exitcode")
			s.want(exitOK, "apply", "-f", file)
			s.wantTiers()
			s.markLater(schema) // ours, too
			marked := s.database()
			s.wantNoChanges()
			for name, h := range s.status(exitOK) {
				if h.State != plan.StateActive {
					s.Errorf("%s is %s: %v", name, h.State, h.Problems)
				}
			}
			if out := s.want(exitOK, "get"); strings.Count(out, "destinations:") != 4 {
				s.Errorf("get says\n%s", out)
			}
			s.wantTrace("audit", "--in vif-a udp "+s.to("b"), plan.CopiedYes, 1)
			s.wantTrace("audit", "--in vif-a tcp dst_port=7788 "+s.to("b"), plan.CopiedNo, 0)
			if out := s.want(exitOK, "import"); !strings.Contains(out, "theirs") {
				s.Errorf("import says\n%s", out)
			}
			if lines, _ := s.history("audit"); len(lines) == 0 {
				s.Error("no history")
			}
			s.apply("  direct: {sources: [{vm: a, direction: from}], destinations: [{vm: ids}], snaplen: 64}\n")
			s.wantLater(marked)
			s.want(exitOK, "delete", "--all")
			s.wantSame("after delete", before, s.database(), ofItself, configuration)

			p := s.agent()
			s.apply(everyTier)
			s.restart(s.guests["a"])
			for _, name := range []string{"audit", "direct", "hub", "web"} {
				s.awaitActive(name)
			}
			s.greet(s.guests["a"], s.guests["b"])
			s.wantTiers()
			s.wantLater(before)
			s.want(exitOK, "delete", "--all")
			s.terminate(p)
			s.wantBare(bare)
		})
	}
}

// wantTiers wants each session of everyTier, and the foreign mirror of VLAN 7, to copy exactly what they should.
func (s *site) wantTiers() {
	s.Helper()
	a, b := s.guests["a"], s.guests["b"]
	s.settle()
	captures := map[string]*ovstest.Capture{}
	for _, name := range []string{"b", "audit", "ids", "hub1", "hub2", "web", "theirs"} {
		captures[name] = s.capture(s.guests[name])
	}
	page, replication := tcp(quiet(a), quiet(b), 1000, 80), tcp(quiet(a), quiet(b), 1000, 7788)
	in7, long := ovstest.Tagged(udp(a, b), 7), ovstest.UDP(a, b, 1000, 2000, make([]byte, 300))
	answer := udp(b, a)
	s.send(a, page, replication, in7, long)
	s.check(captures["b"].Fence(s.ctx, a, b)) // the rest is for who is flooded
	s.send(b, answer)
	for name, c := range captures {
		s.check(c.FenceFrame(s.ctx, a, func(payload []byte) []byte {
			switch name {
			case "web":
				return tcpOf(quiet(a), quiet(b), 1000, 80, payload)
			case "theirs":
				return ovstest.Tagged(ovstest.UDP(a, b, 9, 9, payload), 7)
			}
			return ovstest.UDP(a, b, 9, 9, payload)
		}))
	}
	all := [][]byte{page, replication, in7, long}
	for name, want := range map[string][][]byte{
		"b": all, "audit": {page, in7, long, answer}, "ids": {page, replication, in7, long[:128]},
		"hub1": append(all, answer), "hub2": append(all, answer), "web": {page}, "theirs": {in7},
	} {
		var got [][]byte
		for _, f := range captures[name].Frames() {
			got = append(got, f.Data)
		}
		s.wantFrames(name+": ", got, want)
		s.check(captures[name].Err())
	}
}

// markLater fills the columns of every row that only a later schema has.
func (s *site) markLater(schema *ovsSchema) {
	s.Helper()
	if schema.Tables["Later"] == nil {
		return
	}
	var ops []string
	for uuid := range s.database()["Later"] {
		for _, table := range monitored {
			ops = append(ops, fmt.Sprintf(`{"op":"update","table":%q,"where":[],"row":{"a_later":["map",[["k","v"]]],"z_later":7,"later":%s}}`, table, uuid))
		}
	}
	s.check(s.lab.Transact(s.ctx, ops...))
}

// wantLater wants the columns that only a later schema has as they were, in every row that is still there.
func (s *site) wantLater(before database) {
	s.Helper()
	now := s.database()
	for table, rows := range before {
		for uuid, was := range rows {
			is := now[table][uuid]
			for _, column := range []string{"a_later", "z_later", "later"} {
				if is != nil && string(is[column]) != string(was[column]) {
					s.Errorf("%s %s: %s was %s and is %s", table, was["name"], column, was[column], is[column])
				}
			}
		}
	}
}

// On a schema that lacks what spanctl needs each command that connects says so and changes nothing, and the agent goes to
// work when the database is upgraded.
func TestE2ESchemaTooOld(t *testing.T) {
	t.Parallel()
	for release, lacks := range map[string]string{
		"2.6": "version 7.14.0 lacks Port.protected;", "2.4": "version 7.12.1 lacks Mirror.snaplen, Port.protected;",
		"2.3": "version 7.6.0 lacks Interface.error, Mirror.snaplen, Port.protected;",
	} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			cfg := ovstest.Config{Schema: asOf(t, release).write(t)}
			guests := []string{"a", "b", "audit"}
			if release == "2.3" { // with which ovs-vswitchd takes nothing in (OVS 3.1)
				cfg.DatabaseOnly, guests = true, nil
			}
			s := newSiteOf(t, cfg, guests...)
			before := s.database()
			file := s.policy(everything)
			s.want(exitOK, "validate", file)
			for _, args := range [][]string{
				{"plan", "-f", file},
				{"apply", "-f", file},
				{"apply"},
				{"apply", "--dry-run"},
				{"get"},
				{"status"},
				{"delete", "audit"},
				{"delete", "--all"},
				{"import"},
				{"import", "--adopt"},
				{"trace", "--in", "vif-a", "udp"},
				{"agent", "--once"},
			} {
				code, out, stderr := s.spanctl(args...)
				if code != exitRefused || out != "" || !strings.Contains(stderr, lacks+" Open vSwitch 2.7 and later have that") {
					t.Errorf("spanctl %s exits %d and says %s%s", strings.Join(args, " "), code, out, stderr)
				}
			}
			s.wantSame("after commands", before, s.database(), ofItself)
			p := s.startWith([]string{"GORACE=atexit_sleep_ms=0 exitcode=0"}, s.lab.DB, "agent", "--listen", "")
			defer func() { s.wantNoRaces(p) }()
			s.await("the agent to say why", func() bool { return strings.Contains(p.said.String(), lacks) })
			s.wantSame("beside an agent", before, s.database(), ofItself)
			s.convert(func(schema *ovsSchema) { *schema = *installedSchema(t) })
			s.await("the agent", func() bool { return s.leaseText() != "" })
			if cfg.DatabaseOnly {
				return
			}
			s.restartVSwitchd()
			s.apply(everything)
			s.awaitActive("audit")
			s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)

			// Back again: what copies goes on.
			said := strings.Count(p.said.String(), lacks)
			s.convert(func(schema *ovsSchema) { *schema = *asOf(t, release) })
			s.await("the agent to say why again", func() bool { return strings.Count(p.said.String(), lacks) > said })
			s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
			s.convert(func(schema *ovsSchema) { *schema = *installedSchema(t) })
			s.restartVSwitchd()
			s.restart(s.guests["audit"])
			s.awaitActive("audit")
			s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
			s.terminate(p)
		})
	}
}

// restartVSwitchd restarts ovs-vswitchd, as an upgrade does. One that goes on over a conversion does not see the columns
// that have come (OVS 3.1): Port.protected is then not heeded, and running connections do not follow.
func (s *site) restartVSwitchd() {
	s.Helper()
	s.lab.KillVSwitchd()
	s.check(s.lab.StartVSwitchd(s.ctx))
}

// wantNoRaces wants the race detector to have found nothing in a process whose exit code does not tell, but for what the
// client library does where the server ends a connection while it is being made, as it does when its schema changes: it
// waits for goroutines that it is starting (connect and handleDisconnectNotification in client.go of libovsdb v0.8.1).
func (s *site) wantNoRaces(p *process) {
	s.Helper()
	for i, race := range strings.Split(p.said.String(), "WARNING: DATA RACE") {
		if i > 0 && !strings.Contains(race, "libovsdb/client.(*ovsdbClient).connect.gowrap2()") {
			s.Errorf("a data race:%s", race)
		}
	}
}
