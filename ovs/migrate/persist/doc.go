// Package persist writes down what a migration of a Linux bridge to Open vSwitch has made, so that it is the same after
// the next boot. It finds out who makes the bridge at boot, and says what each file of that one is to be: Plan. Changes
// shows that, Write does it with a backup first, Restore undoes it byte for byte.
//
// Open vSwitch keeps bridges, ports and their settings in its database, and ovs-vswitchd makes them at boot by itself. So
// the files say less than before: nobody makes a Linux bridge, the bridge's addresses and routes go to the device that
// Open vSwitch makes, in the order of the boot after it, and the physical ports are brought up. A file does not name the
// bridge's ports a second time, unless a tool of that host must read them there (Proxmox).
//
// It knows ifupdown and systemd-networkd. What other programs keep is recognised, and refused with what to do by hand
// (ByHandError).
//
// It reads and writes files below a root directory, and nothing else: it starts no program.
package persist
