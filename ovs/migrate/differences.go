package migrate

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"
)

// lasting does something until nothing is otherwise than wanted, and returns what still is after a while. Who configures devices, as
// systemd-networkd does, may take one in hand that has just got its name, take away for a moment what it has, and give it anew.
func lasting(ctx context.Context, do func() (differences []string, err error)) ([]string, error) {
	const most = 5 * time.Second
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(most); ; {
		list, err := do()
		if err == nil && len(list) == 0 || time.Now().After(deadline) {
			return list, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return list, err
		}
	}
}

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
	settings := maps.Clone(s.Settings)
	if s.stp() { // which has addresses forgotten sooner for a while after each change
		delete(settings, "ageing_time")
	}
	numbers(s.Bridge.Name, settings, o.Settings)
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
