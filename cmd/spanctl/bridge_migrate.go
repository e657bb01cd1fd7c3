package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/ovs/migrate"
	"spanctl/ovs/migrate/persist"
)

func bridgeMigrateCommand(a *app) *cobra.Command {
	m := &bridgeMigration{app: a}
	cmd := &cobra.Command{
		Use:   "migrate BRIDGE",
		Short: "Replace a Linux bridge by Open vSwitch, to be confirmed",
		Long: `Replace a Linux bridge by a bridge of Open vSwitch, under the same name unless
--name gives another one. What is there is written to --state-dir first. After the
change the operator has --confirm to press Enter here, or to run "spanctl bridge
confirm" elsewhere; else everything is put back. With --check or --check-gateway
it is confirmed when all of these succeed, which are tried again until then.

Whatever ends this command - an error, Ctrl-C, kill -9, a connection that breaks -
everything is put back: at once if that is in the middle, else when the time is
over. How long the ports were without forwarding is told.

The host's configuration files are changed when it is confirmed, as "spanctl bridge
plan" shows; "spanctl bridge revert" puts them back.`,
		Example: "  spanctl bridge migrate br0\n  spanctl bridge migrate br0 --check-gateway --check 'ping -c 1 192.0.2.7'",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return m.run(cmd, args[0]) },
	}
	m.layoutFlags.add(cmd)
	cmd.Flags().DurationVar(&m.confirm, "confirm", 2*time.Minute, "how long to wait for the confirmation")
	cmd.Flags().StringArrayVar(&m.checks, "check", nil, "confirm when this command of the shell succeeds; may be repeated")
	cmd.Flags().BoolVar(&m.gateway, "check-gateway", false, "confirm when the gateways of the bridge's default routes answer")
	return cmd
}

// A bridgeMigration is what the migrate command does.
type bridgeMigration struct {
	*app
	layoutFlags
	confirm time.Duration
	checks  []string
	gateway bool

	folder *migrate.Folder
	conn   *ovs.Conn
}

var errPutBack = errors.New("everything was put back")

func (m *bridgeMigration) run(cmd *cobra.Command, bridge string) error {
	if m.confirm <= 0 {
		return fmt.Errorf("%w: --confirm %s; write a duration such as 120s", errUsage, m.confirm)
	}
	ctx := cmd.Context()
	// A terminal that goes must not end this in the middle.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	dialing, cancel := context.WithTimeout(ctx, m.settings.GetDuration("timeout"))
	defer cancel()
	var err error
	if m.conn, err = m.dial(dialing); err != nil {
		return err
	}
	defer m.conn.Close()
	b, err := m.inspect(dialing, m.conn, bridge, m.layoutFlags)
	if err != nil {
		return err
	}
	if err := b.refused(); err != nil {
		return err
	}
	for _, f := range b.findings {
		_, _ = fmt.Fprintf(m.stderr, "spanctl: warning: %s\n", f.Text)
	}
	if m.folder, err = migrate.Open(m.settings.GetString(keyStateDir), bridge); err != nil {
		return err
	}
	if b.files != nil && len(b.files.Files) > 0 {
		_ = m.view().bridgeStep(fmt.Sprintf("When it is confirmed, %d configuration files are changed: %s", len(b.files.Files), strings.Join(b.files.Paths(), ", ")))
	}
	if err := m.change(ctx, b); err != nil {
		return err
	}
	return m.await(ctx, bridge)
}

// change does the steps, or puts back what they did.
func (m *bridgeMigration) change(ctx context.Context, b *bridgeInfo) error {
	if err := m.folder.Make(); err != nil {
		return err
	}
	lock, err := m.folder.TryAct()
	if err != nil {
		return err
	}
	defer lock.Release()
	for _, name := range []string{b.layout.Bridge, b.layout.New} {
		if err := migrate.Free(m.settings.GetString(keyStateDir), name); err != nil {
			return err
		}
	}
	if err := m.retire(b.layout.Bridge); err != nil {
		return err
	}
	root, err := filepath.Abs(m.settings.GetString(keyRoot))
	if err != nil {
		return err
	}
	terms := migrate.Terms{Confirm: m.confirm, Root: root, RuntimeOnly: m.runtimeOnly}
	mig, err := migrate.Begin(m.folder, b.state, b.layout, terms, m.conn, os.Getpid(), comment("bridge migrate"))
	if err != nil {
		return err
	}
	err = persist.Guard(root, b.layout.New, mig.BootID)
	if err == nil {
		err = m.startWatchdog(ctx, b.state.Bridge.Name, m.folder)
	}
	if err == nil {
		err = mig.Run(ctx, m.settings.GetDuration("timeout"), func(s migrate.Step) { _ = m.view().bridgeStep(s.Text) })
	}
	if err == nil {
		return nil
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrate.Limit)
	defer cancel()
	if failed := m.putBack(back, mig, err.Error()); failed != nil {
		return fmt.Errorf("%w\n%w; the watchdog tries again", err, failed)
	}
	return fmt.Errorf("%w: %v", errPutBack, err) // why says nothing of what is there now
}

// await waits for what becomes of it.
func (m *bridgeMigration) await(ctx context.Context, bridge string) error {
	changes, err := fsnotify.NewWatcher()
	if err == nil {
		err = changes.Add(m.folder.Path())
	}
	if err != nil {
		return fmt.Errorf("watching the journal: %w", err)
	}
	defer changes.Close()
	j, err := m.folder.Read()
	if err != nil {
		return err
	}
	ctx, end := context.WithDeadline(ctx, j.Deadline)
	defer end()
	_ = m.view().bridgeStep(fmt.Sprintf("%s without forwarding for %d ms. Confirm within %s: press Enter, or run spanctl bridge confirm %s",
		count(len(j.Layout.Ports), "port was", "ports were"), j.Gap.Milliseconds(), m.confirm, bridge))
	yes := make(chan struct{}, 2)
	if isTerminalIn(m.stdin) {
		go func() {
			if _, err := bufio.NewReader(m.stdin).ReadString('\n'); err == nil {
				yes <- struct{}{}
			}
		}()
	}
	if len(m.checks) > 0 || m.gateway {
		go func(j *migrate.Journal) {
			if m.pass(ctx, j) {
				yes <- struct{}{}
			}
		}(j)
	}
	for {
		if j, err = m.folder.Read(); err != nil {
			return err
		}
		switch j.Phase {
		case migrate.Confirmed:
			return m.view().bridgeDone(j)
		case migrate.Reverted:
			return fmt.Errorf("%w: %s", migrate.ErrNotConfirmed, j.Reason)
		}
		select {
		case <-yes:
			err = m.commit(context.WithoutCancel(ctx), m.folder, m.conn)
		case <-ctx.Done():
			reason := "nobody confirmed it in time"
			if errors.Is(ctx.Err(), context.Canceled) {
				reason = "interrupted"
			}
			ctx = context.WithoutCancel(ctx) // once
			err = m.revert(ctx, m.folder, m.conn, reason, false)
		case <-changes.Events:
		case err = <-changes.Errors:
		}
		if err != nil {
			return err
		}
	}
}
