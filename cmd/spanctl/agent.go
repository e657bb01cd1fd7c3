package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"spanctl/ovs"
	"spanctl/policy/plan"
	"spanctl/policy/reconcile"
)

// The agent's settings, which have flags and keys in the configuration file.
const (
	keyQuiet  = "quiet"
	keyAtMost = "at-most"
	keyCheck  = "check"
	keyListen = "listen"
)

var agentKeys = []string{keyQuiet, keyAtMost, keyCheck, keyListen}

// defaultListen is a port that no other exporter of Prometheus has by default.
const defaultListen = "127.0.0.1:9817"

func agentCommand(a *app) *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "agent [--once]",
		Short: "Keep the stored sessions in force",
		Long: `Keep the stored sessions in force: whatever starts, stops, restarts or comes from
another host, whatever others change or delete, whoever stores a session. The agent
does what apply does, whenever something has changed in the database, when
ovs-vswitchd has been started anew, and when a session expires. A row that somebody
keeps changing back is put back a few times, then at intervals of up to a minute,
and reported as contested.

It ends with 0 on SIGTERM and SIGINT, and leaves mirrors as they are. SIGHUP makes
it read its configuration again. If another agent of the database lives this one
stands by.

At --listen it serves /metrics for Prometheus, /healthz (the agent works) and
/readyz (the sessions have been put in force). As a service of systemd it tells when
it is ready, and heeds the watchdog.`,
		Example: "  spanctl agent\n  spanctl agent --once\n  spanctl agent --db ssl:host:6640 -C ca.pem -c cert.pem -p key.pem",
		RunE: func(cmd *cobra.Command, _ []string) error {
			g := newAgent(a)
			if once {
				return g.once(cmd.Context())
			}
			return g.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&once, "once", false, "put the stored sessions in force, report, and end; 7 if something present is not copied")
	flags.Duration(keyQuiet, 20*time.Millisecond, "after a change wait until nothing has changed for so long")
	flags.Duration(keyAtMost, 200*time.Millisecond, "but not longer than this")
	flags.Duration(keyCheck, 5*time.Second, "how often to look at what the database does not tell of: counters, rules, routes")
	flags.String(keyListen, defaultListen, "address of /metrics, /healthz and /readyz; empty for none")
	return cmd
}

// An agent is what the agent command remembers over connections.
type agent struct {
	*app
	state   *state
	contest reconcile.Contest
	refused refused
	track   reconcile.Track
	lease   plan.Lease
	last    map[string]string // the reports of sessions, by name, that were logged
	// complaint is the last error that was logged since all went well.
	complaint string
	ctx       context.Context // ends with the agent
}

func newAgent(a *app) *agent {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	namespace, _ := os.Readlink("/proc/self/ns/pid") // those who cannot see theirs are taken to share one
	return &agent{
		app: a, state: newState(), refused: refused{}, last: map[string]string{},
		lease: plan.Lease{Host: host, PID: os.Getpid(), PIDNamespace: namespace, Version: version},
	}
}

// connect dials the database.
func (g *agent) connect(ctx context.Context) (reconcile.Host, error) {
	g.state.alive(time.Now())
	dialing, cancel := context.WithTimeout(ctx, g.settings.GetDuration("timeout"))
	defer cancel()
	conn, err := g.dial(dialing)
	if err != nil {
		return nil, err
	}
	g.log.InfoContext(ctx, "connected", "db", g.settings.GetString("db"))
	g.state.connected()
	ctx, end := context.WithCancel(ctx)
	return &keeper{agent: g, conn: conn, changes: conn.Watch(ctx), end: end}, nil
}

// run keeps the sessions in force until the context ends.
func (g *agent) run(cmd *cobra.Command) error {
	ctx := cmd.Context()
	g.ctx = ctx
	end, err := g.serve()
	if err != nil {
		return err
	}
	defer end()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // where there is no systemd nothing is done
	for ctx.Err() == nil {
		era, stop := context.WithCancel(ctx)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			select {
			case <-hangup:
				stop()
			case <-era.Done():
			}
		})
		g.loop().Run(era)
		stop()
		waiting.Wait()
		if ctx.Err() == nil {
			g.reload(cmd)
		}
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	return nil
}

// loop is the loop with the settings as they are.
func (g *agent) loop() *reconcile.Loop {
	check := g.settings.GetDuration(keyCheck)
	if watchdog, err := daemon.SdWatchdogEnabled(false); err == nil && watchdog > 0 {
		check = min(check, watchdog/2) // sd_watchdog_enabled(3)
	}
	g.state.expects(check, g.settings.GetDuration("timeout"))
	return &reconcile.Loop{
		Connect: g.connect, Failed: g.failed, First: 20 * time.Millisecond, Last: 2 * time.Second,
		Quiet: g.settings.GetDuration(keyQuiet), Most: g.settings.GetDuration(keyAtMost), Check: check,
	}
}

// reload reads the configuration again. If that cannot be used what was read before stays.
func (g *agent) reload(cmd *cobra.Command) {
	settings, log := g.settings, g.log
	if err := g.configure(cmd); err != nil {
		g.settings, g.log = settings, log
		g.log.Error("the configuration is left as it was", "error", err)
		return
	}
	g.log.Info("configuration read again")
}

// failed says what went wrong, once for each thing.
func (g *agent) failed(err error, again time.Duration) {
	g.state.failed()
	level := slog.LevelWarn
	if text := err.Error(); text == g.complaint {
		level = slog.LevelDebug
	} else {
		g.complaint = text
	}
	g.log.Log(g.ctx, level, "tries again", "in", again.Round(time.Millisecond), "error", err)
}

// once makes passes until nothing is to do, and says what came of it.
func (g *agent) once(ctx context.Context) error {
	g.ctx = ctx
	ctx, cancel := context.WithTimeout(ctx, g.settings.GetDuration("timeout"))
	defer cancel()
	host, err := g.connect(ctx)
	if err != nil {
		return err
	}
	defer host.Close()
	k := host.(*keeper)
	for cause := (reconcile.Cause{First: true}); k.health == nil; cause = (reconcile.Cause{Changed: time.Now()}) {
		result, err := k.pass(ctx, cause)
		if isRefusal(err) {
			g.log.WarnContext(ctx, "the others go on", "error", err)
			continue
		} else if err != nil {
			return err
		}
		if k.health == nil && k.yields(time.Now()) {
			return fmt.Errorf("%w: the agent %s keeps the sessions in force; spanctl status shows them", ovs.ErrConflict, k.other)
		}
		if k.health == nil && time.Until(result.Again) > 0 {
			timer := time.NewTimer(time.Until(result.Again))
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return fmt.Errorf("%w: another spanctl is at it", ovs.ErrConflict)
			}
		}
	}
	if err := g.view().status(k.health, &g.lease); err != nil {
		return err
	}
	return lacking(k.health)
}
