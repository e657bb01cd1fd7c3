package ovstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// installed says which program of Open vSwitch is missing, and how to get it.
func installed(cfg Config) error {
	programs := []string{"ovsdb-tool", "ovsdb-server", "ovs-vsctl"}
	if !cfg.DatabaseOnly {
		programs = append(programs, "ovs-vswitchd", "ovs-appctl", "ovs-ofctl")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s: %w", p, ErrNotInstalled)
		}
	}
	if _, err := os.Stat(cfg.Schema); err != nil {
		return fmt.Errorf("database schema: %w: %w", err, ErrNotInstalled)
	}
	return nil
}

func (l *Lab) path(file string) string { return filepath.Join(l.Dir, file) }

func (l *Lab) createDB(ctx context.Context) error {
	if _, err := l.run(ctx, "ovsdb-tool", "create", l.path("conf.db"), l.cfg.Schema); err != nil {
		return err
	}
	return nil
}

// StartDB starts ovsdb-server on the lab's database and waits until it answers. ovs-vswitchd, if it runs, comes
// back to it by itself, up to 8 s later (its reconnect backoff); VSCtl waits for that.
func (l *Lab) StartDB(ctx context.Context) error {
	err := l.startDaemon(&l.ovsdb, "ovsdb-server",
		l.path("conf.db"), "--remote=punix:"+l.path("db.sock"), "--unixctl="+l.path("ovsdb-server.ctl"),
		"--remote=db:Open_vSwitch,Open_vSwitch,manager_options", "--private-key=db:Open_vSwitch,SSL,private_key", // as ovs-ctl starts it
		"--certificate=db:Open_vSwitch,SSL,certificate", "--ca-cert=db:Open_vSwitch,SSL,ca_cert")
	if err != nil {
		return err
	}
	err = until(ctx, "ovsdb-server to answer", func() (bool, error) {
		conn, err := net.Dial("unix", l.path("db.sock")) // one of a killed server refuses
		if err != nil {
			return false, l.running("ovsdb-server", l.ovsdbProcess())
		}
		return true, conn.Close()
	})
	if err != nil {
		return err
	}
	_, err = l.vsctl(ctx, "--no-wait", "init")
	return err
}

// StartVSwitchd starts ovs-vswitchd, waits until it has made what the database says, and gives the host's own
// addresses (HostIP) back to the devices that are new now, as a host's network scripts do.
func (l *Lab) StartVSwitchd(ctx context.Context) error {
	if l.cfg.DatabaseOnly {
		return fmt.Errorf("lab %s is without ovs-vswitchd: start it without DatabaseOnly", l.name)
	}
	// cur_cfg may equal next_cfg from the run before; the next number can only come from this one.
	out, err := l.vsctl(ctx, "--no-wait", "get", "Open_vSwitch", ".", "next_cfg")
	if err != nil {
		return err
	}
	config, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return fmt.Errorf("reading next_cfg: %w", err)
	}
	next := strconv.FormatInt(config+1, 10)
	version, err := l.version(ctx)
	if err != nil {
		return err
	}
	if _, err := l.vsctl(ctx, "--no-wait", "set", "Open_vSwitch", ".", "next_cfg="+next, "ovs_version="+version); err != nil {
		return err
	}
	args := []string{l.DB}
	if l.cfg.Dummy {
		args = append(args, "--enable-dummy=override", "--disable-system", "--disable-system-route")
	}
	if err := l.startDaemon(&l.vswitchd, "ovs-vswitchd", args...); err != nil {
		return err
	}
	if _, err := l.vsctl(ctx, "--no-wait", "wait-until", "Open_vSwitch", ".", "cur_cfg>="+next); err != nil {
		return errors.Join(err, l.running("ovs-vswitchd", l.vswitchdProcess()))
	}
	return l.raise(ctx)
}

// version is that of ovs-vswitchd. It does not write it into the database itself: on a host ovs-ctl does.
func (l *Lab) version(ctx context.Context) (string, error) {
	out, err := l.run(ctx, "ovs-vswitchd", "--version")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(out, "\n") // ovs-vswitchd (Open vSwitch) 3.1.0
	return first[strings.LastIndex(first, " ")+1:], nil
}

// startDaemon starts a daemon in the foreground, in the namespace that plays the host.
func (l *Lab) startDaemon(slot **process, program string, args ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("lab %s: %w", l.name, ErrClosed)
	}
	if (*slot).alive() {
		return fmt.Errorf("%s of lab %s runs already", program, l.name)
	}
	args = append(args, "--pidfile="+l.path(program+".pid"), "--log-file="+l.path(program+".log"), "-vconsole:off")
	cmd := exec.Command(program, args...)
	cmd.Env = l.environ()
	cmd.Dir = l.Dir
	rooted(cmd)
	l.logf("+ %s\n", strings.Join(cmd.Args, " "))
	p, err := launch(cmd, l.host)
	if err != nil {
		return fmt.Errorf("starting %s: %w", program, err)
	}
	*slot = p
	return nil
}

// running is an error with the end of the daemon's log if it is not.
func (l *Lab) running(program string, p *process) error {
	if p.alive() {
		return nil
	}
	log, _ := os.ReadFile(l.path(program + ".log")) // without it the error is merely shorter
	return fmt.Errorf("%s ended by itself; its log ends:\n%s", program, log[max(0, len(log)-2000):])
}

func (l *Lab) ovsdbProcess() *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ovsdb
}

func (l *Lab) vswitchdProcess() *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vswitchd
}

// KillDB ends ovsdb-server by SIGKILL and returns when it is gone.
func (l *Lab) KillDB() { l.ovsdbProcess().kill() }

// FreezeDB stops ovsdb-server as it is: it answers nobody, and goes on where it was with ThawDB.
func (l *Lab) FreezeDB() error { return l.ovsdbProcess().signal(syscall.SIGSTOP) }

// ThawDB undoes FreezeDB.
func (l *Lab) ThawDB() error { return l.ovsdbProcess().signal(syscall.SIGCONT) }

// KillVSwitchd ends ovs-vswitchd by SIGKILL and returns when it is gone. The pid file and sockets stay, as after a
// crash; the internal ports' devices do not.
func (l *Lab) KillVSwitchd() { l.vswitchdProcess().kill() }

// FreezeVSwitchd stops ovs-vswitchd as it is: it takes nothing in, and goes on where it was with ThawVSwitchd.
func (l *Lab) FreezeVSwitchd() error { return l.vswitchdProcess().signal(syscall.SIGSTOP) }

// ThawVSwitchd undoes FreezeVSwitchd.
func (l *Lab) ThawVSwitchd() error { return l.vswitchdProcess().signal(syscall.SIGCONT) }

// VSwitchdLog is everything ovs-vswitchd has logged so far, all runs in one.
func (l *Lab) VSwitchdLog() (string, error) {
	log, err := os.ReadFile(l.path("ovs-vswitchd.log"))
	if err != nil {
		return "", fmt.Errorf("reading ovs-vswitchd's log: %w", err)
	}
	return string(log), nil
}
