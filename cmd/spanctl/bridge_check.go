package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"spanctl/ovs/migrate"
)

// pass tries the checks, each until it succeeds, and returns whether all have before ctx ended.
func (m *bridgeMigration) pass(ctx context.Context, j *migrate.Journal) bool {
	type check struct {
		what string
		try  func(context.Context) error
	}
	var checks []check
	if m.gateway {
		checks = append(checks, check{"the gateways", func(ctx context.Context) error { return migrate.AskGateways(ctx, j.State.Host, j.Layout.New) }})
	}
	for _, command := range m.checks {
		checks = append(checks, check{"check " + command, func(ctx context.Context) error {
			out, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}})
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, c := range checks {
		for last := ""; ; {
			err := c.try(ctx)
			if err == nil {
				_ = m.view().bridgeStep(c.what + ": ok")
				break
			}
			if text := err.Error(); text != last && ctx.Err() == nil {
				_, _ = fmt.Fprintf(m.stderr, "spanctl: %s: %s\n", c.what, text)
				last = text
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return false
			}
		}
	}
	return true
}

// isTerminalIn tells whether somebody can press Enter there.
func isTerminalIn(r io.Reader) bool {
	file, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
