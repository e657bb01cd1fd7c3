// Package migrate replaces a Linux bridge by Open vSwitch, and puts it back.
//
//	Capture ─▶ State ─▶ Check (pure) ─▶ refusals, warnings
//	              └───▶ NewLayout (pure) ─▶ Layout ─▶ steps, one after the other, each told to the journal first
//	                                                    ├─ all done: confirmed in time ─▶ Commit
//	                                                    └─ anything else ─▶ Restore (State)
//
// A [State] is all that the kernel tells of a bridge: its attributes, ports and VLANs, and the host's addresses, routes,
// rules, neighbours and sysctls on it. It is on disk before anything changes. A [Layout] is what Open vSwitch shall have
// instead. The way there is a list of steps ([Migration]); the way back is none: [Restore] looks at what is there and
// makes it the State again, from wherever it begins, so that who was killed and who is asked twice end alike.
//
// The Linux bridge is not deleted before the operator has confirmed: it is put aside, down and without ports, under
// another name ([ParkedName]), with all its settings.
//
// A [Journal] is a folder on disk: what was captured, how far the change has come, until when it must be confirmed. Who
// acts holds its lock, which the kernel takes away from who dies: that is how the watchdog ([Watch], a process of its own)
// knows when to take over.
//
// What the kernel is told, netlink carries, raw: an address or a route is put on another device as the very attributes that
// the kernel told, with another index, so that nothing of it is lost that this package does not know. All of it happens in
// the network namespace of the process, which must be that of ovs-vswitchd.
package migrate
