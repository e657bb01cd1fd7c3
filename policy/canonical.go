package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// storedSession is a session beside the version of its language.
type storedSession struct {
	Version int `json:"version"`
	Session
}

// Canonical is the JSON that stands for the session in OVSDB: one line, the
// version first, fields in the order of the Go type, keys sorted. Equal
// sessions give equal bytes, and ParseSession gives the session back.
func (s *Session) Canonical() ([]byte, error) {
	stored := storedSession{Version: Version, Session: *s}
	if !s.Expires.IsZero() {
		stored.Expires = s.Expires.UTC()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(stored); err != nil {
		return nil, fmt.Errorf("storing session: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
