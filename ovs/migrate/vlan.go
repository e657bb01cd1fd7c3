package migrate

import (
	"errors"
	"slices"
)

// errVLANs indicates that Open vSwitch has no port with such VLANs.
var (
	errNoVLAN   = errors.New("it is in no VLAN and carries nothing")
	errUntagged = errors.New("it sends several VLANs untagged, or one that is not the VLAN of what comes untagged")
)

// portVLANs says in the columns of a Port which VLANs it carries (ovs-vswitchd.conf.db(5), tag, trunks and vlan_mode).
//
// What is in one VLAN, untagged both ways, is an access port. A Linux bridge would take frames from it that are tagged with
// that VLAN's number too; an access port does not.
func portVLANs(vlans []VLAN) (tag int, mode string, trunks []int, err error) {
	untagged := 0
	for _, v := range vlans {
		trunks = append(trunks, int(v.ID))
		if v.PVID {
			tag = int(v.ID)
			mode = "native-tagged"
		}
		if v.Untagged {
			untagged++
		}
	}
	slices.Sort(trunks)
	native := slices.ContainsFunc(vlans, func(v VLAN) bool { return v.PVID && v.Untagged })
	switch {
	case len(vlans) == 0:
		return 0, "", nil, errNoVLAN
	case untagged > 1, untagged == 1 && !native:
		return 0, "", nil, errUntagged
	case native && len(vlans) == 1:
		return tag, "access", nil, nil
	case native:
		mode = "native-untagged"
	case tag == 0:
		mode = "trunk"
	}
	return tag, mode, trunks, nil
}
