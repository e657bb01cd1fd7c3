package policy

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

const (
	// MaxSize is the size of the largest policy file, in bytes. The YAML
	// library takes half a second and 200 MB of memory for as much, and its
	// time grows faster than the text.
	MaxSize = 1 << 20

	// depthLimit is how deep lists and maps may nest; depthNeeded is how deep
	// a policy does.
	depthLimit  = 64
	depthNeeded = 7

	// keysLimit is how many keys a block of YAML may have on one level: the
	// YAML library recurses on them, and takes the square of their number.
	keysLimit = 20_000

	// nodesLimit is how many values a document may have once its aliases are
	// replaced by what they stand for.
	nodesLimit = 2_000_000

	// errorsLimit is how many problems of one file are worth reading.
	errorsLimit = 1000
)

// at makes an Error of the whole document.
func at(line, column int, path string, p *problem) *Error {
	return &Error{Line: line, Column: column, Path: path, Problem: p.wrong, Remedy: p.right}
}

// scan checks what no reader of the document can be trusted with - size,
// encoding, control characters - and gives the text with a byte order mark
// removed and line ends made LF. Neither moves a position.
func scan(data []byte) ([]byte, *Error) {
	if len(data) > MaxSize {
		return nil, at(1, 1, "document", problemf("split it into several files of a directory",
			"is %d bytes long, the limit is %d", len(data), MaxSize))
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	line, column := 1, 1
	blank, crs := true, false
	for i := 0; i < len(data); {
		r, size := rune(data[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(data[i:])
		}
		switch {
		case r == utf8.RuneError && size == 1:
			return nil, at(line, column, "document", problemf("save the file as UTF-8", "byte 0x%02x is not UTF-8", data[i]))
		case r == '\r':
			crs = true
			if i+1 < len(data) && data[i+1] == '\n' {
				i++
			}
			line, column = line+1, 0
		case r == '\n':
			line, column = line+1, 0
		case !printable(r):
			return nil, at(line, column, "document", problemf("remove it; a policy is plain text", "character %U is not allowed", r))
		case r != ' ' && r != '\t':
			blank = false
		}
		i += size
		column++
	}
	if blank {
		return nil, at(1, 1, "document", problemf(fmt.Sprintf("start with version: %d and sessions:", Version), "is empty"))
	}
	if crs {
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	}
	return data, nil
}

// printable is YAML 1.2's c-printable (section 5.1), without the byte order
// mark and without LF and CR.
func printable(r rune) bool {
	switch {
	case r == '\t', r == 0x85:
		return true
	case r < 0x20, 0x7f <= r && r < 0xa0, 0xd800 <= r && r < 0xe000, r == 0xfeff, r == 0xfffe, r == 0xffff:
		return false
	}
	return true
}
