package ovs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"spanctl/ovs/openflow"
	"spanctl/policy/plan"
)

// local reports whether the database is on this host: it is reached by a Unix
// socket.
func (c *Conn) local() bool { return strings.HasPrefix(c.remote, "unix:") }

// LookAtHost adds to the snapshot what OVSDB does not tell: which ovs-vswitchd runs, which
// devices it does not listen to, the rules of tap bridges, the names of guests that the
// intent may mean, ports that are tunnels of the kernel's, and what tunnels need: how
// packets to their far ends leave the host and its own addresses, as the kernel
// says in ovs-vswitchd's network namespace, and which key files cannot be read. What
// cannot be known is left out: of a remote database, without the rights to look, where
// ovs-vswitchd does not run, or libvirt does not answer.
func (c *Conn) LookAtHost(ctx context.Context, s *plan.Snapshot, intent plan.Intent) {
	c.nameGuests(ctx, s, intent)
	if !c.local() {
		return
	}
	if _, pid, err := c.daemon(); err == nil {
		s.Daemon = strconv.Itoa(pid)
	}
	c.readRules(ctx, s)
	c.lookForDeaf(ctx, s)
	remotes := append(intent.Remotes(), c.lookAtDevices(ctx, s)...)
	if len(remotes) == 0 {
		return
	}
	for _, file := range intent.Files() {
		if _, err := readSecret(file); err != nil {
			if s.BadFiles == nil {
				s.BadFiles = map[string]string{}
			}
			s.BadFiles[file] = err.Error()
		}
	}
	err := c.inNamespace(func(handle *netlink.Handle) error {
		links, err := handle.LinkList()
		if err != nil {
			return err
		}
		s.Routes = map[netip.Addr]plan.Route{}
		for _, address := range remotes {
			route, err := lookUp(handle, links, address)
			if err != nil {
				c.log.DebugContext(ctx, "route is not known", "to", address, "error", err)
				continue
			}
			s.Routes[address] = route
		}
		list, err := handle.AddrList(nil, netlink.FAMILY_ALL)
		for i := range list {
			if address, ok := netip.AddrFromSlice(list[i].IP); ok {
				s.Addresses = append(s.Addresses, address.Unmap())
			}
		}
		return err
	})
	if err != nil {
		c.log.DebugContext(ctx, "routes are not known", "error", err)
	}
}

func lookUp(handle *netlink.Handle, links []netlink.Link, address netip.Addr) (plan.Route, error) {
	found, err := handle.RouteGet(address.AsSlice())
	switch {
	case errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || err == nil && len(found) == 0:
		return plan.Route{}, nil // it is known that there is none
	case err != nil:
		return plan.Route{}, fmt.Errorf("looking up the route: %w", err)
	}
	route := plan.Route{MTU: found[0].MTU, NextHop: addressOf(found[0].Gw), Source: addressOf(found[0].Src)}
	// From the device of the route down to what it is on.
	seen := map[int]bool{}
	for next := []int{found[0].LinkIndex}; len(next) > 0; next = next[1:] {
		for _, link := range links {
			attrs := link.Attrs()
			if attrs.MasterIndex == next[0] {
				next = append(next, attrs.Index)
			}
			if attrs.Index != next[0] || seen[attrs.Index] {
				continue
			}
			seen[attrs.Index] = true
			route.Devices = append(route.Devices, attrs.Name)
			if route.MTU == 0 {
				route.MTU = attrs.MTU
			}
			if attrs.ParentIndex > 0 && attrs.NetNsID < 0 { // not of another namespace
				next = append(next, attrs.ParentIndex)
			}
		}
	}
	if len(route.Devices) == 0 {
		return plan.Route{}, errors.New("the device of the route has gone")
	}
	return route, nil
}

// addressOf is the address, zero if there is none.
func addressOf(ip net.IP) netip.Addr {
	address, _ := netip.AddrFromSlice(ip)
	return address.Unmap()
}

// inNamespace calls f with a netlink handle of ovs-vswitchd's network namespace.
func (c *Conn) inNamespace(f func(*netlink.Handle) error) error {
	ns, err := c.namespace()
	if err != nil {
		return err
	}
	defer ns.Close()
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE) // others may be no part of the kernel
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	return f(handle)
}

// namespace is ovs-vswitchd's network namespace. The daemon is found as OVS's own
// tools do: by ovs-vswitchd.pid in $OVS_RUNDIR, which is where the database's socket
// is.
func (c *Conn) namespace() (netns.NsHandle, error) {
	_, pid, err := c.daemon()
	if err != nil {
		return netns.None(), err
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return netns.None(), fmt.Errorf("network namespace of ovs-vswitchd (pid %d): %w", pid, err)
	}
	return ns, nil
}

// daemon finds ovs-vswitchd, and the folder of its control sockets, by its pid file
// beside one of the database's sockets.
func (c *Conn) daemon() (dir string, pid int, err error) {
	for _, dir := range c.runDirs() {
		file, err := os.ReadFile(filepath.Join(dir, "ovs-vswitchd.pid"))
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(file)))
		if err != nil {
			continue
		}
		// The pid of one that was killed may be another process's by now.
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.HasPrefix(string(name), "ovs-vswitchd") {
			return dir, pid, nil
		}
	}
	return "", 0, fmt.Errorf("%w: ovs-vswitchd of %s: no process with its pid file; check that it runs (ovs-appctl version)", openflow.ErrUnreachable, c.remote)
}

// runDirs are the folders of the database's Unix sockets.
func (c *Conn) runDirs() []string {
	var dirs []string
	for text := range strings.SplitSeq(c.remote, ",") {
		list, err := endpoints(text)
		if err != nil || !strings.HasPrefix(text, "unix:") {
			continue
		}
		if u, err := url.Parse(list[0]); err == nil {
			dirs = append(dirs, filepath.Dir(u.Path))
		}
	}
	return dirs
}
