package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"spanctl/ovs"
)

func historyCommand(a *app) *cobra.Command {
	var file, since string
	cmd := &cobra.Command{
		Use:   "history [SESSION]...",
		Short: "Show who changed what, when and why",
		Long: `Show the transactions by which spanctl changed the database, of all sessions or of
those named, the newest last: when, by whom, for which sessions and reasons, and
how many rows were made (+), changed (~) and removed (-).

It is read from the log that ovsdb-server keeps in the database's file, so it must
run on the server's host, as root or as a user who may read that. ovsdb-server
compacts the log, at the latest after a day with 100 transactions: what was before
is gone, and history says so. Logs of clustered databases are not read.

What spanctl has logged to the journal of systemd is read as well: it lasts longer,
tells also of databases elsewhere, and of no rows.`,
		Example: "  spanctl history audit --since 24h\n  spanctl history --file /var/backups/conf.db\n  journalctl -t spanctl -o json --all | spanctl history --file -",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), a.settings.GetDuration("timeout"))
			defer cancel()
			h, name, err := a.readHistory(ctx, file)
			if h == nil {
				return err
			}
			h.Transactions = slices.DeleteFunc(h.Transactions, func(t ovs.Transaction) bool {
				return t.Time.Before(from) || len(names) > 0 && !slices.ContainsFunc(t.Sessions, func(s ovs.TracedSession) bool { return slices.Contains(names, s.Name) })
			})
			if err := a.view().history(h, name); err != nil {
				return err
			}
			return err // the log is damaged further on
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "the database's file, or what journalctl -o json --all has printed; - is stdin (default: the file that the server of --db has open)")
	cmd.Flags().StringVar(&since, "since", "", "only what is not older: a duration such as 24h, a date, or a time as in RFC 3339")
	return cmd
}

// readHistory reads the file, stdin, or the file of the database. With an error there may be
// history too.
func (a *app) readHistory(ctx context.Context, file string) (*ovs.History, string, error) {
	log := a.stdin
	if file != "-" {
		var opened *os.File
		var err error
		if file != "" {
			opened, err = ovs.OpenLogFile(file)
		} else {
			opened, file, err = ovs.OpenLog(a.settings.GetString("db"))
		}
		if err != nil {
			return nil, "", err
		}
		defer opened.Close()
		log = opened
	}
	h, err := await(ctx, func() (*ovs.History, error) { return ovs.ReadHistory(ctx, log) })
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return h, file, err
}

// parseSince reads a time, or a duration before now; the empty text is the beginning.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} { // a date begins in UTC
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: --since %q; write a duration such as 24h, a date such as 2027-03-01, or 2027-03-01T15:04:05Z", errUsage, text)
}
