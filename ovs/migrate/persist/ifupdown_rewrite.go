package persist

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// hooks are the options of a stanza that are commands, and run by the shell.
var hooks = []string{"pre_up", "up", "post_up", "pre_down", "down", "post_down"}

// linuxBridge recognises commands that are of use for a Linux bridge only, and fail without one: brctl(8), bridge(8), its
// files in sysfs, and ip-link(8) where it makes a bridge or a port of one.
var linuxBridge = regexp.MustCompile(`(^|[\s;&|/(])brctl\s|(^|[\s;&|/(])bridge\s+(-\S+\s+)*(vlan|link|fdb|mdb|vni)\b|` +
	`/(bridge|brif|brport)/|\btype\s+bridge|\bnomaster\b|\bip\s.*\bmaster\s`)

// rewrite writes one file anew.
func (u *ifupdown) rewrite(c *Changes, f *interfaces, ports []string, proxmox bool) {
	for i := range f.lines {
		l := &f.lines[i]
		switch {
		case l.header == i && l.words[0] == "iface" && len(l.words) > 1:
			u.rewriteStanza(c, f, i, ports, proxmox)
		case l.starts() || len(l.words) > 0 && l.words[0] == "no-auto-down":
			u.rewriteList(l)
		}
	}
}

// rewriteList writes a line anew that lists names.
func (u *ifupdown) rewriteList(l *line) {
	if u.name() != u.Bridge {
		l.rename(u.Bridge, u.name())
	}
	for _, p := range u.Ports {
		if len(p.Members) > 0 && slices.Contains(l.words[1:], p.Name) {
			l.drop(p.Name)
		}
	}
}

func (u *ifupdown) rewriteStanza(c *Changes, f *interfaces, header int, ports []string, proxmox bool) {
	head := &f.lines[header]
	name := head.words[1]
	port, isPort := u.port(name)
	switch {
	case name == u.Bridge:
		u.rewriteBridge(f, header, ports, proxmox)
	case isPort && len(port.Members) > 0:
		head.comment(fmt.Sprintf("a bond of Open vSwitch's bridge %s now:", u.name()))
		for _, o := range f.options(header) {
			o.raw = o.indent() + "# " + strings.TrimLeft(o.raw, " \t")
		}
	case isPort || u.member(name):
		for _, o := range f.options(header) {
			switch {
			case strings.HasPrefix(o.key, "bridge_"):
				o.become()
			case o.key == "bond_master" && u.member(name):
				o.become()
			case slices.Contains(hooks, o.key) && linuxBridge.MatchString(o.value):
				o.comment("for the Linux bridge that was:")
			}
		}
		if isPort && proxmox && f.value(header, "ovs_type") == "" {
			if !strings.HasSuffix(head.raw, "\n") {
				head.raw += "\n"
			}
			head.raw += "\t" + strings.Join(u.proxmoxPort(port), "\n\t") + "\n"
		}
	default:
		mine := regexp.MustCompile(`(^|[^\w.-])` + regexp.QuoteMeta(u.Bridge) + `($|[^\w.:-])`)
		for _, o := range f.options(header) {
			if slices.Contains(hooks, o.key) && linuxBridge.MatchString(o.value) && mine.MatchString(o.value) {
				c.note("%s: a command of %s is for the Linux bridge, and will fail: %s %s", f.path, name, o.words[0], o.value)
			}
		}
	}
}

// member says whether a device is part of a bond that Open vSwitch makes.
func (u *ifupdown) member(name string) bool {
	return slices.ContainsFunc(u.Ports, func(p Port) bool { return slices.Contains(p.Members, name) })
}

// rewriteBridge takes out of a stanza of the bridge what makes a Linux bridge, and has its ports brought up instead, in
// the place of what named them.
func (u *ifupdown) rewriteBridge(f *interfaces, header int, ports []string, proxmox bool) {
	if u.name() != u.Bridge {
		f.lines[header].rename(u.Bridge, u.name())
	}
	instead := u.makes(f, header)
	for _, o := range f.options(header) {
		var lines []string
		if instead == o.line {
			lines = u.raise(ports, f.value(header, "mtu"))
			if proxmox {
				lines = u.proxmoxBridge(ports, f.value(header, "mtu"))
			}
		}
		switch {
		case strings.HasPrefix(o.key, "bridge_"):
			o.become(lines...)
		case o.ofLinuxBridge():
			o.comment("for the Linux bridge that was:", lines...)
		}
	}
}

// ofLinuxBridge says whether the option is of use for a Linux bridge only.
func (o option) ofLinuxBridge() bool {
	return strings.HasPrefix(o.key, "bridge_") || slices.Contains(hooks, o.key) && linuxBridge.MatchString(o.value)
}

// makes is the line that names the bridge's ports, or else the first that makes a Linux bridge of it, if it is in this
// stanza. It is in one only.
func (u *ifupdown) makes(f *interfaces, header int) *line {
	var first *line
	var in *interfaces
	var at int
	for _, other := range u.files {
		for _, stanza := range other.stanzas(u.Bridge) {
			for _, o := range other.options(stanza) {
				named := o.key == "bridge_ports"
				if named || first == nil && o.ofLinuxBridge() {
					first, in, at = o.line, other, stanza
				}
				if named {
					if in == f && at == header {
						return first
					}
					return nil
				}
			}
		}
	}
	if in == f && at == header {
		return first
	}
	return nil
}

// listed are the bridge's ports that the files name, in their order.
func (u *ifupdown) listed() (ports []string) {
	add := func(name string) {
		if !slices.Contains(ports, name) {
			ports = append(ports, name)
		}
	}
	for _, f := range u.files {
		for _, header := range f.stanzas(u.Bridge) {
			for _, o := range f.options(header) {
				switch {
				case o.key == "bridge_ports":
					for _, name := range u.portsOf(strings.Fields(o.value)) {
						add(name)
					}
				case o.ofLinuxBridge():
					for _, word := range strings.Fields(o.value) {
						if _, is := u.port(word); is {
							add(word)
						}
					}
				}
			}
		}
	}
	return ports
}

// portsOf are the ports that "bridge_ports" means (bridge-utils-interfaces(5)).
func (u *ifupdown) portsOf(words []string) (ports []string) {
	var regex bool
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch {
		case word == "none":
		case word == "all":
			words = append([]string{"regex", "eth.*", "em.*", "en.*", "p[0-9].*", "noregex"}, words...)
		case word == "regex", word == "noregex":
			regex = word == "regex"
		case regex:
			re, err := regexp.CompilePOSIX("^(" + word + ")$")
			for _, p := range u.Ports {
				if err == nil && re.MatchString(p.Name) {
					ports = append(ports, p.Name)
				}
			}
		default:
			ports = append(ports, word)
		}
	}
	return ports
}

// raise are the lines that bring the ports up, as bridge-utils does for a Linux bridge: those that are not there hinder
// nothing.
func (u *ifupdown) raise(ports []string, mtu string) []string {
	lines := []string{"# Open vSwitch makes " + u.name() + " and its ports, from its database."}
	for _, name := range ports {
		port, _ := u.port(name)
		port.Name = name
		for _, device := range port.devices() {
			if raw, id, is := strings.Cut(device, "."); is && !u.has(device) {
				lines = append(lines, "pre-up ip link set dev "+raw+" up || true",
					"pre-up ip link add link "+raw+" name "+device+" type vlan id "+strings.TrimLeft(id, "0")+" || true")
			}
			set := "pre-up ip link set dev " + device + " "
			lines = append(lines, set+"addrgenmode none || true")
			if mtu != "" {
				lines = append(lines, set+"mtu "+mtu+" || true")
			}
			lines = append(lines, set+"up || true")
		}
	}
	return lines
}

// has says whether there is a stanza of that name.
func (u *ifupdown) has(name string) bool {
	return slices.ContainsFunc(u.files, func(f *interfaces) bool { return len(f.stanzas(name)) > 0 })
}
