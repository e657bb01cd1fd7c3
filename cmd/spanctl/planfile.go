package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"spanctl/ovs"
	"spanctl/policy"
	"spanctl/policy/plan"
)

// errStale indicates that a plan file no longer says what would be done.
var errStale = errors.New("stale plan")

// A planFile is what plan --out keeps: what was asked for, and the changes that
// were shown. It holds no secrets.
type planFile struct {
	FormatVersion int `json:"format_version"`
	// Database is the UUID of the Open_vSwitch row that the plan was made for.
	Database string       `json:"database"`
	Request  savedRequest `json:"request"`
	Changes  []jsonChange `json:"changes"`
}

// A savedRequest is a request as a file keeps it: sessions are canonical JSON,
// null for a plan of the stored ones.
type savedRequest struct {
	Sessions map[string]json.RawMessage `json:"sessions"`
	Prune    bool                       `json:"prune"`
}

// save writes the plan and its request to a file, whole or not at all.
func (r *request) save(p *plan.Plan, name string) error {
	doc := planFile{FormatVersion: plan.FormatVersion, Database: p.Base.Root, Request: savedRequest{Prune: r.prune}, Changes: newJSONPlan(p).Changes}
	if r.sessions != nil {
		doc.Request.Sessions = map[string]json.RawMessage{}
	}
	for name, session := range r.sessions {
		text, err := session.Canonical()
		if err != nil {
			return err
		}
		doc.Request.Sessions[name] = text
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if err := writeWhole(name, append(text, '\n')); err != nil {
		return fmt.Errorf("plan file: %w", err)
	}
	return nil
}

// writeWhole writes a file that only its owner can read. One of that name that is
// there is replaced when the new one is complete; of a symbolic link, what it leads
// to.
func writeWhole(name string, text []byte) error {
	if _, err := os.Lstat(name); err == nil {
		if name, err = filepath.EvalSymlinks(name); err != nil {
			return err
		}
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0) // a device or a pipe is written to, not replaced
		if err != nil {
			return err
		}
		_, err = f.Write(text)
		return errors.Join(err, f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// loadPlan reads a plan file, and the request in it.
func loadPlan(name string) (*planFile, *request, error) {
	text, err := readAtMost(name, 64<<20)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: plan file: %w", errUsage, err)
	}
	bad := func(err error) (*planFile, *request, error) {
		return nil, nil, fmt.Errorf("%w: %s is no plan file of this version: %w; write one with spanctl plan --out, and apply policies with -f", errUsage, name, err)
	}
	var doc planFile
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&doc); err != nil {
		return bad(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return bad(errors.New("more follows after its end"))
	}
	if doc.FormatVersion != plan.FormatVersion {
		return bad(fmt.Errorf("its format_version is %d", doc.FormatVersion))
	}
	r := &request{prune: doc.Request.Prune}
	if doc.Request.Sessions != nil {
		r.sessions = map[string]*policy.Session{}
	}
	for session, text := range doc.Request.Sessions {
		if !policy.ValidSessionName(session) {
			return bad(fmt.Errorf("session name %q is not valid", session))
		}
		if r.sessions[session], err = policy.ParseSession(name+": "+session, text); err != nil {
			return bad(err)
		}
	}
	return &doc, r, nil
}

// planner makes the file's plan again, and refuses if it is another one by now:
// what is applied is what was shown. Of a plan that takes several steps what was
// done in the first is no longer in it.
func (f *planFile) planner(ctx context.Context, conn *ovs.Conn, r *request) ovs.Planner {
	again := r.planner(ctx, conn)
	var first []plan.Change
	return func(snap *plan.Snapshot) (*plan.Plan, error) {
		if snap.Root != f.Database {
			return nil, fmt.Errorf("%w: it was made for another database; make a new one", errStale)
		}
		p, err := again(snap)
		if err != nil {
			return nil, err
		}
		was, err := json.Marshal(f.Changes)
		if err != nil {
			return nil, err
		}
		whole := *p
		for _, done := range [][]plan.Change{nil, first} {
			whole.Changes = plan.Sort(slices.Concat(done, p.Changes))
			is, err := json.Marshal(newJSONPlan(&whole).Changes)
			if err != nil {
				return nil, err
			}
			if bytes.Equal(was, is) {
				first = p.Inert().Changes
				return p, nil
			}
		}
		return nil, fmt.Errorf("%w: since it was made the database has changed, or the time, and something else would be done now; nothing was changed, make a new one", errStale)
	}
}
