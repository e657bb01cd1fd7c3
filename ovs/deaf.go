package ovs

import (
	"context"
	"fmt"

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
	err := c.inNamespace(func(handle *netlink.Handle) error {
		links, err := handle.LinkList()
		if err != nil {
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
