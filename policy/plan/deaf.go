package plan

import (
	"fmt"
	"slices"
)

// Listening are the names of the Interfaces whose devices ovs-vswitchd itself listens to,
// on bridges that have mirrors of ours: those of the userspace datapath that the kernel
// has made for others.
func (s *Snapshot) Listening() map[string]bool {
	names := map[string]bool{}
	for b := range s.Bridges {
		bridge := &s.Bridges[b]
		if bridge.Datapath != "netdev" || !slices.ContainsFunc(bridge.Mirrors, func(m Mirror) bool { return m.Managed() }) {
			continue
		}
		for p := range bridge.Ports {
			for _, i := range bridge.Ports[p].Interfaces {
				if (i.Type == "" || i.Type == "system") && i.OFPort > 0 {
					names[i.Name] = true
				}
			}
		}
	}
	return names
}

// deaf is the port's Interface to whose device ovs-vswitchd does not listen, empty if there is none.
func (s *Snapshot) deaf(p *Port) string {
	for _, i := range p.Interfaces {
		if s.Deaf[i.Name] {
			return i.Name
		}
	}
	return ""
}

// unheard says what is lost by a device that has been replaced.
func unheard(device string) string {
	return fmt.Sprintf("ovs-vswitchd does not listen to %s, which is not promiscuous: it was replaced under its name, and what it sends is lost, in production too; "+
		"delete its port, and add it again in another transaction", device)
}
