package persist

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// networkScripts refuses a bridge of the network-scripts that Red Hat's releases had before 9: a package of Open vSwitch
// knows them itself (README.RHEL of it).
func networkScripts(h *host) error {
	file := path.Join("/etc/sysconfig/network-scripts", "ifcfg-"+h.Bridge)
	text, err := h.read(file)
	if err != nil || text == nil {
		return err
	}
	kind := ""
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "TYPE="); ok {
			kind = strings.Trim(value, `"'`)
		}
	}
	if !strings.EqualFold(kind, "bridge") {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  in %s, in the place of TYPE=Bridge:\n    DEVICETYPE=ovs\n    TYPE=OVSBridge\n", file)
	for _, p := range h.Ports {
		of := path.Join("/etc/sysconfig/network-scripts", "ifcfg-"+p.Name)
		if h.exists(of) {
			fmt.Fprintf(&b, "  in %s, in the place of BRIDGE=%s:\n    DEVICETYPE=ovs\n    TYPE=OVSPort\n    OVS_BRIDGE=%s\n",
				of, h.Bridge, h.name())
			if p.Tag != 0 {
				fmt.Fprintf(&b, "    OVS_OPTIONS=\"tag=%d\"\n", p.Tag)
			}
		}
	}
	return h.byHand(NetworkScripts, "", b.String(), file)
}

// libvirtNetwork refuses a bridge that a network of libvirt makes: with its own DHCP server and rules of the firewall, which
// belong to a Linux bridge.
func libvirtNetwork(h *host) error {
	return h.networks(func(name, file string, uses bool) error {
		if uses {
			return nil
		}
		return h.byHand(Libvirt, "as a network of its own, with DHCP and rules of the firewall", fmt.Sprintf(
			"  leave %s as it is and move its guests to a bridge of yours, or end the network first:\n"+
				"  virsh net-destroy %s && virsh net-autostart --disable %[2]s", h.Bridge, quote(name)), file)
	})
}

// libvirtNetworks notes networks of libvirt that use the bridge.
func (h *host) libvirtNetworks(c *Changes) error {
	return h.networks(func(name, _ string, uses bool) error {
		if uses {
			c.note("libvirt network %s: virsh net-edit %s, and make it\n  <forward mode='bridge'/>\n  <bridge name='%s'/>\n"+
				"  <virtualport type='openvswitch'/>", name, quote(name), h.name())
		}
		return nil
	})
}

// networks calls found for each network of libvirt with the bridge: one that uses it, or one that makes it.
func (h *host) networks(found func(name, file string, uses bool) error) error {
	files, err := h.glob("/etc/libvirt/qemu/networks/*.xml")
	if err != nil {
		return err
	}
	mine := regexp.MustCompile(`<bridge\s[^>]*\bname=['"]` + regexp.QuoteMeta(h.Bridge) + `['"]`)
	forward := regexp.MustCompile(`<forward\s[^>]*\bmode=['"]bridge['"]`)
	for _, file := range files {
		text, err := h.read(file)
		if err != nil {
			return err
		}
		if !mine.Match(text) || bytes.Contains(text, []byte("type='openvswitch'")) {
			continue
		}
		if err := found(strings.TrimSuffix(path.Base(file), ".xml"), file, forward.Match(text)); err != nil {
			return err
		}
	}
	return nil
}
