package persist

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// unitDirectories are where systemd looks for units, the first wins (systemd.unit(5)).
var unitDirectories = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// after makes a service of systemd start after Open vSwitch, unless it does so by itself. Open vSwitch is started at boot
// then, whether its own service is enabled or not.
func (h *host) after(c *Changes, service string) (openvswitch string, err error) {
	if err := h.remembers(); err != nil {
		return "", err
	}
	// Debian's and Ubuntu's name, and that of Red Hat, SUSE and Arch.
	for _, openvswitch = range []string{"openvswitch-switch.service", "openvswitch.service"} {
		unit, err := h.unit(openvswitch)
		if err != nil {
			return "", err
		}
		if unit == nil {
			continue
		}
		daemon, err := h.unit("ovs-vswitchd.service")
		if err != nil {
			return "", err
		}
		enabled, err := h.glob("/etc/systemd/system/*.wants/" + openvswitch)
		if err != nil {
			return "", err
		}
		if len(enabled) > 0 && (before(unit, service) || before(daemon, service)) {
			return openvswitch, nil
		}
		file := path.Join("/etc/systemd/system", service+".d", "spanctl-"+h.Bridge+".conf")
		was, err := h.read(file)
		if err != nil {
			return "", err
		}
		c.change(file, was, fmt.Appendf(nil, "# %s is a bridge of Open vSwitch, which makes it from its database.\n"+
			"[Unit]\nWants=%[2]s\nAfter=%[2]s\n", h.name(), openvswitch))
		return openvswitch, nil
	}
	return "", ErrNotStarted
}

// remembers is ErrForgets if the options of ovs-ctl(8) have bridges deleted.
func (h *host) remembers() error {
	for _, file := range []string{"/etc/default/openvswitch-switch", "/etc/default/openvswitch", "/etc/sysconfig/openvswitch"} {
		text, err := h.read(file)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(strings.TrimSpace(line), "#") && strings.Contains(line, "--delete-bridges") {
				return fmt.Errorf("%s: %w", file, ErrForgets)
			}
		}
	}
	return nil
}

// unit is the text of a unit of systemd; nil: there is none.
func (h *host) unit(name string) ([]byte, error) {
	for _, dir := range unitDirectories {
		if text, err := h.read(path.Join(dir, name)); text != nil || err != nil {
			return text, err
		}
	}
	return nil, nil
}

// before says whether a unit is ordered before the service.
func before(unit []byte, service string) bool {
	for line := range strings.Lines(string(unit)) {
		if list, ok := strings.CutPrefix(strings.TrimSpace(line), "Before="); ok && slices.Contains(strings.Fields(list), service) {
			return true
		}
	}
	return false
}
