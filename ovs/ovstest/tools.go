package ovstest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// timeout ends a tool of OVS that waits for a daemon which never answers, if ctx does not end it sooner.
const timeout = 20 * time.Second

// VSCtl runs ovs-vsctl on the lab's database; each call is one transaction. Like ovs-vsctl it returns when
// ovs-vswitchd has taken the change in; without one (DatabaseOnly) it does not wait.
func (l *Lab) VSCtl(ctx context.Context, args ...string) (string, error) {
	if l.cfg.DatabaseOnly {
		args = append([]string{"--no-wait"}, args...)
	}
	return l.vsctl(ctx, args...)
}

func (l *Lab) vsctl(ctx context.Context, args ...string) (string, error) {
	return l.run(ctx, "ovs-vsctl", append([]string{"--db=" + l.DB, toolTimeout()}, args...)...)
}

// AppCtl runs ovs-appctl on the lab's ovs-vswitchd.
func (l *Lab) AppCtl(ctx context.Context, args ...string) (string, error) {
	p := l.vswitchdProcess()
	if !p.alive() {
		return "", fmt.Errorf("ovs-appctl: ovs-vswitchd of lab %s is not running: StartVSwitchd", l.name)
	}
	target := fmt.Sprintf("--target=%s", l.path(fmt.Sprintf("ovs-vswitchd.%d.ctl", p.pid())))
	return l.run(ctx, "ovs-appctl", append([]string{target, toolTimeout()}, args...)...)
}

// OFCtl runs ovs-ofctl; where it takes a switch, name the bridge: the lab's socket of that bridge is found by itself.
func (l *Lab) OFCtl(ctx context.Context, args ...string) (string, error) {
	return l.run(ctx, "ovs-ofctl", append([]string{toolTimeout()}, args...)...)
}

func toolTimeout() string { return "--timeout=" + strconv.Itoa(int(timeout/time.Second)) }

// run runs a tool to its end and returns what it wrote to stdout.
func (l *Lab) run(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = l.environ()
	rooted(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := spawn(cmd, nil)
	if err == nil {
		err = cmd.Wait()
	}
	l.logf("+ %s %s\n%s%s", program, strings.Join(args, " "), stdout.String(), stderr.String())
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		said := strings.TrimSpace(stderr.String())
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, said)
	}
	return stdout.String(), nil
}

// environ is our own environment, with everything of OVS in the lab's directory.
func (l *Lab) environ() []string {
	return append(os.Environ(), "OVS_RUNDIR="+l.Dir, "OVS_LOGDIR="+l.Dir, "OVS_DBDIR="+l.Dir, "LC_ALL=C")
}

func (l *Lab) logf(format string, args ...any) {
	if l.cfg.Log != nil {
		l.logMu.Lock()
		defer l.logMu.Unlock()
		fmt.Fprintf(l.cfg.Log, format, args...)
	}
}
