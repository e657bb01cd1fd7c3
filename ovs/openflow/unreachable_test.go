package openflow_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
)

// refused asks that reading and changing the bridge both fail as unreachable, and
// say so much.
func refused(ctx context.Context, t *testing.T, s *openflow.Switch, bridge, says string) {
	t.Helper()
	_, _, err := s.Read(ctx, bridge)
	for what, err := range map[string]error{
		"reading":  err,
		"adding":   s.Apply(ctx, plan.Rules{Bridge: bridge, Set: every[:1]}),
		"deleting": s.Apply(ctx, plan.Rules{Bridge: bridge, Delete: every[:1]}),
		"metering": s.Apply(ctx, plan.Rules{Bridge: bridge, DeleteMeters: []uint32{1}}),
	} {
		if !errors.Is(err, openflow.ErrUnreachable) || errors.Is(err, openflow.ErrRejected) {
			t.Errorf("%s: %v, want ErrUnreachable", what, err)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want it to say %q", what, err, says)
		}
	}
}

func TestNoBridge(t *testing.T) {
	t.Parallel()
	ctx, _, s := start(t, "br0")
	refused(ctx, t, s, "br1", "see that it has the bridge")
}

func TestNoVSwitchd(t *testing.T) {
	t.Parallel()
	ctx, lab, s := start(t, "br0")
	lab.KillVSwitchd()
	refused(ctx, t, s, "br0", "start ovs-vswitchd")
}

func TestBridgeWithoutOpenFlow14(t *testing.T) {
	t.Parallel()
	ctx, lab, s := start(t, "br0")
	_, err := lab.VSCtl(ctx, "set", "Bridge", "br0", "protocols=OpenFlow10")
	check(t, err)
	refused(ctx, t, s, "br0", "let the bridge speak OpenFlow14")
}

// listen is a socket of a bridge br0 that takes connections.
func listen(t *testing.T, then func(net.Conn)) *openflow.Switch {
	t.Helper()
	dir, err := os.MkdirTemp("", "spanctl-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	l, err := net.Listen("unix", filepath.Join(dir, "br0.mgmt"))
	check(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			then(conn)
		}
	}()
	return openflow.At(dir)
}

func TestVSwitchdThatHangsUp(t *testing.T) {
	t.Parallel()
	s := listen(t, func(c net.Conn) { c.Close() })
	refused(t.Context(), t, s, "br0", "start ovs-vswitchd")
}

// A context's end kills the tool.
func TestVSwitchdThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := listen(t, func(c net.Conn) { t.Cleanup(func() { c.Close() }) })
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _, err := s.Read(ctx, "br0")
	if !errors.Is(err, openflow.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	refused(ctx, t, s, "br0", "no answer to ovs-ofctl")
}

func TestNoTools(t *testing.T) {
	t.Setenv("PATH", "")
	refused(t.Context(), t, openflow.At(t.TempDir()), "br0", "install")
}

// Root, as tests run, may connect to every socket: the tool's words are put into
// its mouth.
func TestNotPermitted(t *testing.T) {
	dir := t.TempDir()
	const tool = "#!/bin/sh\necho 'ovs-ofctl: connecting to unix:/x/br0.mgmt (Permission denied)' >&2\nexit 1\n"
	check(t, os.WriteFile(filepath.Join(dir, "ovs-ofctl"), []byte(tool), 0o755))
	t.Setenv("PATH", dir)
	refused(t.Context(), t, openflow.At(dir), "br0", "run as root")
}
