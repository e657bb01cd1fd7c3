// Command vminit is the first and only process of a virtual machine of ovstest (Lab.AddVM), or a service of a whole system in
// one (Lab.AddSystem): it does there what the test asks for. It is built static into each machine's image, and is of no use
// elsewhere.
package main

import (
	"os"

	"spanctl/ovs/ovstest"
)

func main() {
	if os.Getpid() != 1 {
		ovstest.InsideSystem()
	}
	ovstest.InsideVM()
}
