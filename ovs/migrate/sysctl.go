package migrate

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sysctlFolders are where the kernel keeps what is set of a device (ip-sysctl.rst of its documentation); %s is the device.
var sysctlFolders = []string{"ipv4/conf/%s", "ipv6/conf/%s", "ipv4/neigh/%s", "ipv6/neigh/%s"}

// acceptDAD tells whether addresses of IPv6 are probed for duplicates before they are used. It is off while ours move: the
// probe would take a second, and who might answer has been on this segment all the time.
const acceptDAD = "ipv6/conf/%s/accept_dad"

// sysctlsLeft are those that are not carried: they are other names of what is carried, or the kernel's own.
var sysctlsLeft = []string{"base_reachable_time", "retrans_time", "stable_secret", "mc_forwarding"}

// sysctls are the values of a device, by key with %s in the place of its name.
func sysctls(name string) (map[string]string, error) {
	values := map[string]string{}
	for _, folder := range sysctlFolders {
		dir := "/proc/sys/net/" + fmt.Sprintf(folder, name)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		} else if err != nil {
			return nil, fmt.Errorf("reading sysctls: %w", err)
		}
		for _, e := range entries {
			if slices.Contains(sysctlsLeft, e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				continue // one to be written only
			}
			values[folder+"/"+e.Name()] = strings.TrimSpace(string(text))
		}
	}
	return values, nil
}

// setSysctls gives a device values, where it has others. Whether there is IPv6 at all comes first.
func setSysctls(name string, values map[string]string) error {
	const first = "ipv6/conf/%s/disable_ipv6"
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(values)), func(key string) bool { return key == first })
	var problems []error
	for _, key := range append([]string{first}, keys...) {
		want, wanted := values[key]
		got, err := os.ReadFile(sysctlFile(name, key))
		if !wanted || err != nil || strings.TrimSpace(string(got)) == want { // this device may have no such key
			continue
		}
		problems = append(problems, setSysctl(name, key, want))
	}
	return errors.Join(problems...)
}

func sysctlFile(name, key string) string { return "/proc/sys/net/" + fmt.Sprintf(key, name) }

// quiet is how a port of the userspace datapath must be: the kernel sees what comes in there too, and would answer for the host's
// addresses with the port's, and take the routes that routers tell of.
var quiet = map[string]string{"ipv4/conf/%s/arp_ignore": "1", "ipv6/conf/%s/accept_ra": "0"}

// portSysctls are the values that quiet changes.
func portSysctls(name string) map[string]string {
	values := map[string]string{}
	for key := range quiet {
		if text, err := os.ReadFile(sysctlFile(name, key)); err == nil {
			values[key] = strings.TrimSpace(string(text))
		}
	}
	return values
}

func setSysctl(name, key, value string) error {
	if err := os.WriteFile(sysctlFile(name, key), []byte(value), 0); err != nil {
		return fmt.Errorf("setting net/"+key+" to %s: %w", name, value, err)
	}
	return nil
}
