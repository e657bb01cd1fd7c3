package ovstest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
)

// silence is what keeps a namespace's kernel from sending frames of its own accord.
var silence = []struct{ key, value string }{
	{"net/ipv6/conf/all/disable_ipv6", "1"},
	{"net/ipv6/conf/default/disable_ipv6", "1"},
	{"net/ipv6/conf/default/accept_dad", "0"},
	{"net/ipv6/conf/default/accept_ra", "0"},
	{"net/ipv6/conf/default/router_solicitations", "0"},
	// One ICMP error a day (milliseconds): the first answer to a frame for which no socket is open would come
	// when the day is over. Path MTU messages are never limited (icmp_ratelimit, kernel's ip-sysctl.rst).
	{"net/ipv4/icmp_ratelimit", "86400000"},
}

// hush silences the current namespace and brings its loopback up.
func hush() error {
	for _, s := range silence {
		if err := sysctl(s.key, s.value); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("raising loopback: %w", err)
	}
	return nil
}

// sysctl sets a key (with slashes) of the current namespace. Keys of a kernel without IPv6 are none to set.
func sysctl(key, value string) error {
	err := os.WriteFile("/proc/sys/"+key, []byte(value), 0)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(key, "net/ipv6/") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("setting %s: %w", key, err)
	}
	return nil
}

// offloads are what makes a device hand on frames that no wire carries: without a checksum, or longer than the MTU.
// The userspace datapath drops TCP whose checksum is left to the hardware.
var offloads = []string{
	"tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-sctp",
	"tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation",
	"tx-udp-segmentation", "tx-generic-segmentation", "rx-gro", "rx-gro-list",
}

// plain turns a device's offloads off, in the current namespace.
func plain(device string) error {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("opening ethtool: %w", err)
	}
	defer tool.Close()
	states, err := tool.FeaturesWithState(device)
	if err != nil {
		return fmt.Errorf("reading offloads of %s: %w", device, err)
	}
	off := map[string]bool{}
	for _, name := range offloads {
		if s := states[name]; s.Available && (s.Active || s.Requested) && !s.NeverChanged {
			off[name] = false
		}
	}
	if len(off) == 0 {
		return nil
	}
	if err := tool.Change(device, off); err != nil {
		return fmt.Errorf("turning offloads of %s off: %w", device, err)
	}
	return nil
}
