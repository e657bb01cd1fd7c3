package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"spanctl/ovs/ovstest"
)

// demoPolicy is the policy that the demo applies.
const demoPolicy = `version: 1
sessions:
  audit:
    description: Everything on this host, to the audit guest
    sources:
      - role: all
    destinations:
      - vm: audit
`

func demoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on a private Open vSwitch",
		Long: `Show the main job on a private Open vSwitch with guests in network namespaces:
topology, policy, plan, apply, real traffic, what the audit guest received, a
guest restarted, status. Needs root and Open vSwitch's programs, touches nothing
of this host, and leaves nothing behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			lab, err := ovstest.Start(ctx, ovstest.Config{Name: "demo", Bridges: []string{"xenbr0"}})
			if err != nil {
				return err
			}
			d := &demo{app: a, lab: lab}
			return errors.Join(d.run(ctx), lab.Close())
		},
	}
}

// A demo is one run of the command.
type demo struct {
	*app
	lab                     *ovstest.Lab
	web, db, audit, gateway *ovstest.Guest
}

func (d *demo) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.topology, d.apply, d.traffic, d.restart, d.finish} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) title(text string) { fmt.Fprintf(d.stdout, "\n== %s\n\n", text) }

// spanctl runs a command of this program on the lab's database, and shows it.
func (d *demo) spanctl(args ...string) error {
	fmt.Fprintf(d.stdout, "$ spanctl %s\n", strings.Join(args, " "))
	if code := run(append(args, "--db", d.lab.DB), nil, d.stdout, d.stderr); code != exitOK {
		return fmt.Errorf("demo: spanctl %s exited with %d", args[0], code)
	}
	return nil
}

func (d *demo) topology(ctx context.Context) error {
	d.title("A host with an Open vSwitch bridge, guests, and an audit guest")
	for _, g := range []struct {
		guest      **ovstest.Guest
		name, port string
		ids        map[string]string
	}{
		{&d.web, "web", "vif1.0", map[string]string{"vm-id": "web"}},
		{&d.db, "db", "vif2.0", map[string]string{"vm-id": "db"}},
		{&d.audit, "audit", "vif9.0", map[string]string{"vm-id": "audit"}},
		{&d.gateway, "gateway", "uplink0", map[string]string{"spanctl-role": "uplink"}},
	} {
		guest, err := d.lab.AddGuest(ctx, ovstest.GuestConfig{Name: g.name, Port: g.port, ExternalIDs: g.ids})
		if err != nil {
			return err
		}
		*g.guest = guest
	}
	if _, err := d.lab.HostIP(ctx, "xenbr0", netip.MustParsePrefix("10.9.0.254/24")); err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, `  web %s -- vif1.0 --+
  db  %s -- vif2.0 --+-- bridge xenbr0 -- uplink0 -- gateway %s
  audit         -- vif9.0 --+        |
                                   host 10.9.0.254
`, d.web.Addr(), d.db.Addr(), d.gateway.Addr())
	return nil
}

func (d *demo) apply(context.Context) error {
	d.title("The policy: everything on this host, to the audit guest")
	file := filepath.Join(d.lab.Dir, "policy.yaml")
	if err := os.WriteFile(file, []byte(demoPolicy), 0o600); err != nil {
		return err
	}
	fmt.Fprint(d.stdout, demoPolicy)
	d.title("What would be changed, and then the change")
	if err := d.spanctl("plan", "-f", file); err != nil {
		return err
	}
	fmt.Fprintln(d.stdout)
	return d.spanctl("apply", "-f", file)
}

func (d *demo) traffic(ctx context.Context) error {
	d.title("web fetches a page from db over TCP, and talks to the gateway")
	return d.compare(ctx, 8, func() error {
		if err := d.fetch(ctx); err != nil {
			return err
		}
		_, err := ovstest.Exchange(ctx, d.web, d.gateway, 5)
		return err
	})
}

func (d *demo) restart(ctx context.Context) error {
	d.title("db is stopped and started again: a new port, copied from its first packet")
	if err := d.db.Stop(ctx); err != nil {
		return err
	}
	if err := d.db.Rename("vif3.0"); err != nil {
		return err
	}
	if err := d.db.Start(ctx); err != nil {
		return err
	}
	return d.compare(ctx, 3, func() error {
		_, err := ovstest.Exchange(ctx, d.web, d.db, 5)
		return err
	})
}

func (d *demo) finish(context.Context) error {
	d.title("What is really being copied, and the end")
	if err := d.spanctl("status"); err != nil {
		return err
	}
	fmt.Fprintln(d.stdout)
	return d.spanctl("delete", "--all")
}

// compare counts what crosses web's NIC, both ways, while traffic runs, and
// what the audit guest receives of it, and shows the first few copies.
func (d *demo) compare(ctx context.Context, lines int, traffic func() error) error {
	atWeb, err := d.web.Capture(ctx, ovstest.Outgoing())
	if err != nil {
		return err
	}
	defer atWeb.Close()
	atAudit, err := d.audit.Capture(ctx)
	if err != nil {
		return err
	}
	defer atAudit.Close()
	if err := traffic(); err != nil {
		return err
	}
	if err := atAudit.Fence(ctx, d.gateway, d.db); err != nil {
		return err
	}
	crossed := atWeb.Frames()
	var copies []ovstest.Frame
	for _, f := range atAudit.Frames() {
		if slices.ContainsFunc(crossed, func(c ovstest.Frame) bool { return bytes.Equal(c.Data, f.Data) }) {
			copies = append(copies, f)
		}
	}
	for _, f := range copies[:min(lines, len(copies))] {
		fmt.Fprintf(d.stdout, "  audit received: %s\n", ovstest.Describe(f.Data))
	}
	fmt.Fprintf(d.stdout, "  ... %d packets crossed web's NIC, the audit guest received %d of them.\n", len(crossed), len(copies))
	if len(crossed) != len(copies) {
		return fmt.Errorf("demo: %d packets were not copied", len(crossed)-len(copies))
	}
	return nil
}

// fetch is an HTTP request of web to db.
func (d *demo) fetch(ctx context.Context) error {
	listener, err := d.db.Listen(ctx, "tcp", fmt.Sprintf("%s:80", d.db.Addr()))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, strings.Repeat("page ", 2000)) }),
		ReadHeaderTimeout: 5 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := d.web.Dial(ctx, "tcp", fmt.Sprintf("%s:80", d.db.Addr()))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n")
	if err == nil {
		_, err = io.Copy(io.Discard, bufio.NewReader(conn))
	}
	err = errors.Join(err, conn.Close(), server.Shutdown(ctx))
	if stopped := <-served; !errors.Is(stopped, http.ErrServerClosed) {
		err = errors.Join(err, stopped)
	}
	return err
}
