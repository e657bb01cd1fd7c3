package ovs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

// ErrRemote indicates that the text does not name an OVSDB remote.
var ErrRemote = errors.New("not an OVSDB remote")

// ErrUnreachable indicates that the database did not answer, or not in time,
// or not as an Open_vSwitch database does.
var ErrUnreachable = errors.New("OVSDB is unreachable")

// ErrSchema indicates that the database answers, but lacks what spanctl needs: it is of
// an Open vSwitch that is too old, or of one that has changed what a column holds.
var ErrSchema = errors.New("the schema of the database is not supported")

// ErrPermission indicates that the database may not be used: the socket's
// rights, a certificate, or the server's role-based access control.
var ErrPermission = errors.New("no permission to use OVSDB")

// ErrConflict indicates that others kept changing the rows that a plan
// depends on. Nothing was changed.
var ErrConflict = errors.New("others keep changing the database")

// ErrRejected indicates that the database refused a transaction. Nothing was
// changed.
var ErrRejected = errors.New("OVSDB refused the transaction")

// ErrSecret indicates that the file with a tunnel's key cannot be used. Nothing
// was changed.
var ErrSecret = errors.New("no key for the tunnel")

// ErrNotInForce indicates that a transaction was committed, but that
// ovs-vswitchd was not seen to take it in.
var ErrNotInForce = errors.New("committed, but not yet seen in force")

// ErrNoLog indicates that there is no log to read history from.
var ErrNoLog = errors.New("no history can be read")

// ErrDamaged indicates that a database's log cannot be read to its end.
var ErrDamaged = errors.New("the log is damaged")

// unreachable sorts an error of the connection into ErrPermission and
// ErrUnreachable.
func unreachable(remote string, err error) error {
	text := err.Error()
	switch {
	case errors.Is(err, os.ErrPermission) || strings.Contains(text, "permission denied"):
		return fmt.Errorf("%w: %s: %w; run as root, or as a user who may write that socket", ErrPermission, remote, err)
	case strings.Contains(text, "tls:") || strings.Contains(text, "x509:"):
		return fmt.Errorf("%w: %s: %w; check --ca-cert, --certificate and --private-key", ErrPermission, remote, err)
	case strings.Contains(text, "failed to connect to ssl:") && (strings.Contains(text, "listdbs failure") || strings.Contains(text, ": not connected")):
		// In TLS 1.3 a server refuses a client's certificate after the
		// handshake, and may be gone before its reason is read.
		return fmt.Errorf("%w: %s: %w; the server ended the connection and may have refused the certificate: check --ca-cert, --certificate and --private-key",
			ErrPermission, remote, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %s: no answer in time; check that ovsdb-server runs and answers there, or give more --timeout", ErrUnreachable, remote)
	case errors.Is(err, context.Canceled):
		return err
	}
	return fmt.Errorf("%w: %s: %w; check that ovsdb-server runs and that --db names its socket", ErrUnreachable, remote, err)
}

// outcome turns the results of a transaction into an error: ErrConflict if a
// guard failed, a row that is used has gone or a name is taken, ErrRejected
// otherwise.
func outcome(results []ovsdb.OperationResult, ops []ovsdb.Operation) error {
	failed, all := ovsdb.CheckOperationResults(results, ops)
	if all == nil {
		return nil
	}
	for i, f := range failed { // they say more than how many they are
		f := fmt.Errorf("%s of %s: %w", f.Operation().Op, f.Operation().Table, f)
		if i == 0 {
			all = f
		} else {
			all = fmt.Errorf("%w; %w", all, f)
		}
	}
	var timedOut *ovsdb.TimedOut
	var integrity *ovsdb.ReferentialIntegrityViolation
	// Names are unique: somebody has made a row with one that was free.
	taken := strings.Contains(all.Error(), "identical values")
	if errors.As(all, &timedOut) || errors.As(all, &integrity) || taken {
		return fmt.Errorf("%w: %w", ErrConflict, all)
	}
	if strings.Contains(all.Error(), "permission error") {
		return fmt.Errorf("%w: %w", ErrPermission, all)
	}
	return fmt.Errorf("%w: %w", ErrRejected, all)
}
