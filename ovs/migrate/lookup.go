package migrate

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"

	"spanctl/ovs"
)

// LinuxBridges are the names of this network namespace's.
func LinuxBridges() ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("reading network devices: %w", err)
	}
	var names []string
	for _, link := range links {
		if link.Type() == "bridge" {
			names = append(names, link.Attrs().Name)
		}
	}
	return names, nil
}

// LookAtSwitch tells of Open vSwitch what Check must know, for a new bridge with that datapath_type.
func LookAtSwitch(ctx context.Context, conn *ovs.Conn, datapath string) (*Switch, error) {
	snap, err := conn.Observe(ctx)
	if err != nil {
		return nil, err
	}
	sw := &Switch{Datapath: datapath}
	for i := range snap.Bridges {
		sw.Bridges = append(sw.Bridges, snap.Bridges[i].Name)
		for p := range snap.Bridges[i].Ports {
			sw.Ports = append(sw.Ports, snap.Bridges[i].Ports[p].Name)
		}
	}
	if _, err := netlink.GenlFamilyGet("ovs_datapath"); err == nil {
		sw.KernelDatapath = true
	}
	pid, err := conn.VSwitchdPID()
	if err != nil {
		return nil, err
	}
	same, err := sameNamespace(pid)
	if err != nil {
		return nil, fmt.Errorf("network namespace of ovs-vswitchd: %w", err)
	}
	if !same {
		sw.Elsewhere = fmt.Sprintf("ovs-vswitchd (pid %d) is in another network namespace, and does not see these devices: run spanctl in that one", pid)
	}
	return sw, nil
}
