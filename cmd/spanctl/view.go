package main

import (
	"io"
	"os"

	"spanctl/ovs"
	"spanctl/ovs/migrate"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// A view shows results: for people, or as JSON. Results go to stdout, errors
// and logs to stderr.
type view interface {
	valid(sessions map[string]*policy.Session) error
	plan(p *plan.Plan) error
	// applied shows what was done; health is nil if nothing was waited for.
	applied(a *ovs.Applied, health []plan.Health) error
	sessions(doc *policy.Document) error
	// status shows sessions, and the agent, nil if none lives.
	status(health []plan.Health, agent *plan.Lease) error
	// history shows the transactions in the database's file.
	history(h *ovs.History, file string) error
	imports(imports []plan.Import) error
	// trace shows what becomes of a packet; unasked says why the switch was not asked.
	trace(a *plan.Answer, unasked string) error
	// bridges shows Linux bridges and what has become of them.
	bridges(list []bridgeInfo) error
	// bridgePlan shows how a bridge would be migrated.
	bridgePlan(b *bridgeInfo) error
	// bridgeStep shows that a step of a migration begins, or another thing as it happens.
	bridgeStep(text string) error
	// bridgeDone shows what a migration has come to.
	bridgeDone(j *migrate.Journal) error
	version(info versionInfo) error
}

// isTerminal reports whether colours are of use: only on a terminal, and not
// with NO_COLOR (no-color.org).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
