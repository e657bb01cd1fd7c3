package persist

import (
	"fmt"
	"slices"
	"strings"
)

// Plan says what the files below root must be that the bridge is there after the next boot as it is in the layout. Files
// that are so already are not among the changes. Its error is a ByHandError where a user must act himself.
//
// It reads only. What the files are to be depends on them and on the layout alone.
func Plan(root string, l Layout) (Changes, error) {
	h := &host{root: root, Layout: l}
	has, err := netplan(h)
	if err != nil {
		return Changes{}, err
	}
	if has {
		c := Changes{Manager: Netplan}
		c.note("netplan makes %s a bridge of Open vSwitch already, at the next boot.", h.name())
		return c, h.guests(&c)
	}
	for _, refuse := range []func(*host) error{networkManager, networkScripts, libvirtNetwork} {
		if err := refuse(h); err != nil {
			return Changes{}, err
		}
	}
	files, err := readInterfaces(h)
	if err != nil {
		return Changes{}, err
	}
	units, err := readNetworkd(h)
	if err != nil {
		return Changes{}, err
	}
	inIfupdown, inNetworkd := files.where(), units.where()
	c := Changes{Manager: None}
	switch {
	case len(inIfupdown) > 0 && len(inNetworkd) > 0:
		return Changes{}, h.byHand(Ifupdown, "and by systemd-networkd too", "  leave it to one of them",
			append(inIfupdown, inNetworkd...)...)
	case len(inIfupdown) > 0:
		c, err = files.plan()
	case len(inNetworkd) > 0:
		c, err = units.plan()
	default:
		c.note("No file that spanctl knows makes %s at boot. Open vSwitch will make %s, with its ports; its addresses and routes"+
			" are for whoever has set them until now.", l.Bridge, h.name())
	}
	if err != nil {
		return Changes{}, err
	}
	slices.SortFunc(c.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return c, h.guests(&c)
}

// guests notes what guests and networks of hypervisors need.
func (h *host) guests(c *Changes) error {
	if err := h.libvirtNetworks(c); err != nil {
		return err
	}
	guests, err := Guests(h.root, h.Layout)
	c.Notes = append(c.Notes, h.GuestNotes(guests)...)
	return err
}

// change adds a file to the changes, unless it is as it should be.
func (c *Changes) change(path string, before, after []byte) {
	if !same(before, after) {
		c.Files = append(c.Files, File{Path: path, Before: before, After: after})
	}
}

func (c *Changes) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}
