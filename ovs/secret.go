package ovs

import (
	"fmt"
	"maps"
	"os"
	"strings"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// maxSecret is how long a key may be, in bytes.
const maxSecret = 1024

// readSecret reads an IPsec pre-shared key from the file that a policy names: one
// line, of which white space at the ends does not count. Policies may come from
// whoever may write OVSDB, which shows the key to its readers: so that not just any
// file is shown, it must be a regular one, small, and readable by nobody else.
func readSecret(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", fmt.Errorf("%w: psk_file: %w", ErrSecret, err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecret {
		return "", fmt.Errorf("%w: psk_file: %s is no regular file of at most %d bytes", ErrSecret, name, maxSecret)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%w: psk_file: %s can be read by others than its owner; chmod 600 it", ErrSecret, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("%w: psk_file: %w", ErrSecret, err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || strings.ContainsAny(secret, "\n\r") {
		return "", fmt.Errorf("%w: psk_file: %s does not hold one line", ErrSecret, name)
	}
	return secret, nil
}

// withoutSecret are an Interface's options with plan.Secret for the key of a
// tunnel of ours, and another text if the key's file says another one now. Keys
// of others are hidden too.
func (c *Conn) withoutSecret(i *vswitchd.Interface, ours bool) map[string]string {
	psk, ok := i.Options["psk"]
	if !ok {
		return i.Options
	}
	options := maps.Clone(i.Options)
	options["psk"] = plan.Secret
	if file, ok := i.ExternalIDs[plan.KeyPSKFile]; ok && ours && c.local() {
		if secret, err := readSecret(file); err == nil && secret != psk {
			options["psk"] = "(another secret)"
		}
	}
	return options
}
