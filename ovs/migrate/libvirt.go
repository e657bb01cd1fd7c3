package migrate

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
)

// libvirtState is where libvirt keeps the state of what runs, a file each (its source, src/conf/virnetworkobj.c and
// src/qemu/qemu_conf.c): it tells which bridge belongs to which network, and which tap device to which domain.
const libvirtState = "/run/libvirt"

// A libvirtNetwork is a network of libvirt's that runs.
type libvirtNetwork struct {
	Name    string `xml:"network>name"`
	Forward struct {
		Mode string `xml:"mode,attr"`
	} `xml:"network>forward"`
	Bridge struct {
		Name string `xml:"name,attr"`
	} `xml:"network>bridge"`
}

// A libvirtDomain is a domain of libvirt's that runs.
type libvirtDomain struct {
	Name       string `xml:"domain>name"`
	UUID       string `xml:"domain>uuid"`
	Interfaces []struct {
		MAC struct {
			Address string `xml:"address,attr"`
		} `xml:"mac"`
		Source struct {
			Bridge string `xml:"bridge,attr"`
		} `xml:"source"`
		Target struct {
			Device string `xml:"dev,attr"`
		} `xml:"target"`
		Filter struct {
			Name string `xml:"filter,attr"`
		} `xml:"filterref"`
	} `xml:"domain>devices>interface"`
}

// A libvirtGuest is who has a tap device.
type libvirtGuest struct {
	name   string
	filter string            // of nwfilter, which is of ebtables and iptables
	ids    map[string]string // external_ids that libvirt gives an interface of Open vSwitch, by which policies find the guest
}

// readLibvirt reads the files of a folder; those that are no such are passed over.
func readLibvirt[T any](dir string) []T {
	files, _ := filepath.Glob(filepath.Join(dir, "*.xml")) // the pattern is right
	var list []T
	for _, file := range files {
		var one T
		if text, err := os.ReadFile(file); err == nil && xml.Unmarshal(text, &one) == nil {
			list = append(list, one)
		}
	}
	return list
}

// askLibvirt finds the network that made a bridge, empty for none; what of libvirt's takes the bridge for a Linux bridge, in
// words; and the domains that have tap devices, by the device's name.
func askLibvirt(state, bridge string) (network string, users []string, guests map[string]libvirtGuest) {
	for _, n := range readLibvirt[libvirtNetwork](filepath.Join(state, "network")) {
		switch {
		case n.Bridge.Name != bridge:
		case n.Forward.Mode == "bridge":
			users = append(users, "network "+n.Name)
		default:
			network = n.Name
		}
	}
	guests = map[string]libvirtGuest{}
	running := readLibvirt[libvirtDomain](filepath.Join(state, "qemu"))
	running = append(running, readLibvirt[libvirtDomain](filepath.Join(state, "libxl"))...)
	for _, d := range running {
		for _, i := range d.Interfaces {
			guests[i.Target.Device] = libvirtGuest{d.Name, i.Filter.Name, map[string]string{"vm-id": d.UUID, "attached-mac": i.MAC.Address, "iface-status": "active"}}
			if i.Source.Bridge == bridge && !slices.Contains(users, "domain "+d.Name) {
				users = append(users, "domain "+d.Name)
			}
		}
	}
	return network, users, guests
}
