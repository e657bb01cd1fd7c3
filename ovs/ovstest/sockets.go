package ovstest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
)

// Listen opens a real listening socket in the guest (network "tcp" or "udp" families as net.ListenConfig takes them;
// "tcp" here never means MPTCP). The address is literal, ":80" or "10.9.0.2:80": names are not resolved. It is closed
// with the lab.
func (g *Guest) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	var l net.Listener
	// A literal address keeps the net package on the calling thread, where the socket must be made.
	err := g.inside.do(func() (err error) {
		l, err = config.Listen(ctx, network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.cfg.Name, err)
	}
	if err := g.lab.keep(l); err != nil {
		return nil, err
	}
	return l, nil
}

// Dial connects from the guest, by a real socket, to a literal address.
func (g *Guest) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	dialer.SetMultipathTCP(false)
	var conn net.Conn
	err := g.inside.do(func() (err error) {
		conn, err = dialer.DialContext(ctx, network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.cfg.Name, err)
	}
	if err := g.lab.keep(conn); err != nil {
		return nil, err
	}
	return conn, nil
}

// Launch starts a program in the guest, such as iperf3 or an IDS, with output as cmd has it. It dies with this
// process at the latest; cmd.Wait is the caller's.
func (g *Guest) Launch(cmd *exec.Cmd) error {
	if err := spawn(cmd, g.inside); err != nil {
		return fmt.Errorf("guest %s: %w", g.cfg.Name, err)
	}
	return nil
}

// Launch starts a program in the namespace that plays the host; see Guest.Launch.
func (l *Lab) Launch(cmd *exec.Cmd) error {
	if err := spawn(cmd, l.host); err != nil {
		return fmt.Errorf("lab %s: %w", l.name, err)
	}
	return nil
}
