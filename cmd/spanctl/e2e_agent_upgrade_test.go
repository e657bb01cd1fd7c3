package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"spanctl/policy/plan"
)

// convert converts the running database to its schema with a change, as an upgrade of Open vSwitch does, and returns the
// file with that schema.
func (s *site) convert(change func(*ovsSchema)) string {
	s.Helper()
	text, err := exec.CommandContext(s.ctx, "ovsdb-client", "get-schema", s.lab.DB, "Open_vSwitch").Output()
	s.check(err)
	var schema ovsSchema
	s.check(json.Unmarshal(text, &schema))
	change(&schema)
	file := schema.write(s.T)
	if out, err := exec.CommandContext(s.ctx, "ovsdb-client", "convert", s.lab.DB, file).CombinedOutput(); err != nil {
		s.Fatalf("ovsdb-client convert: %v: %s", err, out)
	}
	return file
}

// The database is converted to another schema while the agent is connected, as an upgrade of Open vSwitch does it, and then
// replaced by an empty one, and by one that has no root row yet. The agent goes on with what is there.
func TestE2EAgentOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	p := s.agent()
	session := "  audit: {sources: [{vm: '[ab]'}], destinations: [{vm: audit}]}\n"
	s.apply(session)
	s.awaitActive("audit")

	later := s.convert(func(schema *ovsSchema) {
		schema.Version = "99.0.0"
		schema.Tables["Later"] = &ovsTable{}
		schema.set("Later.name", `"string"`)
	})
	s.restart(s.guests["a"])
	s.awaitActive("audit")
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)

	// Replaced: nothing of ours is in it.
	s.lab.KillVSwitchd()
	s.lab.KillDB()
	db := filepath.Join(s.lab.Dir, "conf.db")
	s.check(os.Remove(db))
	if out, err := exec.CommandContext(s.ctx, "ovsdb-tool", "create", db, later).CombinedOutput(); err != nil {
		t.Fatalf("ovsdb-tool create: %v: %s", err, out)
	}
	s.check(s.lab.StartDB(s.ctx))
	s.await("the agent", func() bool { return s.leaseText() != "" })
	if ids := s.vsctl("--no-wait", "get", "Open_vSwitch", ".", "external_ids"); strings.Contains(ids, plan.KeyIntentPrefix) {
		t.Errorf("the agent has stored %s", ids)
	}
	s.terminate(p)
}

// Intent of a later version, and what is none, is left as it is and reported, and hurts no other session.
func TestE2EAgentLeavesLaterIntent(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit", "ids")
	s.agent()
	later := map[string]string{
		"later": `{"version":2,"sources":[{"vm":"a"}],"destinations":[{"vm":"ids"}],"sieve":{"fine":true}}`,
		"junk":  `]`,
	}
	for name, text := range later {
		s.vsctl("set", "Open_vSwitch", ".", `external_ids:"spanctl/session/`+name+`"=`+strconv.Quote(text))
	}
	s.apply("  audit: {sources: [{vm: '[ab]'}], destinations: [{vm: audit}]}\n")
	s.awaitActive("audit")
	for name, text := range later {
		s.await("the report of "+name, func() bool {
			r := s.report(name)
			return r != nil && r.State == plan.StateInvalid
		})
		if got := unquote(s.vsctl("get", "Open_vSwitch", ".", `external_ids:"spanctl/session/`+name+`"`)); got != text {
			t.Errorf("%s was %s and is %s", name, text, got)
		}
	}
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 3)
}
