// Package vswitchd holds Go types of the Open_vSwitch database's rows, with
// the columns that spanctl reads. Package ovs fills them from an OVSDB monitor;
// nothing else uses them. The types are generated: see gen.go.
package vswitchd

//go:generate go run gen.go
