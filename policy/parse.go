package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// Parse reads a policy file, YAML or JSON; name stands for it in messages. The
// error is an *Errors with everything that is wrong, and the document then nil.
func Parse(name string, data []byte) (*Document, error) {
	d := newDecoder(name)
	root, err := readTree(data)
	switch {
	case root == nil:
		return nil, d.fail(data, append(d.salvage(data, err), *err))
	case err != nil:
		d.errs = append(d.errs, *err)
	}
	doc := &Document{}
	if p := versionProblem(root); p != nil {
		return nil, d.fail(data, []Error{*p})
	}
	d.value(reflect.ValueOf(doc).Elem(), root, nil, &field{})
	if len(d.errs) > 0 {
		return nil, d.fail(data, d.errs)
	}
	return doc, nil
}

// ParseSession reads a session as Canonical stores it: JSON, with the version
// beside the session's fields. It is as strict as Parse; name stands for the
// text in messages. The error is an *Errors, which is ErrNewerVersion if a
// later spanctl wrote the session.
func ParseSession(name string, data []byte) (*Session, error) {
	d := newDecoder(name)
	text, err := scan(data)
	if err != nil {
		return nil, d.fail(data, []Error{*err})
	}
	root, err := parseJSON(text)
	if err != nil {
		return nil, d.fail(data, []Error{*err})
	}
	if p := versionProblem(root); p != nil {
		return nil, d.fail(data, []Error{*p})
	}
	stored := &storedSession{}
	d.value(reflect.ValueOf(stored).Elem(), root, nil, &field{})
	if len(d.errs) > 0 {
		return nil, d.fail(data, d.errs)
	}
	return &stored.Session, nil
}

// readTree gives the tree of a document. Text that is valid JSON is read as
// JSON: it is also YAML, but the YAML library is slow on it.
func readTree(data []byte) (*node, *Error) {
	text, err := scan(data)
	if err != nil {
		return nil, err
	}
	if start := bytes.TrimLeft(text, " \t\n"); len(start) > 0 && start[0] == '{' && json.Valid(text) {
		return parseJSON(text)
	}
	return parseYAML(text)
}

// versionProblem checks the version before anything else: what a later
// version means by its fields is not known here.
func versionProblem(root *node) *Error {
	for _, e := range root.entries {
		if e.key.text != "version" {
			continue
		}
		n := e.value
		version, p := parseNumber(n.text, 0, 1<<30)
		if n.kind != kindNumber || p != nil || version == 0 {
			return at(n.line, n.column, "version", problemf(fmt.Sprintf("write version: %d", Version), "%s is not a version of the policy language", n.valueText()))
		}
		if version > Version {
			out := at(n.line, n.column, "version", problemf(ErrNewerVersion.Error(), "is %d, and this spanctl speaks version %d", version, Version))
			out.cause = ErrNewerVersion
			return out
		}
		return nil
	}
	return nil // reported with the other missing fields
}

// fail makes an error of what is wrong with data, sorted and not endless.
func (d *decoder) fail(data []byte, errs []Error) error {
	errs = sortErrors(errs)
	if more := len(errs) - errorsLimit; more > 0 {
		last := at(errs[errorsLimit].Line, errs[errorsLimit].Column, "document",
			problemf("mend those above first", "has %d more problems from here on", more))
		errs = append(errs[:errorsLimit:errorsLimit], *last)
	}
	place(data, errs)
	for i := range errs {
		errs[i].File = d.file
	}
	errs = sortErrors(errs)
	return &Errors{Errs: errs}
}

// place moves positions that are past the end of a line or of the text, as the
// YAML library gives for values that are not there, to that end.
func place(data []byte, errs []Error) {
	text := bytes.TrimPrefix(data, []byte("\ufeff"))
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	lines := bytes.Split(bytes.ReplaceAll(text, []byte("\r"), []byte("\n")), []byte("\n"))
	line, end := 0, 0
	for i := range errs {
		e := &errs[i]
		e.Line = min(e.Line, len(lines))
		if e.Line != line {
			line, end = e.Line, utf8.RuneCount(lines[e.Line-1])+1
		}
		e.Column = min(e.Column, end)
	}
}
