package persist

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// networkManager refuses a bridge that a connection of NetworkManager makes. It makes bridges of Open vSwitch itself, by its
// own connections (nm-openvswitch(7)).
func networkManager(h *host) error {
	var connections []*keyfile
	for _, dir := range []string{"/etc", "/run", "/usr/lib"} {
		files, err := h.glob(path.Join(dir, "NetworkManager/system-connections", "*"))
		if err != nil {
			return err
		}
		for _, file := range files {
			text, err := h.read(file)
			if err != nil {
				return err
			}
			connections = append(connections, &keyfile{file, parseUnitFile(string(text))})
		}
	}
	for _, c := range connections {
		name := cmp.Or(c.last("connection", "interface-name"), c.last("bridge", "interface-name"))
		off := c.last("connection", "autoconnect") == "false" // not at boot: as below
		if c.last("connection", "type") != "bridge" || name != h.Bridge || off {
			continue
		}
		return h.byHand(NetworkManager, "", h.nmcli(c, connections), c.path)
	}
	return nil
}

// keyfile is a connection of NetworkManager (nm-settings-keyfile(5)).
type keyfile struct {
	path string
	*unitFile
}

func (k *keyfile) id() string { return k.last("connection", "id") }

// of says whether it is a port of the bridge's connection.
func (k *keyfile) of(bridge *keyfile) bool {
	names := []string{bridge.id(), bridge.last("connection", "uuid"), bridge.last("connection", "interface-name")}
	controller := cmp.Or(k.last("connection", "controller"), k.last("connection", "master"))
	return controller != "" && slices.Contains(names, controller)
}

// nmcli are the commands that have NetworkManager keep the bridge.
func (h *host) nmcli(bridge *keyfile, connections []*keyfile) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	name := h.name()
	line("with NetworkManager's plugin for Open vSwitch (RHEL, Fedora: NetworkManager-ovs), on the host's console, not over %s:",
		h.Bridge)
	line("nmcli connection add type ovs-bridge con-name ovs-%s conn.interface %[1]s", name)
	line("nmcli connection add type ovs-port con-name ovs-port-%s conn.interface %[1]s master %[1]s", name)
	line("nmcli connection add type ovs-interface con-name ovs-if-%s conn.interface %[1]s master %[1]s slave-type ovs-port%s",
		name, h.ipSettings(bridge))
	var old []string
	for _, c := range connections {
		if !c.of(bridge) {
			continue
		}
		device := cmp.Or(c.last("connection", "interface-name"), c.id())
		port, _ := h.port(device)
		tag := ""
		if port.Tag != 0 {
			tag = fmt.Sprintf(" ovs-port.tag %d", port.Tag)
		}
		line("nmcli connection add type ovs-port con-name ovs-port-%s conn.interface %[1]s master %s%s", device, name, tag)
		line("nmcli connection add type %s con-name ovs-if-%s conn.interface %[2]s master %[2]s slave-type ovs-port",
			cmp.Or(c.last("connection", "type"), "ethernet"), device)
		old = append(old, c.id())
	}
	for _, id := range append(old, bridge.id()) {
		line("nmcli connection modify %s connection.autoconnect no", quote(id))
	}
	b.WriteString("  and back: the same with \"autoconnect yes\", and nmcli connection delete of those that begin with ovs-")
	return b.String()
}

// ipSettings are the addresses of the bridge's connection, as arguments of nmcli.
func (h *host) ipSettings(bridge *keyfile) string {
	var b strings.Builder
	for _, family := range []string{"ipv4", "ipv6"} {
		method := bridge.last(family, "method")
		if method == "" {
			continue
		}
		var addresses, gateway []string
		for _, a := range bridge.lines {
			if a.section != family {
				continue
			}
			if n, ok := strings.CutPrefix(a.key, "address"); ok && strings.Trim(n, "0123456789") == "" {
				address, via, _ := strings.Cut(a.value, ",")
				addresses = append(addresses, address)
				if via != "" {
					gateway = append(gateway, via)
				}
			}
			if a.key == "gateway" {
				gateway = append(gateway, a.value)
			}
		}
		fmt.Fprintf(&b, " %s.method %s", family, method)
		if len(addresses) > 0 {
			fmt.Fprintf(&b, " %s.addresses %s", family, strings.Join(addresses, ","))
		}
		if len(gateway) > 0 {
			fmt.Fprintf(&b, " %s.gateway %s", family, gateway[0])
		}
		if dns := strings.Trim(bridge.last(family, "dns"), ";"); dns != "" {
			fmt.Fprintf(&b, " %s.dns %s", family, strings.ReplaceAll(dns, ";", ","))
		}
	}
	if h.MAC != "" {
		fmt.Fprintf(&b, " 802-3-ethernet.cloned-mac-address %s", h.MAC)
	}
	return b.String()
}

// quote is a word of a shell.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
