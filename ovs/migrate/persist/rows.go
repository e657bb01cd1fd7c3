package persist

import (
	"strconv"
	"strings"
)

// on says whether an option is switched on, in the words of bridge-utils, ifupdown2 and systemd.
func on(value string) bool {
	switch strings.ToLower(value) {
	case "on", "yes", "1", "true":
		return true
	}
	return false
}

// bridgeRows are the commands of ovs-vsctl(8) that say of a bridge of Open vSwitch what an option said of the Linux bridge
// (bridge-utils-interfaces(5), ifupdown2's; without "bridge_"). None: it is the default there, or means nothing without
// the spanning tree.
func bridgeRows(bridge, key, value string, stp bool) []string {
	set := func(column string) []string { return []string{"set Bridge " + bridge + " " + column} }
	tree := func(column string) []string {
		if !stp {
			return nil
		}
		return set("other_config:" + column + "=" + value)
	}
	port, number, _ := strings.Cut(value, " ")
	switch key {
	case "stp":
		if stp {
			return set("stp_enable=true")
		}
	case "fd":
		return tree("stp-forward-delay")
	case "hello":
		return tree("stp-hello-time")
	case "maxage":
		return tree("stp-max-age")
	case "bridgeprio":
		return tree("stp-priority")
	case "pathcost":
		if stp {
			return []string{"set Port " + port + " other_config:stp-path-cost=" + number}
		}
	case "portprio":
		if stp {
			return []string{"set Port " + port + " other_config:stp-port-num=" + number}
		}
	case "ageing":
		if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds != 300 {
			return set("other_config:mac-aging-time=" + strconv.Itoa(int(seconds)))
		}
	case "mcsnoop":
		if on(value) {
			return set("mcast_snooping_enable=true")
		}
	case "pvid":
		return nil // of the bridge's own device: the ports have theirs
	}
	return nil
}

// portRows is the same of an option of a port (ifupdown2's).
func portRows(port, key, value string) []string {
	set := "set Port " + port + " "
	switch key {
	case "access":
		return []string{set + "tag=" + value}
	case "pvid":
		return []string{set + "tag=" + value + " vlan_mode=native-untagged"}
	case "vids":
		return []string{set + "trunks=" + strings.Join(strings.Fields(value), ",")}
	}
	return nil
}
