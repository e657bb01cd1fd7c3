package plan

import (
	"regexp"
	"slices"
	"strings"
)

// libvirtKeys are the vmKeys whose values are UUIDs of libvirt's domains: libvirt
// writes the first, OpenStack, which runs its guests by libvirt, the second.
var libvirtKeys = []string{"vm-id", "vm-uuid"}

var uuidForm = regexp.MustCompile(`^(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// domains calls yield with the UUID of each of libvirt's domains, as libvirt writes
// it, that the Interface may be one's, until yield returns false. XAPI's guests are no
// domains of libvirt's, but have a vm-id too: ovs-xapi-sync writes it beside the
// xs-vm-uuid that is there from the beginning.
func (i *Interface) domains(yield func(string) bool) {
	if i.ExternalIDs["xs-vm-uuid"] != "" {
		return
	}
	for _, key := range libvirtKeys {
		if id := i.ExternalIDs[key]; uuidForm.MatchString(id) && !yield(strings.ToLower(id)) {
			return
		}
	}
}

// Domains lists the UUIDs of libvirt's domains whose names the intent needs to be
// known ([Snapshot.Guests]): nothing unless a session has a vm that may be a name.
func (in Intent) Domains(snap *Snapshot) []string {
	if !in.namesGuests() {
		return nil
	}
	var uuids []string
	for b := range snap.Bridges {
		for p := range snap.Bridges[b].Ports {
			for i := range snap.Bridges[b].Ports[p].Interfaces {
				for uuid := range snap.Bridges[b].Ports[p].Interfaces[i].domains {
					uuids = append(uuids, uuid)
				}
			}
		}
	}
	slices.Sort(uuids)
	return slices.Compact(uuids)
}

func (in Intent) namesGuests() bool {
	for _, w := range in {
		if w.Session == nil {
			continue
		}
		var globs []string
		for i := range w.Session.Sources {
			globs = append(globs, w.Session.Sources[i].VM)
		}
		for i := range w.Session.Except {
			globs = append(globs, w.Session.Except[i].VM)
		}
		for i := range w.Session.Destinations {
			globs = append(globs, w.Session.Destinations[i].VM)
		}
		if slices.ContainsFunc(globs, mayBeName) {
			return true
		}
	}
	return false
}

// mayBeName reports whether the glob of a vm may select a guest by its name.
func mayBeName(glob string) bool { return glob != "" && !uuidForm.MatchString(glob) }
