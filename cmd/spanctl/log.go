package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	slogjournal "github.com/systemd/slog-journal"
)

// The log formats. Without a setting it is that of the output.
const (
	logText     = "text"
	logJSON     = "json"
	logJournald = "journald"
)

// journalSocket is where systemd-journald listens, systemd-journald.service(8). What is written while it does not is lost
// without an error, so whether it is there is asked before.
const journalSocket = "/run/systemd/journal/socket"

// newLog returns a log of that format.
func newLog(format string, level slog.Level, stderr io.Writer) (*slog.Logger, error) {
	options := &slog.HandlerOptions{Level: level}
	switch format {
	case logText:
		return slog.New(slog.NewTextHandler(stderr, options)), nil
	case logJSON:
		return slog.New(slog.NewJSONHandler(stderr, options)), nil
	case logJournald:
		if _, err := os.Stat(journalSocket); err != nil {
			return nil, fmt.Errorf("%w: log format journald: no journal of systemd here: %w; write text or json", errUsage, err)
		}
		handler, err := slogjournal.NewHandler(&slogjournal.Options{Level: level, ReplaceAttr: journalAttr, ReplaceGroup: journalKey})
		if err != nil {
			return nil, fmt.Errorf("log format journald: %w", err)
		}
		return slog.New(handler), nil
	}
	return nil, fmt.Errorf("%w: log format %q; write text, json or journald", errUsage, format)
}

// journalAttr writes durations as people do: the handler's own would be microseconds without a unit.
func journalAttr(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return slog.Attr{Key: journalKey(a.Key), Value: a.Value}
}

// journalKey is the name as the journal takes it, which drops fields with others: A-Z, 0-9 and _, and a letter first.
func journalKey(key string) string {
	return "SPANCTL_" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, key)
}
