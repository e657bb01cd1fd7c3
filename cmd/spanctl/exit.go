package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"spanctl/ovs"
	"spanctl/ovs/migrate"
	"spanctl/ovs/openflow"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// The exit codes.
const (
	exitOK          = 0
	exitError       = 1
	exitPending     = 2
	exitInvalid     = 3
	exitRefused     = 4
	exitUnreachable = 5
	exitConflict    = 6
	exitDegraded    = 7
	exitInterrupted = 130
)

// exitTable is shown by help and, by a test, in the reference.
const exitTable = `Exit codes:
  0    done; also: applied and waiting for a guest, "delete --all" of nothing
  1    error; also: deleting a session that does not exist
  2    changes are pending (plan --detailed-exitcode)
  3    invalid policy, missing file, wrong usage
  4    plan refused: a limit, a missing capability, a loop
  5    OVSDB or ovs-vswitchd is unreachable or not permitted, within --timeout
  6    conflict: others keep changing the database, or a plan file is stale
  7    degraded: something present is not copied; or committed, but not yet seen in force
  130  interrupted
`

var (
	// errUsage indicates that the command line cannot be understood.
	errUsage = errors.New("usage")
	// errPending indicates that a plan has changes; it prints nothing.
	errPending = errors.New("changes are pending")
	// errDegraded indicates that something present and wanted is not copied.
	errDegraded = errors.New("degraded")
)

func exitCode(err error) int {
	var invalid *policy.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errPending):
		return exitPending
	case errors.Is(err, errDegraded), errors.Is(err, ovs.ErrNotInForce): // whatever the cause, something is committed
		return exitDegraded
	case errors.Is(err, openflow.ErrUnreachable):
		return exitUnreachable
	case errors.As(err, &invalid), errors.Is(err, errUsage), errors.Is(err, ovs.ErrRemote), errors.Is(err, ovs.ErrSecret), errors.Is(err, ovs.ErrNoLog),
		errors.Is(err, migrate.ErrNoBridge), errors.Is(err, migrate.ErrNoMigration),
		errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ovs.ErrUnreachable):
		return exitInvalid
	case errors.Is(err, plan.ErrRefused), errors.Is(err, migrate.ErrRefused), errors.Is(err, openflow.ErrRejected), errors.Is(err, ovs.ErrSchema):
		return exitRefused
	case errors.Is(err, ovs.ErrUnreachable), errors.Is(err, ovs.ErrPermission):
		return exitUnreachable
	case errors.Is(err, ovs.ErrConflict), errors.Is(err, errStale), errors.Is(err, migrate.ErrUnfinished):
		return exitConflict
	}
	return exitError
}

// printError shows an error on stderr, as JSON if that is the output format.
func (a *app) printError(err error, code int) {
	if errors.Is(err, errPending) {
		return
	}
	if a.output() == outputJSON {
		doc := struct {
			FormatVersion int      `json:"format_version"`
			ExitCode      int      `json:"exit_code"`
			Errors        []string `json:"errors"`
		}{plan.FormatVersion, code, strings.Split(err.Error(), "\n")}
		text, _ := json.Marshal(doc) // strings and numbers always encode
		fmt.Fprintf(a.stderr, "%s\n", text)
		return
	}
	var invalid *policy.Errors
	prefix := "spanctl: "
	if errors.As(err, &invalid) {
		prefix = "" // FILE:LINE:COLUMN first, as editors expect it
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(a.stderr, "%s%s\n", prefix, line)
	}
}
