// Package ovstest runs a private, real Open vSwitch with guests around it, for tests, benchmarks and
// "spanctl demo".
//
// It stands beside the data flow: nothing in the rest of the program depends on it, and it speaks to Open
// vSwitch by the tools that come with it, so that what it finds does not lean on the code under test.
//
//	Lab        one ovsdb-server and one ovs-vswitchd (userspace datapath) in a directory and a network
//	           namespace of their own, which plays the host
//	Guest      a namespace with one network device, eth0, whose outer end is a port of a bridge: a virtual
//	           machine, a physical neighbour (AddUplink) or the receiver of tunnels (AddCollector)
//	VM         a real virtual machine of QEMU in the place of a Guest, on a tap device (make test-vm)
//	Domain     such a machine under a real libvirtd (Hypervisor), which makes its ports
//	Capture    every frame that arrives at a device, exactly as it was on the wire
//	Endpoint   an address to build frames from and to; Guest and VM are
//
// # Clean-up
//
// Nothing a lab makes outlives the process, however that ends. A namespace is kept by an open file and a small
// process alone, never by a mount; every process is a child that the kernel kills with its parent (PR_SET_PDEATHSIG,
// prctl(2)); what libvirtd starts is none, and ends with the process namespace of its Hypervisor; every device is inside a
// namespace. What kill -9 does leave is the directory; the next Start removes it. Processes, directories and namespaces
// carry the lab's name:
//
//	pgrep -af spanctl-lab            # all of them
//	nsenter -t PID -n ip address     # look into a guest
//
// # Counting
//
// Frames are counted one by one, so the guests are silent unless asked: no IPv6 (no router solicitations, no
// multicast reports), no checksum or segmentation offload, no ICMP errors in answer to frames that nobody waits
// for. Every payload of Payload is unique, and a Capture that lost a frame in the kernel says so.
package ovstest
