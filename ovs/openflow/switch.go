// Package openflow reads and changes the OpenFlow rules of tap bridges, and asks
// ovs-vswitchd what it does with a packet. It speaks by Open vSwitch's own tools,
// ovs-ofctl(8) and ovs-appctl(8), to the control sockets of a daemon on this host.
package openflow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/digitalocean/go-openvswitch/ovs"
)

// ErrUnreachable indicates that ovs-vswitchd does not answer on its control
// sockets, or that Open vSwitch's tools are not installed.
var ErrUnreachable = errors.New("OpenFlow is unreachable")

// ErrRejected indicates that ovs-vswitchd refused rules or meters. Of a bundle
// none is then in force.
var ErrRejected = errors.New("refused by Open vSwitch")

// A Switch is one ovs-vswitchd, by the folder of its control sockets: BRIDGE.mgmt
// and, by ovs-vswitchd.pid, ovs-vswitchd.PID.ctl.
type Switch struct{ dir string }

// At is the ovs-vswitchd whose control sockets are in the folder.
func At(dir string) *Switch { return &Switch{dir} }

// target is what ovs-ofctl calls the bridge.
func (s *Switch) target(bridge string) string {
	return "unix:" + filepath.Join(s.dir, bridge+".mgmt")
}

// protocols is the first version of OpenFlow with bundles.
var protocols = []string{ovs.ProtocolOpenFlow14}

// ofctl runs a command of ovs-ofctl on the bridge, ports by their numbers.
func (s *Switch) ofctl(ctx context.Context, in io.Reader, bridge, command string, args ...string) ([]byte, error) {
	args = append([]string{command, "--protocols=" + protocols[0], "--no-names", s.target(bridge)}, args...)
	return run(ctx, in, "ovs-ofctl", args)
}

// unreachable is what the tools say when there is no connection, or an end of it.
var unreachable = regexp.MustCompile(`connecting to |connect to |[Ee]nd of file|Connection (reset|refused)|Broken pipe`)

// run runs one of Open vSwitch's tools until ctx ends and returns what it printed.
func run(ctx context.Context, in io.Reader, name string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &said
	err := cmd.Run()
	text := strings.ReplaceAll(strings.TrimSpace(said.String()), "\n", "; ")
	switch {
	case err == nil:
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: no answer to %s: %w", ErrUnreachable, name, context.Cause(ctx))
	case cmd.ProcessState == nil:
		return nil, fmt.Errorf("%w: %w; install Open vSwitch's tools (openvswitch-common)", ErrUnreachable, err)
	case unreachable.MatchString(text):
		return nil, fmt.Errorf("%w: %s; %s", ErrUnreachable, text, advice(text))
	}
	return nil, fmt.Errorf("%w: %s", ErrRejected, cmp.Or(text, err.Error()))
}

// advice is what can be done when there is no connection.
func advice(text string) string {
	switch {
	case strings.Contains(text, "Permission denied"):
		return "run as root, or as the user of ovs-vswitchd"
	case strings.Contains(text, "version negotiation failed"):
		return "let the bridge speak OpenFlow14 (ovs-vsctl set Bridge BRIDGE protocols=[])"
	}
	return "start ovs-vswitchd, see that it has the bridge, or name the folder of its sockets by OVS_RUNDIR"
}
