package ovs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"

	"spanctl/policy/plan"
)

// lookForDeaf adds to the snapshot which devices ovs-vswitchd does not listen to, on
// bridges of the userspace datapath that have mirrors of ours. It makes each device
// promiscuous when it takes it in (port_create in lib/dpif-netdev.c). One that is replaced
// under its name while its rows are, by one transaction, it takes for the one that it has
// (seen on OVS 3.1.0): the new device is not promiscuous, and what comes in by it is lost.
// OVSDB shows it as if all were well.
func (c *Conn) lookForDeaf(ctx context.Context, s *plan.Snapshot) {
	used := s.Listening()
	if len(used) == 0 {
		return
	}
	// One that only starts has made no device promiscuous yet, and lets its bridges be managed
	// when it has; one that was ended well has taken all back.
	dir, _, err := c.daemon()
	if err != nil || slices.ContainsFunc(s.Bridges, func(b plan.Bridge) bool {
		_, err := os.Stat(filepath.Join(dir, b.Name+".mgmt"))
		return b.Datapath == "netdev" && err != nil
	}) {
		return
	}
	err = c.inNamespace(func(handle *netlink.Handle) error {
		links, err := handle.LinkList()
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // one that is not listed is none
			return fmt.Errorf("listing devices: %w", err)
		}
		for _, link := range links {
			if attrs := link.Attrs(); used[attrs.Name] && attrs.Promisc == 0 {
				if s.Deaf == nil {
					s.Deaf = map[string]bool{}
				}
				s.Deaf[attrs.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		c.log.DebugContext(ctx, "devices are not known", "error", err)
	}
}
