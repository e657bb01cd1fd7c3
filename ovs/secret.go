package ovs

import (
	"fmt"
	"maps"
	"os"
	"strings"

	"spanctl/ovs/vswitchd"
	"spanctl/policy/plan"
)

// readSecret reads an IPsec pre-shared key from the file that a policy names.
// The key is the file's text without white space around it.
func readSecret(name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("%w: psk_file: %w", ErrSecret, err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("%w: psk_file: %s is empty", ErrSecret, name)
	}
	return secret, nil
}

// withoutSecret are an Interface's options with plan.Secret for the key of a
// tunnel of ours, and another text if the key's file says another one now. Keys
// of others are hidden too.
func (c *Conn) withoutSecret(i *vswitchd.Interface) map[string]string {
	psk, ok := i.Options["psk"]
	if !ok {
		return i.Options
	}
	options := maps.Clone(i.Options)
	options["psk"] = plan.Secret
	if file, ok := i.ExternalIDs[plan.KeyPSKFile]; ok && c.local() {
		if secret, err := readSecret(file); err == nil && secret != psk {
			options["psk"] = "(another secret)"
		}
	}
	return options
}
