package migrate

import (
	"fmt"
	"maps"
	"net"
	"slices"
)

// Differences are what a bridge has otherwise than the other one, for people; nil is nothing. Ports that the other one does
// not have, and numbers that the kernel gives, are not compared: guests come and go.
func (s *State) Differences(o *State) []string {
	var list []string
	compare := func(what string, a, b any) {
		if a != b {
			list = append(list, fmt.Sprintf("%s is %v, not %v", what, b, a))
		}
	}
	link := func(a, b *Link) {
		compare("the MAC of "+a.Name, a.MAC, b.MAC)
		compare("the MTU of "+a.Name, a.MTU, b.MTU)
		compare("whether "+a.Name+" is up", a.Up, b.Up)
		compare("whether "+a.Name+" is promiscuous", a.Promisc, b.Promisc)
	}
	numbers := func(what string, a, b map[string]uint64) {
		for _, name := range slices.Sorted(maps.Keys(a)) {
			compare(name+" of "+what, a[name], b[name])
		}
	}
	link(&s.Bridge, &o.Bridge)
	numbers(s.Bridge.Name, s.Settings, o.Settings)
	compare("the VLANs of "+s.Bridge.Name, fmt.Sprint(s.VLANs), fmt.Sprint(o.VLANs))
	for i := range s.Ports {
		p := &s.Ports[i]
		q := o.port(p.Name)
		if q == nil {
			if _, err := net.InterfaceByName(p.Name); err == nil {
				list = append(list, "port "+p.Name+" is missing")
			}
			continue
		}
		link(&p.Link, &q.Link)
		numbers("port "+p.Name, p.Settings, q.Settings)
		compare("the sysctls of port "+p.Name, fmt.Sprint(p.Sysctls), fmt.Sprint(q.Sysctls))
		compare("the VLANs of port "+p.Name, fmt.Sprint(p.VLANs), fmt.Sprint(q.VLANs))
	}
	return append(list, s.Host.Differences(o.Host)...)
}
