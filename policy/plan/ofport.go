package plan

import (
	"strconv"
	"strings"
)

// numbers adds to a set all that may be numbers of ports in a rule of ours.
func (f *Flow) numbers(set map[int]bool) {
	for _, text := range []string{f.Match, f.Actions} {
		for _, digits := range strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
			if n, err := strconv.Atoi(digits); err == nil {
				set[n] = true
			}
		}
	}
}

// number is the OpenFlow port number of a port on a tap bridge: the one that it
// has there, or one that no port has.
func (c *compiler) number(t *tap, port string) int {
	if n, known := c.numbers[port]; known {
		return n
	}
	used := map[int]bool{}
	for _, n := range c.numbers {
		used[n] = true
	}
	asked := 0
	if bridge := c.snap.Bridge(t.name); bridge != nil {
		for p := range bridge.Ports {
			for _, iface := range bridge.Ports[p].Interfaces {
				if bridge.Ports[p].Name == port {
					asked = iface.OFPortRequest // it may not have it yet
				} else {
					used[iface.OFPortRequest], used[iface.OFPort] = true, true
				}
			}
		}
		if asked > 0 && !used[asked] {
			c.numbers[port] = asked
			return asked
		}
		for i := range bridge.Flows {
			bridge.Flows[i].numbers(used) // a rule that stays may send there
		}
	}
	n := 1
	for used[n] {
		n++
	}
	c.numbers[port] = n
	return n
}
