package plan

import (
	"fmt"
	"slices"
	"strings"

	"spanctl/policy"
)

// A target is where copies go on one host: a local port, a tunnel, an RSPAN
// VLAN of every source's own bridge, or a destination that is not present.
type target struct {
	port   int32 // -1 for all but a port
	vlan   int   // 0 for all but RSPAN
	tunnel *tunnel
	device *tunnel // the kernel's, if the port is one; nil for others
	absent string  // how the policy names it
}

// wraps is the tunnel that copies go into, nil if they go into none.
func (t target) wraps() *tunnel {
	if t.device != nil {
		return t.device
	}
	return t.tunnel
}

func (t target) rspan() bool { return t.vlan != 0 }

// locate finds a session's destination number i. Its target is absent while the
// destination is; awaited then says what is awaited.
func (c *compiler) locate(name string, i int, d *policy.Destination) (t target, awaited string, refusal *Refusal) {
	t.port = -1
	refuse := func(field, problem, remedy string) (target, string, *Refusal) {
		return t, "", &Refusal{Session: name, Field: fmt.Sprintf("destinations[%d]%s", i, field), Problem: problem, Remedy: remedy}
	}
	switch what := describeDestination(d); {
	case d.VLAN != 0:
		t.vlan = d.VLAN
		return t, "", nil
	case isTunnel(d):
		t.tunnel = c.tunnel(d)
		if field, problem, remedy := refuseKind(t.tunnel); problem != "" {
			return refuse(field, problem, remedy)
		}
		if c.noRoute(t.tunnel) {
			return target{port: -1, absent: t.tunnel.whole}, "no route to " + t.tunnel.remote.String(), nil
		}
		return t, "", nil
	default:
		port, awaited, wrong := c.locatePort(what, d)
		switch {
		case wrong != nil:
			return refuse(wrong.Field, wrong.Problem, wrong.Remedy)
		case port < 0:
			t.absent = what
			return t, awaited, nil
		}
		t.port, t.device = port, c.device(port)
		return t, "", nil
	}
}

// locatePort finds the port of a local destination, -1 if it is not present.
// The field of its refusal is that within the destination.
func (x *portIndex) locatePort(what string, d *policy.Destination) (port int32, awaited string, refusal *Refusal) {
	refuse := func(field, problem, remedy string) (int32, string, *Refusal) {
		return -1, "", &Refusal{Field: field, Problem: problem, Remedy: remedy}
	}
	var found []int32
	x.each(conditionsOf(d.Interface, d.VM, "", d.ExternalIDs), func(port int32) {
		if !x.ports[port].Managed() {
			found = append(found, port)
		}
	})
	if len(found) == 0 {
		return -1, what + " is not present", nil
	}
	all := found
	found = x.inUse(found)
	port = found[0]
	switch {
	case d.VM != "" && len(x.guestsOf(found, d.VM)) > 1:
		return refuse(".vm", fmt.Sprintf("%s is several guests: %s", what, strings.Join(x.guestsOf(found, d.VM), ", ")), "name one")
	case d.NIC != nil:
		if *d.NIC >= len(found) {
			return -1, fmt.Sprintf("vm %s has no NIC %d: it has %d", d.VM, *d.NIC, len(found)), nil
		}
		if at := slices.IndexFunc(found, func(p int32) bool { return x.ofport(p) <= 0 }); at >= 0 && len(found) > 1 {
			return -1, fmt.Sprintf("%s: the NICs are ordered by ofport, and %s has none", what, x.ports[found[at]].Name), nil
		}
		x.byNIC(found, all)
		port = found[*d.NIC]
	case len(found) > 1 && d.VM != "":
		return refuse(".vm", fmt.Sprintf("%s has several NICs: %s", what, x.names(found)), "choose one with nic: N, or name its interface")
	case len(found) > 1:
		return refuse("", fmt.Sprintf("%s is several ports: %s", what, x.names(found)), "name one")
	}
	p := x.ports[port]
	if typ := p.Interfaces; len(typ) == 1 {
		if _, isReal := realTypes[typ[0].Type]; !isReal {
			return refuse("", fmt.Sprintf("port %s is a %s port, which cannot be a local destination", p.Name, typ[0].Type), "name a guest's port")
		}
	}
	role := x.roles[port]
	if role == roleNone {
		role = guessRole(p) // never a source, and what it is all the same
	}
	if (role == policy.RoleUplink || role == policy.RoleHost) && !d.Dedicated {
		kind := "a physical NIC or bond"
		if role == policy.RoleHost {
			kind = "an internal port of the host"
		} else if _, wraps := x.snap.wraps(p); wraps {
			kind = "a tunnel of the kernel's"
		}
		return refuse(".dedicated", fmt.Sprintf("port %s is %s: as a destination it carries nothing but copies", p.Name, kind),
			"set dedicated: true if that is meant, or "+KeyRole+"=guest on its Interface if it is a guest's port")
	}
	if bridge := &x.snap.Bridges[x.bridge[port]]; bridge.STP && p.OtherConfig[keySTP] != "false" {
		return refuse("", fmt.Sprintf("bridge %s runs STP, from which a port leaves when it becomes a destination: production would stop for about 30 seconds with each change", bridge.Name),
			fmt.Sprintf("take the port out of it at a time that suits, by ovs-vsctl set Port %s other_config:stp-enable=false", p.Name))
	}
	return port, "", nil
}

// ofport is the port's OpenFlow port number, at home if it is borrowed.
func (x *portIndex) ofport(port int32) int {
	if number := x.ports[port].savedOFPort(); number > 0 {
		return number
	}
	if ifaces := x.ports[port].Interfaces; len(ifaces) > 0 {
		return ifaces[0].OFPort
	}
	return 0
}

func (x *portIndex) names(ports []int32) string {
	names := make([]string, len(ports))
	for i, port := range ports {
		names[i] = x.ports[port].Name
	}
	return strings.Join(names, ", ")
}

// guestsOf lists the guests whose ids made the ports match the glob.
func (x *portIndex) guestsOf(ports []int32, glob string) []string {
	var guests []string
	for _, port := range ports {
		// A port may carry several ids of one guest: the first that matches
		// stands for it.
		x.values(port, fieldVM, func(v string) bool {
			if !policy.Glob(glob, v) {
				return true
			}
			if !slices.Contains(guests, v) {
				guests = append(guests, v)
			}
			return false
		})
	}
	return guests
}

// describeDestination says how the policy names a destination.
func describeDestination(d *policy.Destination) string {
	switch {
	case d.VLAN != 0:
		return fmt.Sprintf("vlan %d", d.VLAN)
	case d.Interface != "":
		return "interface " + d.Interface
	case d.VM != "" && d.NIC != nil:
		return fmt.Sprintf("vm %s nic %d", d.VM, *d.NIC)
	case d.VM != "":
		return "vm " + d.VM
	case d.ExternalIDs != nil:
		return "external_ids " + strings.Join(mapValue(d.ExternalIDs), ",")
	}
	return newTunnel(d).text
}
