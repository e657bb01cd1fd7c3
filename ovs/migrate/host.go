package migrate

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Host is what the host itself has on a device: its side of the bridge.
type Host struct {
	Addresses  []Record          `json:"addresses"`
	Routes     []Record          `json:"routes"`
	Neighbours []Record          `json:"neighbours"`
	Rules      []Record          `json:"rules"`
	Sysctls    map[string]string `json:"sysctls"`
	// Beside are routes by other devices from an address of this one, which the kernel removes with the address.
	Beside []Record `json:"beside"`
}

// records are a host's of a kind.
func (h *Host) records(k *kind) *[]Record {
	switch k {
	case addresses:
		return &h.Addresses
	case routes:
		return &h.Routes
	case neighbours:
		return &h.Neighbours
	}
	return &h.Rules
}

// captureHost reads what the host has on a device.
func captureHost(on device) (*Host, error) {
	h := &Host{}
	for _, k := range kinds {
		list, err := k.captured(on)
		if err != nil {
			return nil, err
		}
		*h.records(k) = list
	}
	var err error
	if h.Beside, err = routesFrom(h.Addresses, on); err != nil {
		return nil, err
	}
	h.Sysctls, err = sysctls(on.name)
	return h, err
}

// ready makes a device ready to take the host over: with the host's sysctls, and up if it shall be.
func (h *Host) ready(link netlink.Link, up bool) error {
	name := link.Attrs().Name
	err := setSysctls(name, h.Sysctls)
	if _, ipv6 := h.Sysctls[acceptDAD]; ipv6 {
		err = errors.Join(err, setSysctl(name, acceptDAD, "0"))
	}
	if up && !isUp(link) {
		err = errors.Join(err, wrap(netlink.LinkSetUp(link), "setting %s up", name))
	}
	return err
}

// move gives the device that is ready all that the host has, and takes it from the other one, if there is one.
func (h *Host) move(to device, from *device) error {
	if err := h.moveAddresses(to, from); err != nil {
		return err
	}
	if err := errors.Join(h.moveNeighbours(to), h.moveRules(to, from), routes.put(h.Beside, to)); err != nil {
		return err
	}
	return h.done(to)
}

// done ends what ready has begun.
func (h *Host) done(on device) error {
	value, ipv6 := h.Sysctls[acceptDAD]
	if !ipv6 {
		return nil
	}
	return errors.Join(settled(on), setSysctl(on.name, acceptDAD, value))
}

// moveAddresses gives the device addresses and routes. What is new is there before what is old goes, so that there is no
// moment without.
func (h *Host) moveAddresses(to device, from *device) error {
	var early error // it may need what is still to come
	if from != nil {
		if err := addresses.put(h.Addresses, to); err != nil {
			return err
		}
		early = routes.put(h.Routes, to)
		if err := errors.Join(routes.take(h.Routes, *from), addresses.take(h.Addresses, *from)); err != nil {
			return err
		}
		if link, err := netlink.LinkByIndex(from.index); err == nil {
			if err := netlink.LinkSetDown(link); err != nil && !errors.Is(err, unix.ENODEV) { // ovs-vswitchd may remove it this moment
				return fmt.Errorf("setting %s down: %w", from.name, err)
			}
		}
	}
	err := errors.Join(addresses.converge(h.Addresses, to), routes.converge(h.Routes, to))
	if err != nil {
		return errors.Join(err, early)
	}
	return nil
}

// moveNeighbours puts neighbours. One that was learnt and has become another one meanwhile, or that the kernel does not take, is
// learnt again.
func (h *Host) moveNeighbours(to device) error {
	for i := range h.Neighbours {
		if err := neighbours.put(h.Neighbours[i:i+1], to); err != nil && h.Neighbours[i].given() {
			return err
		}
	}
	return nil
}

// moveRules lets rules that name the one device name the other.
func (h *Host) moveRules(to device, from *device) error {
	if from != nil && from.name != to.name {
		if err := rules.take(h.Rules, *from); err != nil {
			return err
		}
	}
	return rules.converge(h.Rules, to)
}

// Differences are what a host has otherwise than another, for people; nil is nothing. What is learnt and what ages is not
// compared.
func (h *Host) Differences(o *Host) []string {
	var list []string
	for _, k := range kinds {
		lacking, surplus := k.differ(*h.records(k), *o.records(k))
		for _, r := range lacking {
			if k != neighbours || r.given() {
				list = append(list, fmt.Sprintf("%s %s is missing", k.what, r.Text))
			}
		}
		for _, r := range surplus {
			if k != neighbours || r.given() {
				list = append(list, fmt.Sprintf("%s %s is new", k.what, r.Text))
			}
		}
	}
	for _, r := range h.Beside {
		if lacking, _ := routes.differ([]Record{r}, o.Beside); len(lacking) > 0 {
			list = append(list, fmt.Sprintf("route %s of another device is missing", r.Text))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(h.Sysctls)) {
		if got, there := o.Sysctls[key]; there && got != h.Sysctls[key] {
			list = append(list, fmt.Sprintf("net/%s is %s, not %s", key, got, h.Sysctls[key]))
		}
	}
	return list
}

// sameNamespace tells whether a process is in this one's network namespace.
func sameNamespace(pid int) (bool, error) {
	own, err := os.Stat("/proc/self/ns/net")
	if err != nil {
		return false, err
	}
	its, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return false, err
	}
	return os.SameFile(own, its), nil
}

// isUp tells whether a device is set up.
func isUp(link netlink.Link) bool { return link.Attrs().RawFlags&unix.IFF_UP != 0 }
