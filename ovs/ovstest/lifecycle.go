package ovstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Start starts a stopped guest: a new device with the same address, and new Port and Interface rows. Captures and
// sockets of before are over.
func (g *Guest) Start(ctx context.Context) error {
	if err := g.plug(); err != nil {
		return err
	}
	if g.cfg.Linux {
		return g.lab.joinLinuxBridge(g.cfg.Bridge, g.cfg.Port)
	}
	if _, err := g.lab.VSCtl(ctx, g.cfg.portRow()...); err != nil {
		return fmt.Errorf("guest %s: adding its port: %w", g.cfg.Name, err)
	}
	if _, err := g.lab.OFPort(ctx, g.cfg.Port); err != nil {
		return fmt.Errorf("guest %s: %w", g.cfg.Name, err)
	}
	return nil
}

// Stop does what a hypervisor does when a guest stops: the port's rows go, then its device. The guest's namespace
// stays for Start. Stopping the stopped does nothing.
func (g *Guest) Stop(ctx context.Context) error {
	if _, err := g.lab.VSCtl(ctx, "--if-exists", "del-port", g.cfg.Port); err != nil {
		return fmt.Errorf("guest %s: deleting its port: %w", g.cfg.Name, err)
	}
	return g.Vanish(ctx)
}

// Replace gives the guest another device of the same name, and then new rows for the old ones, in one transaction.
func (g *Guest) Replace(ctx context.Context) error {
	if err := g.Vanish(ctx); err != nil {
		return err
	}
	if err := g.plug(); err != nil {
		return err
	}
	if _, err := g.lab.VSCtl(ctx, append([]string{"--", "del-port", g.cfg.Port}, g.cfg.portRow()...)...); err != nil {
		return fmt.Errorf("guest %s: replacing its port: %w", g.cfg.Name, err)
	}
	return nil
}

// Vanish takes the guest's device away under its rows: they stay, and keep their ofport.
func (g *Guest) Vanish(context.Context) error {
	g.mu.Lock()
	if g.sender != nil {
		_ = g.sender.Close()
		g.sender = nil
	}
	g.mu.Unlock()
	return g.unplug()
}

// Rename gives the guest's port another name from the next Start on, as libvirt does with vnetN.
// Rename a stopped guest only: a running one would leave its port behind.
func (g *Guest) Rename(port string) error {
	if len(port) == 0 || len(port) > 15 {
		return fmt.Errorf("guest %s: port name %q must have 1 to 15 characters", g.cfg.Name, port)
	}
	g.cfg.Port = port
	return nil
}

// Remove stops the guest for good and ends its namespace.
func (g *Guest) Remove(ctx context.Context) error {
	err := g.Stop(ctx)
	g.inside.close()
	g.lab.mu.Lock()
	defer g.lab.mu.Unlock()
	g.lab.guests = slices.DeleteFunc(g.lab.guests, func(o *Guest) bool { return o == g })
	return err
}

// OFPort is an interface's OpenFlow port number. It waits until ovs-vswitchd has given one, and is an error that
// quotes Interface.error if it could not.
func (l *Lab) OFPort(ctx context.Context, iface string) (int, error) {
	var number int
	err := until(ctx, "ofport of "+iface, func() (bool, error) {
		out, err := l.VSCtl(ctx, "get", "Interface", iface, "ofport", "error")
		if err != nil {
			return false, err
		}
		ofport, problem, _ := strings.Cut(strings.TrimSpace(out), "\n")
		if ofport == "[]" {
			return false, nil
		}
		number, err = strconv.Atoi(ofport)
		if err != nil {
			return false, err
		}
		if number <= 0 {
			return false, errors.New("open vswitch did not take it: " + problem)
		}
		return true, nil
	})
	return number, err
}

// quoted writes a string as an atom of OVSDB (ovs-vsctl(8), Database Values).
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return string(b)
}
