// Package policy is the policy language: what a user wants copied where.
//
// It stands at the start of the data flow. [Parse] turns a policy file into a
// [Document] of named sessions, or into a list of everything that is wrong
// with it, each with its line and column. [Session.Canonical] is how one
// session is stored in OVSDB, and [ParseSession] reads it back, as strictly,
// because anything that can write OVSDB may have written it. policy/plan
// compiles the sessions against a snapshot; it may rely on every value here
// being within its limits.
//
// The way through the package:
//
//	bytes ─scan─▶ YAML or JSON ─▶ tree of nodes ─decode─▶ Document
//
// The tree knows lines and columns and nothing of policies; the decoder is
// driven by the Go types and their tags, which also make the [Schema]. So
// editor completion, error messages and the stored form cannot disagree.
//
// The package is pure: no files, no clock, no network.
package policy
