package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spanctl/ovs/migrate"
)

func bridgeWatchdogCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "watchdog BRIDGE",
		Short: "Put a migration back that nobody confirms (started by migrate)",
		Long: `Watch over the migration of a bridge until it is confirmed or put back, and finish
what another spanctl has begun and died of.`,
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGINT)
			folder, err := migrate.Open(a.settings.GetString(keyStateDir), args[0])
			if err != nil {
				return err
			}
			w := migrate.Watchdog{
				Log: func(err error) { a.log.Error("watchdog", "error", err) },
				Restore: func(ctx context.Context, f *migrate.Folder, j *migrate.Journal, reason string) error {
					return a.resume(ctx, f, j, func(ctx context.Context, m *migrate.Migration) error { return a.putBack(ctx, m, reason) })
				},
				Commit: func(ctx context.Context, f *migrate.Folder, j *migrate.Journal) error {
					return a.resume(ctx, f, j, func(ctx context.Context, m *migrate.Migration) error { return m.Commit(ctx, a.makeLast) })
				},
			}
			return w.Watch(cmd.Context(), folder)
		},
	}
}

// resume goes on with a migration, on a connection of its own: whatever the one before has seen is long ago.
func (a *app) resume(
	ctx context.Context, f *migrate.Folder, j *migrate.Journal, do func(context.Context, *migrate.Migration) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, migrate.Limit)
	defer cancel()
	conn, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return do(ctx, migrate.Resume(f, j, conn, comment("bridge watchdog")))
}

// startWatchdog starts the watchdog, unless it runs, and returns when it watches. It is a service of systemd where there is
// one, so that it does not end with the session of who migrates; else a session of its own.
func (a *app) startWatchdog(ctx context.Context, bridge string, folder *migrate.Folder) error {
	if folder.Watched() {
		return nil
	}
	dir, err := filepath.Abs(a.settings.GetString(keyStateDir))
	if err != nil {
		return err
	}
	db, err := absolute(a.settings.GetString("db"))
	if err != nil {
		return err
	}
	args := []string{"bridge", "watchdog", bridge, "--" + keyStateDir, dir, "--db", db, "--log-level", "error"}
	for _, key := range []string{"ca-cert", "certificate", "private-key"} {
		if file := a.settings.GetString(key); file != "" {
			if file, err = filepath.Abs(file); err != nil {
				return err
			}
			args = append(args, "--"+key, file)
		}
	}
	log, err := os.OpenFile(filepath.Join(folder.Path(), "watchdog.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("starting the watchdog: %w", err)
	}
	defer log.Close()
	// A test's binary is spanctl by the name that it is called by.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if service := serviceOf(args); service != nil {
		cmd = service
	}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the watchdog: %w", err)
	}
	go func() { _ = cmd.Wait() }() // it outlives this process, most often
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !folder.Watched() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			said, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the watchdog does not start: %w: %s", ctx.Err(), said)
		}
	}
	return nil
}

// absolute is a remote whose sockets are found from any directory.
func absolute(remote string) (string, error) {
	list := strings.Split(remote, ",")
	for i, one := range list {
		if file, local := strings.CutPrefix(one, "unix:"); local {
			file, err := filepath.Abs(file)
			if err != nil {
				return "", err
			}
			list[i] = "unix:" + file
		}
	}
	return strings.Join(list, ","), nil
}

// serviceOf is a command that has systemd run spanctl as a transient service, nil where systemd does not run (sd_booted(3)), or
// has another network than this process.
func serviceOf(args []string) *exec.Cmd {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if its, failed := os.Readlink("/proc/1/ns/net"); err != nil || failed != nil || own != its {
		return nil
	}
	run, err := exec.LookPath("systemd-run")
	if err != nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	const what = "--description=spanctl puts a bridge back unless it is confirmed"
	return exec.Command(run, append([]string{"--quiet", "--collect", what, self}, args...)...)
}
