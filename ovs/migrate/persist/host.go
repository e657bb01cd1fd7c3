package persist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// host is the machine whose files are below root.
type host struct {
	root string
	Layout
}

func (h *host) at(path string) string { return filepath.Join(h.root, path) }

// read is a file's content; nil: there is none. It follows links, and a link to /dev/null is an empty file.
func (h *host) read(path string) ([]byte, error) {
	if target, err := os.Readlink(h.at(path)); err == nil && target == os.DevNull {
		return []byte{}, nil
	}
	text, err := os.ReadFile(h.at(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if text == nil {
		text = []byte{}
	}
	return text, nil
}

func (h *host) exists(path string) bool {
	_, err := os.Lstat(h.at(path))
	return err == nil
}

// glob is the paths that match, as seen from the root directory, sorted.
func (h *host) glob(pattern string) ([]string, error) {
	found, err := filepath.Glob(h.at(pattern))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pattern, err)
	}
	slices.Sort(found)
	for i, path := range found {
		found[i] = "/" + strings.TrimPrefix(strings.TrimPrefix(path, filepath.Clean(h.root)), "/")
	}
	return found, nil
}

// byHand is what is returned when the bridge is not ours to write down.
func (h *host) byHand(m Manager, why, do string, where ...string) error {
	return &ByHandError{Bridge: h.Bridge, Manager: m, Where: where, Why: why, Do: do}
}
