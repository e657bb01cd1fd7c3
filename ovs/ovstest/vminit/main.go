// Command vminit is the first and only process of a virtual machine of ovstest (Lab.AddVM): it does there what the test
// asks for. It is built static into each machine's image, and is of no use elsewhere.
package main

import "spanctl/ovs/ovstest"

func main() { ovstest.InsideVM() }
