package persist

import (
	"encoding/xml"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Guests are those whose hypervisor's files name the bridge as a Linux bridge, running or not: libvirt's domains, Xen's files
// of xl, Proxmox VE's machines and containers.
func Guests(root string, l Layout) ([]Guest, error) {
	h := &host{root: root, Layout: l}
	var guests []Guest
	for _, find := range []func(*host) ([]Guest, error){libvirtGuests, xenGuests, proxmoxGuests} {
		found, err := find(h)
		if err != nil {
			return nil, err
		}
		guests = append(guests, found...)
	}
	return guests, nil
}

// each reads the files that match.
func (h *host) each(pattern string, do func(file string, text []byte)) error {
	files, err := h.glob(pattern)
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := h.read(file)
		if err != nil {
			return err
		}
		do(file, text)
	}
	return nil
}

// domain is what is of interest of libvirt's XML of a domain.
type domain struct {
	Name       string `xml:"name"`
	Interfaces []struct {
		MAC struct {
			Address string `xml:"address,attr"`
		} `xml:"mac"`
		Source struct {
			Bridge string `xml:"bridge,attr"`
		} `xml:"source"`
		Target struct {
			Dev string `xml:"dev,attr"`
		} `xml:"target"`
		VirtualPort struct {
			Type string `xml:"type,attr"`
		} `xml:"virtualport"`
	} `xml:"devices>interface"`
}

// libvirtGuests are the interfaces of domains that are defined. Which device each of a running one has says its status.
func libvirtGuests(h *host) (guests []Guest, err error) {
	devices := map[string]string{} // by MAC
	err = h.each("/run/libvirt/qemu/*.xml", func(_ string, text []byte) {
		var status struct {
			Domain domain `xml:"domain"`
		}
		if xml.Unmarshal(text, &status) == nil { // what is no domain's is of no interest
			for _, i := range status.Domain.Interfaces {
				devices[i.MAC.Address] = i.Target.Dev
			}
		}
	})
	if err != nil {
		return nil, err
	}
	err = h.each("/etc/libvirt/qemu/*.xml", func(_ string, text []byte) {
		var d domain
		if xml.Unmarshal(text, &d) != nil {
			return
		}
		for _, i := range d.Interfaces {
			if i.Source.Bridge == h.Bridge && i.VirtualPort.Type != "openvswitch" {
				port, _ := h.port(devices[i.MAC.Address])
				guests = append(guests, Guest{Hypervisor: QEMU, Name: d.Name, MAC: i.MAC.Address, Port: port})
			}
		}
	})
	return guests, err
}

var (
	xlName = regexp.MustCompile(`(?m)^\s*name\s*=\s*["']([^"']*)["']`)
	xlVIFs = regexp.MustCompile(`(?ms)^\s*vif\s*=\s*\[(.*?)\]`)
	xlVIF  = regexp.MustCompile(`"[^"]*"|'[^']*'`)
)

// xenGuests are the vifs of files of xl (xl.cfg(5)).
func xenGuests(h *host) (guests []Guest, err error) {
	err = h.each("/etc/xen/*", func(file string, text []byte) {
		name := strings.TrimSuffix(path.Base(file), path.Ext(file))
		if found := xlName.FindSubmatch(text); found != nil {
			name = string(found[1])
		}
		for _, vifs := range xlVIFs.FindAllSubmatch(text, -1) {
			for _, vif := range xlVIF.FindAllString(string(vifs[1]), -1) {
				options := map[string]string{}
				for _, option := range strings.Split(strings.Trim(vif, `"'`), ",") {
					key, value, _ := strings.Cut(option, "=")
					options[strings.TrimSpace(key)] = strings.TrimSpace(value)
				}
				if options["bridge"] == h.Bridge && options["script"] != "vif-openvswitch" {
					guests = append(guests, Guest{Hypervisor: Xen, Name: name, MAC: options["mac"]})
				}
			}
		}
	})
	return guests, err
}

var proxmoxNIC = regexp.MustCompile(`^(net[0-9]+):\s*(.*)$`)

// proxmoxGuests are the NICs of machines and containers of this node (qm.conf(5), pct.conf(5)), without those of snapshots.
func proxmoxGuests(h *host) (guests []Guest, err error) {
	for _, dir := range []string{"/etc/pve/qemu-server", "/etc/pve/lxc"} {
		err = h.each(dir+"/*.conf", func(file string, text []byte) {
			id := strings.TrimSuffix(path.Base(file), ".conf")
			for line := range strings.Lines(string(text)) {
				if strings.HasPrefix(line, "[") {
					return
				}
				nic := proxmoxNIC.FindStringSubmatch(strings.TrimSpace(line))
				if nic == nil {
					continue
				}
				g := Guest{Hypervisor: Proxmox, Name: id, NIC: nic[1]}
				ours := false
				for _, option := range strings.Split(nic[2], ",") {
					key, value, _ := strings.Cut(option, "=")
					switch key {
					case "bridge":
						ours = value == h.Bridge
					case "tag":
						g.Port.Tag, _ = strconv.Atoi(value)
					}
				}
				if ours {
					guests = append(guests, g)
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return guests, nil
}
