package persist

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// networkd is the configuration of systemd-networkd: files of .netdev and .network, each with its drop-ins.
type networkd struct {
	*host
	netdevs, networks []*networkFile // in the order of their names, which is that of reading
}

// networkFile is a file in force, or a drop-in of one.
type networkFile struct {
	path    string
	text    []byte
	unit    *unitFile
	dropins []*networkFile
}

// networkDirectories are where systemd-networkd looks: of files of one name the first is in force (systemd.network(5)).
var networkDirectories = []string{
	"/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network",
	"/lib/systemd/network",
}

func readNetworkd(h *host) (*networkd, error) {
	n := &networkd{host: h}
	var err error
	if n.netdevs, err = n.read("*.netdev"); err != nil {
		return nil, err
	}
	n.networks, err = n.read("*.network")
	return n, err
}

// read reads the files in force that match, without those that are masked.
func (n *networkd) read(pattern string) ([]*networkFile, error) {
	inForce, err := n.inForce(pattern)
	if err != nil {
		return nil, err
	}
	var files []*networkFile
	for _, file := range inForce {
		f, err := n.parse(file)
		if err != nil {
			return nil, err
		}
		if len(f.text) == 0 {
			continue
		}
		dropins, err := n.inForce(path.Join(path.Base(file)+".d", "*.conf"))
		if err != nil {
			return nil, err
		}
		for _, dropin := range dropins {
			d, err := n.parse(dropin)
			if err != nil {
				return nil, err
			}
			f.dropins = append(f.dropins, d)
		}
		files = append(files, f)
	}
	return files, nil
}

// inForce are the files that match in any of the directories, the first of a name.
func (n *networkd) inForce(pattern string) ([]string, error) {
	first := map[string]string{}
	for _, dir := range networkDirectories {
		found, err := n.glob(path.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range found {
			if _, known := first[path.Base(file)]; !known {
				first[path.Base(file)] = file
			}
		}
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(first)) {
		files = append(files, first[name])
	}
	return files, nil
}

func (n *networkd) parse(file string) (*networkFile, error) {
	text, err := n.host.read(file)
	if err != nil {
		return nil, err
	}
	return &networkFile{path: file, text: text, unit: parseUnitFile(string(text))}, nil
}

// whole is the file with its drop-ins after it, as systemd reads it.
func (f *networkFile) whole() *unitFile {
	all := &unitFile{lines: slices.Clone(f.unit.lines)}
	for _, d := range f.dropins {
		all.lines = append(all.lines, d.unit.lines...)
	}
	return all
}

// defines says whether a file of .netdev makes a device of that kind and name.
func (f *networkFile) defines(kind, name string) bool {
	whole := f.whole()
	return whole.last("NetDev", "Kind") == kind && whole.last("NetDev", "Name") == name
}

// where are the files that make the Linux bridge, or else those that configure it by its name.
func (n *networkd) where() (files []string) {
	for _, f := range n.netdevs {
		if f.defines("bridge", n.Bridge) {
			files = append(files, f.path)
		}
	}
	if len(files) > 0 {
		return files
	}
	for _, f := range n.networks {
		if names := f.whole().words("Match", "Name"); slices.Contains(names, n.Bridge) || slices.Contains(names, n.name()) {
			files = append(files, f.path)
		}
	}
	return files
}

func (n *networkd) plan() (Changes, error) {
	c := Changes{Manager: Networkd}
	for _, f := range n.netdevs {
		for _, p := range append([]Port{{Name: n.Bridge}}, n.Ports...) {
			ofBridge := p.Name == n.Bridge && f.defines("bridge", p.Name)
			if !ofBridge && (len(p.Members) == 0 || !f.defines("bond", p.Name)) {
				continue
			}
			if err := n.mask(&c, f); err != nil {
				return c, err
			}
		}
	}
	configured := false
	for _, f := range n.networks {
		own := !configured && n.isBridge(f.whole()) // the first that matches is in force for it, and no other
		configured = configured || own
		if err := n.rewrite(&c, f, own); err != nil {
			return c, err
		}
	}
	openvswitch, err := n.after(&c, "systemd-networkd-wait-online.service")
	if err != nil {
		return c, err
	}
	c.Boot = []string{
		fmt.Sprintf("%s: ovs-vswitchd makes %s and its ports from the database", openvswitch, n.name()),
		fmt.Sprintf("systemd-networkd.service: gives %s its addresses and routes when it appears, and brings up its ports",
			n.name()),
		"systemd-networkd-wait-online.service: waits for both, where it is enabled",
	}
	if len(c.Files) > 0 {
		c.note("systemd-networkd reads its files when it starts; \"networkctl reload\" has it do so before.")
	}
	return c, nil
}

// mask takes a file out of force: one of /etc goes, unless that would put another in force; any other is masked by an
// empty one (systemd.network(5)).
func (n *networkd) mask(c *Changes, f *networkFile) error {
	ours := path.Join("/etc/systemd/network", path.Base(f.path))
	after := []byte{}
	if f.path == ours {
		after = nil
		for _, dir := range networkDirectories[1:] {
			if n.exists(path.Join(dir, path.Base(f.path))) {
				after = []byte{}
			}
		}
	}
	return n.put(c, f, ours, after)
}

// put has a file say that, in /etc.
func (n *networkd) put(c *Changes, f *networkFile, ours string, after []byte) error {
	before := f.text
	if f.path != ours {
		var err error
		if before, err = n.host.read(ours); err != nil { // nil, or f would not be in force
			return err
		}
	}
	c.change(ours, before, after)
	return nil
}

// rewrite writes a file of .network and its drop-ins anew; own: it is the bridge's.
func (n *networkd) rewrite(c *Changes, f *networkFile, own bool) error {
	whole := f.whole()
	named := slices.Contains(whole.words("Match", "Name"), n.Bridge)
	if own && !named && (n.byKind(whole) || n.name() != n.Bridge) {
		return n.byHand(Networkd, "and a file means it by its kind or by a pattern", fmt.Sprintf(
			"  add \"Name=%s\" to its [Match], or give %[1]s a file of its own", n.Bridge), f.path)
	}
	for _, part := range append([]*networkFile{f}, f.dropins...) {
		n.rewritePart(part.unit, whole, own && named)
		after := []byte(part.unit.text())
		if same(part.text, after) {
			continue
		}
		ours := path.Join("/etc/systemd/network", path.Base(f.path))
		if part != f {
			ours = path.Join("/etc/systemd/network", path.Base(f.path)+".d", path.Base(part.path))
		}
		if err := n.put(c, part, ours, after); err != nil {
			return err
		}
	}
	return nil
}

// kinds are the keys of [Match] that a Linux bridge is known by.
var kinds = []string{"Kind", "Type", "Driver"}

// byKind says whether [Match] asks for a Linux bridge.
func (n *networkd) byKind(whole *unitFile) bool {
	return slices.ContainsFunc(kinds, func(key string) bool { return slices.Contains(whole.words("Match", key), "bridge") })
}

// isBridge says whether the file may configure the bridge.
func (n *networkd) isBridge(whole *unitFile) bool {
	names := whole.words("Match", "Name")
	if len(names) == 0 {
		return n.byKind(whole)
	}
	if negated, ok := strings.CutPrefix(names[0], "!"); ok {
		return !slices.ContainsFunc(append(names[1:], negated), n.matches)
	}
	return slices.ContainsFunc(names, n.matches)
}

func (n *networkd) matches(pattern string) bool {
	ok, _ := path.Match(pattern, n.Bridge) // a bad pattern matches nothing
	return ok
}

func (n *networkd) rewritePart(part, whole *unitFile, own bool) {
	for i := range part.lines {
		a := &part.lines[i]
		switch {
		case a.section == "Network" && (a.key == "Bridge" && a.value == n.Bridge || a.key == "Bond" && n.bond(a.value)):
			// systemd-networkd takes a port away from its master, or tries to, if it is not told to leave it (systemd issue 20241).
			a.raw = "# a port of " + n.name() + ", by the database of Open vSwitch\nKeepMaster=yes\n"
			if whole.last("Network", "LinkLocalAddressing") == "" {
				a.raw += "LinkLocalAddressing=no\n" // as it is of a port of a Linux bridge
			}
			dropBridgeSections(part)
		case own && a.section == "Match" && a.key == "Name" && n.name() != n.Bridge:
			a.raw = replaceWord(a.raw, n.Bridge, n.name())
		case own && a.section == "Match" && slices.Contains(kinds, a.key):
			a.raw = ""
		}
	}
	if own {
		dropBridgeSections(part)
	}
}

// bond says whether it is a bond that Open vSwitch makes.
func (n *networkd) bond(name string) bool {
	p, ok := n.port(name)
	return ok && len(p.Members) > 0
}

// dropBridgeSections takes away what is said of ports of a Linux bridge: rows say that.
func dropBridgeSections(f *unitFile) {
	for _, section := range []string{"Bridge", "BridgeVLAN", "BridgeFDB", "BridgeMDB"} {
		f.drop(section)
	}
}

// replaceWord makes a word another after "=".
func replaceWord(raw, from, to string) string {
	l := line{raw: strings.Replace(raw, "=", " = ", 1)}
	l.rename(from, to)
	return strings.Replace(l.raw, " = ", "=", 1)
}
