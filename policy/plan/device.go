package plan

import (
	"fmt"
	"slices"
	"strconv"
)

// deviceKinds are the kinds of devices by which the kernel wraps frames that are sent to them (ip-link(8)). A device's
// driver is its kind, where it has no other (Linux's ethtool_get_drvinfo).
var deviceKinds = []string{"erspan", "ip6erspan", "gretap", "ip6gretap", "vxlan", "geneve"}

// mayWrap reports whether the Interface may be a tunnel of the kernel's own, as far as OVSDB tells: only the host knows it
// of those without a driver's name.
func (i *Interface) mayWrap() (may, known bool) {
	known = slices.Contains(deviceKinds, i.Driver)
	return (i.Type == "" || i.Type == "system") && (known || i.Driver == ""), known
}

// MayWrap lists the Interfaces that may be tunnels of the kernel's own: those that [Snapshot.Devices] should tell, if they
// are.
func (s *Snapshot) MayWrap() []string {
	var names []string
	for b := range s.Bridges {
		for p := range s.Bridges[b].Ports {
			for i := range s.Bridges[b].Ports[p].Interfaces {
				iface := &s.Bridges[b].Ports[p].Interfaces[i]
				if may, _ := iface.mayWrap(); may {
					names = append(names, iface.Name)
				}
			}
		}
	}
	return names
}

// wraps is the tunnel of the kernel's that the port is, without its far end if that is not known.
func (s *Snapshot) wraps(p *Port) (Device, bool) {
	if len(p.Interfaces) != 1 {
		return Device{}, false
	}
	iface := &p.Interfaces[0]
	may, known := iface.mayWrap()
	if d, told := s.Devices[iface.Name]; may && told {
		return d, true
	}
	return Device{Kind: iface.Driver}, may && known
}

// device is the tunnel that the port is by itself, nil if it is none. Nothing of it is ours; but its packets may come back
// as those of our tunnels do.
func (c *compiler) device(port int32) *tunnel {
	if t, known := c.devices[port]; known {
		return t
	}
	var t *tunnel
	if d, wraps := c.snap.wraps(c.ports[port]); wraps {
		t = &tunnel{name: c.ports[port].Name, kind: d.Kind, remote: d.Remote, options: map[string]string{}}
		t.text = fmt.Sprintf("%s (the kernel's %s)", t.name, d.Kind)
		if d.Port != 0 {
			t.options["dst_port"] = strconv.Itoa(d.Port)
		}
	}
	c.devices[port] = t
	return t
}
