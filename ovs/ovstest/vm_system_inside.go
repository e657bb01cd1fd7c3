package ovstest

import (
	"fmt"
	"os"
)

// InsideSystem is a service of a whole system (System): it tells the test that the system is up, and does what it asks
// for. It never returns; that it has failed says the system's journal.
func InsideSystem() {
	fmt.Fprintln(os.Stderr, "vminit:", obey(true))
	os.Exit(1)
}
