package persist

import (
	"fmt"
	"path"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// netplan refuses a bridge that a file of netplan defines as a Linux bridge. That writes files of systemd-networkd or
// NetworkManager at each boot, so that theirs are not to be changed; and it knows Open vSwitch itself. Has says that it
// defines it as one of that already.
func netplan(h *host) (has bool, err error) {
	for _, dir := range []string{"/etc/netplan", "/run/netplan", "/lib/netplan", "/usr/lib/netplan"} {
		files, err := h.glob(path.Join(dir, "*.yaml"))
		if err != nil {
			return false, err
		}
		for _, file := range files {
			text, err := h.read(file)
			if err != nil {
				return false, err
			}
			var document struct {
				Network struct{ Bridges map[string]yaml.MapSlice }
			}
			if err := yaml.Unmarshal(text, &document); err != nil {
				if strings.Contains(string(text), h.Bridge) {
					return false, fmt.Errorf("%s: %w", file, err)
				}
				continue
			}
			has = has || hasKey(document.Network.Bridges[h.name()], "openvswitch")
			definition, ours := document.Network.Bridges[h.Bridge]
			if !ours || hasKey(definition, "openvswitch") {
				continue
			}
			snippet, err := yaml.Marshal(yaml.MapSlice{{Key: "network", Value: yaml.MapSlice{{
				Key: "bridges", Value: yaml.MapSlice{{Key: h.name(), Value: h.netplanBridge(definition)}},
			}}}})
			if err != nil {
				return false, fmt.Errorf("%s: %w", file, err)
			}
			return false, h.byHand(Netplan, "", fmt.Sprintf("  write in %s, with what else it says of other devices:\n%s"+
				"  check it: netplan generate\n"+
				"  At the next boot netplan finds the bridge and its ports in Open vSwitch's database, and sets their addresses.\n"+
				"  VLANs of ports (tag, trunks) stay in their rows, of which netplan says nothing.", file, indented(string(snippet))),
				place(h.Bridge, file, text))
		}
	}
	return has, nil
}

func hasKey(m yaml.MapSlice, key string) bool {
	for _, item := range m {
		if item.Key == key {
			return true
		}
	}
	return false
}

// netplanBridge is the definition, as one of Open vSwitch. Of the parameters of a Linux bridge that has "stp" only
// (netplan-yaml(5)).
func (h *host) netplanBridge(definition yaml.MapSlice) yaml.MapSlice {
	bridge := yaml.MapSlice{{Key: "openvswitch", Value: yaml.MapSlice{}}}
	for _, item := range definition {
		if item.Key == "parameters" {
			stp := yaml.MapSlice{{Key: "stp", Value: false}}
			if parameters, ok := item.Value.(map[string]any); ok {
				if value, ok := parameters["stp"]; ok {
					stp[0].Value = value
				}
			}
			item.Value = stp
		}
		bridge = append(bridge, item)
	}
	if h.MAC != "" && !hasKey(bridge, "macaddress") {
		bridge = append(bridge, yaml.MapItem{Key: "macaddress", Value: h.MAC})
	}
	return bridge
}

// place is the file, and the line where it defines the bridge.
func place(bridge, file string, text []byte) string {
	document, err := parser.ParseBytes(text, 0)
	if err != nil {
		return file
	}
	where, err := yaml.PathString("$.network.bridges.'" + bridge + "'")
	if err != nil {
		return file
	}
	node, err := where.FilterFile(document)
	if err != nil || node == nil {
		return file
	}
	return fmt.Sprintf("%s:%d", file, node.GetToken().Position.Line)
}

// indented is text of several lines, further in.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + line)
	}
	return b.String()
}
