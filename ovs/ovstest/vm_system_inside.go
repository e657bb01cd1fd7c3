package ovstest

import (
	"fmt"
	"os"
	"strings"
)

// InsideSystem is a service of a whole system (System): it tells the test that the system is up, and does what it asks
// for. It never returns; that it has failed says the system's journal.
func InsideSystem() {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil {
		err = obey(strings.TrimSpace(string(boot)))
	}
	fmt.Fprintln(os.Stderr, "vminit:", err)
	os.Exit(1)
}
