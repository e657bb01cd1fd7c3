package ovstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// ErrNoOVN indicates that OVN is missing on this machine.
var ErrNoOVN = errors.New("OVN is not installed: install ovn-central and ovn-host (make deps)")

// OVN is a real OVN: its two databases and ovn-northd, and ovn-controller on the lab's Open vSwitch, which makes the bridge
// br-int. Guests are bound to logical ports by external_ids:iface-id.
type OVN struct {
	dir     string // in the lab's
	lab     *Lab
	daemons []*process // databases and ovn-northd
	closing sync.Once

	mu         sync.Mutex
	controller *process
}

// StartOVN starts OVN, with the host's end of a collector's tunnels as its own tunnel address, and returns when br-int is
// there. It touches nothing of the host. It runs until Close or the end of the lab, and dies with this process.
func (l *Lab) StartOVN(ctx context.Context) (*OVN, error) {
	o := &OVN{lab: l, dir: l.path("ovn")}
	err := o.start(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OVN of lab %s: %w", l.name, err), o.Close())
	}
	return o, nil
}

func (o *OVN) start(ctx context.Context) error {
	for _, program := range []string{"ovn-northd", "ovn-controller", "ovn-nbctl", "ovsdb-server", "ovsdb-tool"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s: %w", program, ErrNoOVN)
		}
	}
	if err := os.Mkdir(o.dir, 0o700); err != nil {
		return fmt.Errorf("making its directory: %w", err)
	}
	if err := o.lab.keep(o); err != nil {
		return err
	}
	for _, db := range []string{"nb", "sb"} {
		if _, err := o.run(ctx, "ovsdb-tool", "create", o.path(db+".db"), "/usr/share/ovn/ovn-"+db+".ovsschema"); err != nil {
			return err
		}
		if err := o.daemon(db, "ovsdb-server", o.path(db+".db"), "--remote=p"+o.remote(db)); err != nil {
			return err
		}
		err := until(ctx, "the database "+db, func() (bool, error) {
			_, err := os.Stat(o.path(db + ".sock"))
			return err == nil, nil
		})
		if err != nil {
			return err
		}
		if _, err := o.run(ctx, "ovn-"+db+"ctl", "--db="+o.remote(db), toolTimeout(), "init"); err != nil {
			return err
		}
	}
	if err := o.daemon("northd", "ovn-northd", "--ovnnb-db="+o.remote("nb"), "--ovnsb-db="+o.remote("sb")); err != nil {
		return err
	}
	_, err := o.lab.VSCtl(ctx, "set", "Open_vSwitch", ".", "external_ids:system-id=hv1", "external_ids:ovn-remote="+quoted(o.remote("sb")),
		"external_ids:ovn-encap-type=geneve", "external_ids:ovn-encap-ip=192.0.2.1", "external_ids:ovn-bridge-datapath-type="+o.lab.cfg.Datapath)
	if err != nil {
		return err
	}
	if err := o.StartController(ctx); err != nil {
		return err
	}
	_, err = o.lab.vsctl(ctx, "--no-wait", "wait-until", "Bridge", "br-int", "datapath_id!=[]")
	return err
}

func (o *OVN) path(file string) string { return filepath.Join(o.dir, file) }
func (o *OVN) remote(db string) string { return "unix:" + o.path(db+".sock") }
func (o *OVN) environ() []string {
	return append(o.lab.environ(), "OVN_RUNDIR="+o.dir, "OVN_LOGDIR="+o.dir)
}

// launch starts a daemon in the foreground, in the namespace that plays the host.
func (o *OVN) launch(name, program string, args ...string) (*process, error) {
	cmd := exec.Command(program, append(args, "--pidfile="+o.path(name+".pid"), "--log-file="+o.path(name+".log"), "-vconsole:off")...)
	cmd.Env, cmd.Dir = o.environ(), o.dir
	o.lab.logf("+ %s\n", strings.Join(cmd.Args, " "))
	p, err := launch(cmd, o.lab.host)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	return p, nil
}

func (o *OVN) daemon(name, program string, args ...string) error {
	p, err := o.launch(name, program, args...)
	if err == nil {
		o.daemons = append(o.daemons, p)
	}
	return err
}

// StartController starts ovn-controller, and returns when it has taken in all that OVN wants.
func (o *OVN) StartController(ctx context.Context) error {
	p, err := o.launch("controller", "ovn-controller", o.lab.DB)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.controller = p
	o.mu.Unlock()
	// Until the southbound database knows it, nobody waits for it.
	if _, err := o.run(ctx, "ovn-sbctl", "--db="+o.remote("sb"), toolTimeout(), "wait-until", "Chassis", "hv1", "name=hv1"); err != nil {
		return err
	}
	return o.Sync(ctx)
}

// KillController ends ovn-controller by SIGKILL, and returns when it is gone.
func (o *OVN) KillController() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.controller.kill()
}

// StopController ends ovn-controller as a service is ended, and returns when it is gone: it takes down what it has made.
func (o *OVN) StopController() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.controller.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending ovn-controller: %w", err)
	}
	<-o.controller.done
	return nil
}

// NBCtl runs ovn-nbctl on the northbound database; with --wait=hv it returns when ovn-controller has done what it asks.
func (o *OVN) NBCtl(ctx context.Context, args ...string) (string, error) {
	return o.run(ctx, "ovn-nbctl", append([]string{"--db=" + o.remote("nb"), toolTimeout()}, args...)...)
}

// Sync returns when ovn-controller has done all that was asked.
func (o *OVN) Sync(ctx context.Context) error {
	_, err := o.NBCtl(ctx, "--wait=hv", "sync")
	return err
}

// run runs one of OVN's tools to its end, and returns what it wrote to stdout. OVN is this system's, also where the lab's
// Open vSwitch is another's.
func (o *OVN) run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = o.environ()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := spawn(cmd, nil)
	if err == nil {
		err = cmd.Wait()
	}
	o.lab.logf("+ %s %s\n%s%s", program, strings.Join(args, " "), stdout.String(), stderr.String())
	if err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Close ends OVN by SIGKILL and returns when it is gone. Closing again does nothing.
func (o *OVN) Close() error {
	o.closing.Do(func() {
		o.KillController()
		for _, p := range o.daemons {
			p.kill()
		}
		o.lab.forget(o)
	})
	return nil
}
