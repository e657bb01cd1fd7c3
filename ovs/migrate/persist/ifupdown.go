package persist

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ifupdown is the configuration of ifupdown, or of ifupdown2: /etc/network/interfaces and what it sources.
type ifupdown struct {
	*host
	files  []*interfaces // in the order of reading
	before map[string][]byte
}

// sourced is what names of files must be in "source-directory" (interfaces(5)).
var sourced = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

func readInterfaces(h *host) (*ifupdown, error) {
	u := &ifupdown{host: h, before: map[string][]byte{}}
	return u, u.read("/etc/network/interfaces")
}

// read reads a file, and those it sources, each once.
func (u *ifupdown) read(file string) error {
	if _, again := u.before[file]; again {
		return nil
	}
	text, err := u.host.read(file)
	if text == nil || err != nil {
		return err
	}
	u.before[file] = text
	f := parseInterfaces(file, string(text))
	u.files = append(u.files, f)
	for _, l := range f.lines {
		if len(l.words) < 2 || l.words[0] != "source" && l.words[0] != "source-directory" {
			continue
		}
		for _, pattern := range l.words[1:] {
			if !path.IsAbs(pattern) {
				pattern = path.Join(path.Dir(file), pattern)
			}
			if l.words[0] == "source-directory" {
				pattern = path.Join(pattern, "*")
			}
			found, err := u.glob(pattern)
			if err != nil {
				return err
			}
			for _, name := range found {
				if l.words[0] == "source-directory" && !sourced.MatchString(path.Base(name)) {
					continue
				}
				if err := u.read(name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// where are the places of the bridge's stanzas.
func (u *ifupdown) where() (places []string) {
	for _, f := range u.files {
		for _, name := range slices.Compact([]string{u.Bridge, u.name()}) {
			for _, at := range f.stanzas(name) {
				places = append(places, f.place(at))
			}
		}
	}
	return places
}

// place is where a line stands, as compilers write it.
func (f *interfaces) place(line int) string {
	n := 1
	for _, l := range f.lines[:line] {
		n += strings.Count(l.raw, "\n")
	}
	return f.path + ":" + strconv.Itoa(n)
}

func (u *ifupdown) plan() (Changes, error) {
	c := Changes{Manager: Ifupdown}
	if err := u.refuse(); err != nil {
		return c, err
	}
	proxmox := u.exists("/etc/pve") || u.exists("/usr/share/pve-manager")
	if proxmox && u.exists("/etc/network/interfaces.new") {
		return c, u.byHand(Ifupdown, "and Proxmox has changes that are not applied yet",
			"  apply or revert them in the web interface: System, Network", "/etc/network/interfaces.new")
	}
	ports := u.listed()
	for _, f := range u.files {
		u.rewrite(&c, f, ports, proxmox)
	}
	if proxmox {
		u.addPorts(ports)
	}
	for _, f := range u.files {
		c.change(f.path, u.before[f.path], []byte(f.text()))
		if path.Base(f.path) == "50-cloud-init" && f.text() != string(u.before[f.path]) {
			c.note("cloud-init writes %s again at each boot of a new instance; keep it from that by a file"+
				" /etc/cloud/cloud.cfg.d/99-disable-network-config.cfg that says\n  network: {config: disabled}", f.path)
		}
	}
	return c, u.boot(&c, ports, proxmox)
}

func (u *ifupdown) boot(c *Changes, ports []string, proxmox bool) error {
	openvswitch, err := u.after(c, "networking.service")
	if err != nil {
		return err
	}
	name := u.name()
	var up []string
	for _, name := range ports {
		port, _ := u.port(name)
		port.Name = name
		up = append(up, port.devices()...)
	}
	c.Boot = append(c.Boot,
		fmt.Sprintf("%s: ovs-vswitchd makes %s and its ports from the database", openvswitch, name),
		fmt.Sprintf("networking.service: ifup brings up %s, and gives %s its addresses and routes",
			strings.Join(append(up, name), ", "), name))
	if proxmox {
		c.note("Each ifup and ifreload of Proxmox's ifupdown2 clears the mirrors and external_ids of %s's row, and takes away"+
			" ports that it does not know: leave mirrors to the agent (spanctl agent), which makes them again.", name)
	} else {
		c.note("ifdown %s takes its addresses and routes, and leaves the bridge, its ports and its mirrors.", name)
	}
	if !u.started(u.Bridge) && !u.started(name) {
		c.note("No line of \"auto\" or \"allow-hotplug\" names %s: nothing brings it up at boot, as before.", u.Bridge)
	}
	return nil
}

// started says whether a line of "auto" or "allow-…" names it.
func (u *ifupdown) started(name string) bool {
	for _, f := range u.files {
		for _, l := range f.lines {
			if l.starts() && slices.Contains(l.words[1:], name) {
				return true
			}
		}
	}
	return false
}

// starts says whether it is a line of "auto" or "allow-…".
func (l *line) starts() bool {
	return len(l.words) > 0 && (l.words[0] == "auto" || strings.HasPrefix(l.words[0], "allow-"))
}

// refuse says what cannot be written line by line.
func (u *ifupdown) refuse() error {
	for _, f := range u.files {
		for i, l := range f.lines {
			if l.header != i || l.words[0] != "iface" || len(l.words) < 2 {
				continue
			}
			name := l.words[1]
			if name == u.Bridge && f.path == "/etc/network/interfaces.d/sdn" {
				return u.byHand(Ifupdown, "from Proxmox's SDN", "  take it out of there: Datacenter, SDN, VNets", f.place(i))
			}
			at := slices.Index(l.words, "inherits") + 1
			if name == u.Bridge && at > 0 && at < len(l.words) && u.bridgeOptions(l.words[at]) {
				return u.byHand(Ifupdown, "by a template that others may use", fmt.Sprintf(
					"  write the options of %q into the stanza of %s, without those of bridge_", l.words[at], name), f.place(i))
			}
			if u.name() == u.Bridge {
				continue
			}
			below := strings.HasPrefix(name, u.Bridge+".") || strings.HasPrefix(name, u.Bridge+":")
			if below || f.value(i, "vlan_raw_device") == u.Bridge {
				return u.byHand(Ifupdown, fmt.Sprintf("and %s is built on it", name), fmt.Sprintf(
					"  let the new bridge have the same name, or rename %s yourself", name), f.place(i))
			}
		}
	}
	return nil
}

// bridgeOptions says whether a stanza of that name makes a Linux bridge.
func (u *ifupdown) bridgeOptions(name string) bool {
	for _, f := range u.files {
		for _, at := range f.stanzas(name) {
			for _, o := range f.options(at) {
				if strings.HasPrefix(o.key, "bridge_") {
					return true
				}
			}
		}
	}
	return false
}
