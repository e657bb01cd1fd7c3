// Package ovs connects spanctl to an Open vSwitch database: it dials OVSDB,
// turns the rows it monitors into a plan.Snapshot, carries plans out in one
// transaction each, and reads back what came of them. All I/O with the switch
// goes through here; what should be done is decided in package plan.
package ovs
