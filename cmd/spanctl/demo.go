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
    description: Everything on this host's two bridges, to the audit guest and to a remote IDS
    sources:
      - {role: all, bridge: "xenbr*"}
    exclude:
      - {protocol: tcp, port: 7788-7799}        # DRBD replication
    destinations:
      - vm: audit
      - erspan: {remote: 192.0.2.10, session: 100}
`

// demoRules are what the IDS looks for.
const demoRules = `alert tcp any any -> any 80 (msg:"a guest fetches a page"; content:"GET /"; sid:1000001;)
`

func demoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on a private Open vSwitch",
		Long: `Show the main job on a private Open vSwitch with guests in network namespaces:
two bridges, an audit guest and a remote collector, policy, plan, apply, real
traffic, what the audit guest and the collector received and what was left out,
the alert of Suricata there if it is installed, a guest restarted, status. Needs
root and Open vSwitch's programs, touches nothing of this host, and leaves nothing
behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			lab, err := ovstest.Start(ctx, ovstest.Config{Name: "demo", Bridges: []string{"xenbr0", "xenbr1"}})
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
	lab                                        *ovstest.Lab
	web, db, files, store, audit, gateway, ids *ovstest.Guest
	suricata                                   *ovstest.Suricata // nil if it is not installed
}

func (d *demo) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.topology, d.apply, d.traffic, d.alert, d.replication, d.restart, d.finish} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) title(text string) { fmt.Fprintf(d.stdout, "\n== %s\n\n", text) }

// spanctl runs a command of this program on the lab's database, and shows it.
func (d *demo) spanctl(args ...string) error { return d.spanctlTo(d.stdout, args...) }

func (d *demo) spanctlTo(out io.Writer, args ...string) error {
	fmt.Fprintf(out, "$ spanctl %s\n", strings.Join(args, " "))
	if code := run(append(args, "--db", d.lab.DB), nil, out, d.stderr); code != exitOK {
		return fmt.Errorf("demo: spanctl %s exited with %d", args[0], code)
	}
	return nil
}

func (d *demo) topology(ctx context.Context) error {
	d.title("A host with two Open vSwitch bridges, guests, an audit guest, and a collector elsewhere")
	for _, g := range []struct {
		guest              **ovstest.Guest
		name, bridge, port string
		ids                map[string]string
	}{
		{&d.web, "web", "xenbr0", "vif1.0", map[string]string{"vm-id": "web"}},
		{&d.db, "db", "xenbr0", "vif2.0", map[string]string{"vm-id": "db"}},
		{&d.audit, "audit", "xenbr0", "vif9.0", map[string]string{"vm-id": "audit"}},
		{&d.gateway, "gateway", "xenbr0", "uplink0", map[string]string{"spanctl-role": "uplink"}},
		{&d.files, "files", "xenbr1", "vif5.0", map[string]string{"vm-id": "files"}},
		{&d.store, "store", "xenbr1", "vif6.0", map[string]string{"vm-id": "store"}},
	} {
		guest, err := d.lab.AddGuest(ctx, ovstest.GuestConfig{Name: g.name, Bridge: g.bridge, Port: g.port, ExternalIDs: g.ids})
		if err != nil {
			return err
		}
		*g.guest = guest
	}
	if _, err := d.lab.HostIP(ctx, "xenbr0", netip.MustParsePrefix("10.9.0.254/24")); err != nil {
		return err
	}
	var err error
	if d.ids, err = d.lab.AddCollector(ctx, ovstest.CollectorConfig{Name: "ids", IP: netip.MustParsePrefix("192.0.2.10/24"), MTU: 1600}); err != nil {
		return err
	}
	if ovstest.SuricataInstalled() {
		if d.suricata, err = d.ids.StartSuricata(ctx, demoRules); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.stdout, `  web   %s -- vif1.0 --+
  db    %s -- vif2.0 --+-- bridge xenbr0 -- uplink0 -- gateway %s
  audit          -- vif9.0 --+        |
                                    host 10.9.0.254
  files %s -- vif5.0 --+-- bridge xenbr1
  store %s -- vif6.0 --+

  host 192.0.2.1 -- bridge br-ext -- ids %s, a collector elsewhere%s
`, d.web.Addr(), d.db.Addr(), d.gateway.Addr(), d.files.Addr(), d.store.Addr(), d.ids.Addr(), map[bool]string{true: ", with Suricata"}[d.suricata != nil])
	return nil
}

func (d *demo) apply(context.Context) error {
	d.title("The policy: everything on both bridges but replication, to the audit guest and by ERSPAN to the collector")
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
	// The changes are the plan's: they need not be shown twice.
	var out bytes.Buffer
	err := d.spanctlTo(&out, "apply", "-f", file)
	command, rest, _ := strings.Cut(out.String(), "\n")
	if _, after, found := strings.Cut(rest, "In force."); found && err == nil {
		rest = "...\nIn force." + after
	}
	fmt.Fprintf(d.stdout, "%s\n%s", command, rest)
	return err
}

func (d *demo) traffic(ctx context.Context) error {
	d.title("web fetches a page from db over TCP, and talks to the gateway")
	return d.compare(ctx, d.web, 5, func() error {
		if err := d.fetch(ctx); err != nil {
			return err
		}
		_, err := ovstest.Exchange(ctx, d.web, d.gateway, 5)
		return err
	})
}

// alert shows what the IDS made of the copies.
func (d *demo) alert(ctx context.Context) error {
	if d.suricata == nil {
		return nil
	}
	alert, err := d.suricata.WaitAlert(ctx, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, "  Suricata at the collector: %s\n", alert)
	return nil
}

// replicationPort is one of those that the policy leaves out.
const replicationPort = 7789

func (d *demo) replication(ctx context.Context) error {
	d.title(fmt.Sprintf("On the other bridge files replicates to store by TCP port %d, which is left out, and they talk", replicationPort))
	return d.compare(ctx, d.files, 4, func() error {
		if err := d.request(ctx, d.files, d.store, replicationPort, "POST /drbd", strings.Repeat("block ", 5000), "done"); err != nil {
			return err
		}
		_, err := ovstest.Exchange(ctx, d.files, d.store, 5)
		return err
	})
}

// replicates reports whether the frame is one that the policy leaves out.
func replicates(f ovstest.Frame) bool {
	said := ovstest.Describe(f.Data)
	return strings.Contains(said, fmt.Sprintf(" TCP %d > ", replicationPort)) || strings.Contains(said, fmt.Sprintf(" > %d [", replicationPort))
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
	return d.compare(ctx, d.web, 2, func() error {
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

// compare counts what crosses a guest's NIC, both ways, while traffic runs, and
// what the audit guest and the collector receive of it, replication for itself,
// and shows the first few copies.
func (d *demo) compare(ctx context.Context, guest *ovstest.Guest, lines int, traffic func() error) error {
	atGuest, err := guest.Capture(ctx, ovstest.Outgoing())
	if err != nil {
		return err
	}
	defer atGuest.Close()
	receivers := []struct {
		name    string
		guest   *ovstest.Guest
		capture *ovstest.Capture
	}{{name: "the audit guest", guest: d.audit}, {name: "the collector", guest: d.ids}}
	for i := range receivers {
		r := &receivers[i]
		if r.capture, err = r.guest.Capture(ctx); err != nil {
			return err
		}
		defer r.capture.Close()
	}
	if err := traffic(); err != nil {
		return err
	}
	// What is copied after the traffic comes after its copies.
	for i := range receivers {
		if err := receivers[i].capture.Fence(ctx, d.gateway, d.web); err != nil {
			return err
		}
	}
	crossed := slices.DeleteFunc(slices.Clone(atGuest.Frames()), func(f ovstest.Frame) bool { return bytes.Contains(f.Data, []byte("<fence/")) })
	left := slices.DeleteFunc(slices.Clone(crossed), func(f ovstest.Frame) bool { return !replicates(f) })
	crossed = slices.DeleteFunc(crossed, replicates)
	wrong := 0
	for _, r := range receivers {
		copies, more := copiesOf(r.capture, crossed), copiesOf(r.capture, left)
		for _, f := range copies[:min(lines, len(copies))] {
			fmt.Fprintf(d.stdout, "  %s received: %s\n", r.name, ovstest.Describe(f.Data))
		}
		fmt.Fprintf(d.stdout, "  ... %d packets crossed the NIC of %s, %s received %d of them.\n", len(crossed), guest.Name(), r.name, len(copies))
		if len(left) > 0 {
			fmt.Fprintf(d.stdout, "  ... %d packets of replication crossed the NIC of %s, %s received %d of them.\n", len(left), guest.Name(), r.name, len(more))
		}
		wrong += max(len(crossed)-len(copies), len(copies)-len(crossed)) + len(more)
	}
	if wrong > 0 {
		return fmt.Errorf("demo: %d copies are missing or too many", wrong)
	}
	return nil
}

// copiesOf are the frames that were captured and are, or have inside of a tunnel,
// one of those that were sent.
func copiesOf(c *ovstest.Capture, sent []ovstest.Frame) []ovstest.Frame {
	return slices.DeleteFunc(slices.Clone(c.Frames()), func(f ovstest.Frame) bool {
		return !slices.ContainsFunc(sent, func(s ovstest.Frame) bool { return bytes.Contains(f.Data, s.Data) })
	})
}

// fetch is a page that web has of db.
func (d *demo) fetch(ctx context.Context) error {
	return d.request(ctx, d.web, d.db, 80, "GET /", "", strings.Repeat("page ", 2000))
}

// request is an HTTP request of one guest to another, with a body, and the answer.
func (d *demo) request(ctx context.Context, from, to *ovstest.Guest, port int, line, body, answer string) error {
	address := netip.AddrPortFrom(to.Addr(), uint16(port)).String()
	listener, err := to.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // that it is sent is enough
			fmt.Fprintln(w, answer)
		}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := from.Dial(ctx, "tcp", address)
	if err == nil {
		_, err = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", line, to.Name(), len(body), body)
		if err == nil {
			_, err = io.Copy(io.Discard, bufio.NewReader(conn))
		}
		err = errors.Join(err, conn.Close())
	}
	err = errors.Join(err, server.Shutdown(ctx))
	if stopped := <-served; !errors.Is(stopped, http.ErrServerClosed) {
		err = errors.Join(err, stopped)
	}
	return err
}
