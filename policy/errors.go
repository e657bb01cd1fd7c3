package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNewerVersion indicates that a document or a stored session is written in
// a later version of the policy language than this package speaks.
var ErrNewerVersion = errors.New("a newer spanctl is needed")

// An Error is one thing that is wrong with a policy.
type Error struct {
	// File is the name given to Parse.
	File string
	// Line and Column are where, both from 1; columns count characters.
	Line, Column int
	// Path is the field, as sessions.audit.sources[0].role; list items count
	// from 0. Syntax errors have the path "yaml" or "json", errors of the
	// whole file "document".
	Path string
	// Problem says what is wrong, Remedy what would be right.
	Problem, Remedy string

	cause error
}

// Error is FILE:LINE:COLUMN: PATH: what is wrong; what would be right.
func (e Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s; %s", e.File, e.Line, e.Column, e.Path, e.Problem, e.Remedy)
}

// Unwrap gives the sentinel that the problem stands for, if any.
func (e Error) Unwrap() error { return e.cause }

// Errors is everything that is wrong with a policy, sorted by position.
type Errors struct {
	Errs []Error
}

// Error is one line for each problem.
func (e *Errors) Error() string {
	lines := make([]string, len(e.Errs))
	for i, err := range e.Errs {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the problems.
func (e *Errors) Unwrap() []error {
	errs := make([]error, len(e.Errs))
	for i, err := range e.Errs {
		errs[i] = err
	}
	return errs
}

// sortErrors sorts by position and drops what an alias made appear twice.
func sortErrors(errs []Error) []Error {
	slices.SortStableFunc(errs, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(errs, func(a, b Error) bool {
		return a.Line == b.Line && a.Column == b.Column && a.Problem == b.Problem
	})
}

// A problem is an Error that does not yet know where it stands.
type problem struct {
	wrong, right string
}

func (p *problem) Error() string { return p.wrong + "; " + p.right }

func problemf(right, wrong string, args ...any) *problem {
	return &problem{wrong: fmt.Sprintf(wrong, args...), right: right}
}
