package plan

import (
	"strings"

	"spanctl/policy"
)

// roleUnknown is the role of a real port of which nothing tells what it is (a
// veth without external_ids): role "all" selects it, the others do not.
// roleNone is the role of ports that are never sources.
const (
	roleUnknown policy.Role = ""
	roleNone    policy.Role = "none"
)

// realTypes are the Interface types through which packets enter and leave the
// host's switch. Every other type is a patch or a tunnel, and those are never
// sources (ingress and egress mirrors do not act on patch ports, OVS 3.1).
var realTypes = map[string]policy.Role{
	"": roleUnknown, "system": roleUnknown, "dummy": roleUnknown,
	"internal": policy.RoleHost, "dummy-internal": policy.RoleHost,
	"tap":                 policy.RoleGuest,
	"dpdkvhostuser":       policy.RoleGuest,
	"dpdkvhostuserclient": policy.RoleGuest,
	"dpdk":                policy.RoleUplink,
	"afxdp":               roleUnknown, "afxdp-nonpmd": roleUnknown,
}

// guestKeys are the external_ids that hypervisors set on a guest's Interface
// (libvirt, XAPI, xl, OpenStack).
var guestKeys = []string{"attached-mac", "iface-id", "vm-id", "vm-uuid", "xs-vm-uuid", "xs-vif-uuid", "xen-vm-uuid", "xen-vm-name"}

// guestNames are the names that hypervisors give to guests' devices; # stands
// for digits. A name that begins with "tap" is a guest's too: tapNNNiM
// (Proxmox), tap<id> (OpenStack), tapN.M (Xen HVM).
var guestNames = []string{"vif#.#", "vif#.#-emu", "vnet#", "veth#i#", "fwln#i#", "fwpr#p#"}

// uplinkNames are the usual names of physical NICs, asked where the datapath
// names no driver.
var uplinkNames = []string{"eth#", "bond#", "em#", "eno#", "p#p#"}

// roleOf tells what a port is to the host. An explicit spanctl-role wins, then
// the Interface's type, then what hypervisors write, then names, then drivers.
func roleOf(p *Port) policy.Role {
	if role, ok := roleTag(p.ExternalIDs); ok {
		return role
	}
	for i := range p.Interfaces {
		if role, ok := roleTag(p.Interfaces[i].ExternalIDs); ok {
			return role
		}
	}
	return guessRole(p)
}

// guessRole tells what a port is without an explicit role.
func guessRole(p *Port) policy.Role {
	if len(p.Interfaces) == 0 {
		return roleNone
	}
	if len(p.Interfaces) > 1 {
		return policy.RoleUplink // a bond: its members select its Port
	}
	iface := &p.Interfaces[0]
	role, isReal := realTypes[iface.Type]
	switch {
	case matchesDigits("fwln#o#", iface.Name): // Proxmox's, of a NIC with a firewall: an internal port
		return policy.RoleGuest
	case !isReal:
		return roleNone
	case role != roleUnknown:
		return role
	}
	for _, key := range guestKeys {
		if _, ok := iface.ExternalIDs[key]; ok {
			return policy.RoleGuest
		}
	}
	if strings.HasPrefix(iface.Name, "tap") || matchesAny(guestNames, iface.Name) {
		return policy.RoleGuest
	}
	switch iface.Driver {
	case "tun":
		return policy.RoleGuest
	case "veth":
		return roleUnknown
	case "":
		if matchesAny(uplinkNames, iface.Name) || strings.HasPrefix(iface.Name, "enp") || strings.HasPrefix(iface.Name, "ens") {
			return policy.RoleUplink
		}
		return roleUnknown
	}
	return policy.RoleUplink
}

// roleTag reads an explicit role; one that is not known is ignored, as if it
// were not set.
func roleTag(ids map[string]string) (policy.Role, bool) {
	switch role := policy.Role(ids[KeyRole]); role {
	case policy.RoleGuest, policy.RoleUplink, policy.RoleHost, roleNone:
		return role, true
	}
	return roleUnknown, false
}

// matchesAny reports whether name has the form of one of the patterns, in
// which # stands for one or more digits.
func matchesAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if matchesDigits(pattern, name) {
			return true
		}
	}
	return false
}

func matchesDigits(pattern, name string) bool {
	for pattern != "" {
		if pattern[0] != '#' {
			if name == "" || name[0] != pattern[0] {
				return false
			}
			pattern, name = pattern[1:], name[1:]
			continue
		}
		rest := strings.TrimLeft(name, "0123456789")
		if len(rest) == len(name) {
			return false
		}
		pattern, name = pattern[1:], rest
	}
	return name == ""
}
