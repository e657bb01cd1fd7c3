// Package plan compiles what is wanted into the OVSDB rows that should exist,
// and into the changes that lead there.
//
// It stands between the two inputs of spanctl, a [Snapshot] of OVSDB and the
// [Intent] (mirror sessions of package policy), and package ovs, which carries
// a [Plan] out. Everything here is pure: no I/O, no clock, no randomness, and
// equal inputs give equal, sorted outputs, so that what one run plans another
// run can recompute and compare.
//
//	Snapshot + Intent --Compile--> Desired --Diff--> Plan
package plan
