// Package openflow reads and changes the OpenFlow rules of tap bridges, and asks
// ovs-vswitchd what it does with a packet. It speaks by Open vSwitch's own tools,
// ovs-ofctl(8) and ovs-appctl(8), to the control sockets of a daemon on this host.
package openflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/digitalocean/go-openvswitch/ovs"
)

// ErrUnreachable indicates that ovs-vswitchd does not answer on its control
// sockets, or that Open vSwitch's tools are not installed.
var ErrUnreachable = errors.New("OpenFlow is unreachable")

// ErrRejected indicates that ovs-vswitchd refused rules or meters. Of a bundle
// none is then in force.
var ErrRejected = errors.New("Open vSwitch refused the rules")

// A Switch is one ovs-vswitchd, by the folder of its control sockets: BRIDGE.mgmt
// and, by ovs-vswitchd.pid, ovs-vswitchd.PID.ctl.
type Switch struct{ dir string }

// At is the ovs-vswitchd whose control sockets are in the folder.
func At(dir string) *Switch { return &Switch{dir} }

// target is what ovs-ofctl calls the bridge.
func (s *Switch) target(bridge string) string {
	return "unix:" + filepath.Join(s.dir, bridge+".mgmt")
}

// client runs Open vSwitch's tools until ctx ends.
func client(ctx context.Context) *ovs.Client {
	return ovs.New(
		ovs.Exec(func(name string, args ...string) ([]byte, error) { return run(ctx, nil, name, args) }),
		ovs.Pipe(func(in io.Reader, name string, args ...string) ([]byte, error) { return run(ctx, in, name, args) }),
		ovs.Protocols([]string{ovs.ProtocolOpenFlow14}), // the first with bundles
	)
}

// run runs one of Open vSwitch's tools and returns what it printed.
func run(ctx context.Context, in io.Reader, name string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &said
	err := cmd.Run()
	text := strings.TrimSpace(said.String())
	switch {
	case err == nil:
		return out.Bytes(), nil
	case errors.Is(err, exec.ErrNotFound):
		return nil, fmt.Errorf("%w: %w; install Open vSwitch's tools (openvswitch-common)", ErrUnreachable, err)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %s %s: no answer in time", ErrUnreachable, name, args[0])
	}
	return nil, fmt.Errorf("%w: %s: %s", ErrRejected, name, text)
}
