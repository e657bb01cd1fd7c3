package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// parseJSON gives the tree of a JSON document, or its first syntax error.
func parseJSON(text []byte) (*node, *Error) {
	r := &jsonReader{text: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1, column: 1}
	r.dec.UseNumber()
	root, err := r.value(0)
	if err == nil {
		if _, end := r.dec.Token(); !errors.Is(end, io.EOF) {
			r.seek(int(r.dec.InputOffset()))
			return nil, at(r.line, r.column, "json", problemf("keep one object", "more follows the end of the object"))
		}
		return root, nil
	}
	if p := (*Error)(nil); errors.As(err, &p) {
		return nil, p
	}
	offset := int(r.dec.InputOffset())
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		offset = max(int(syntax.Offset)-1, 0)
	}
	r.seek(max(min(offset, len(text)), r.offset))
	message := err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		message = "ends too early"
	}
	return nil, at(r.line, r.column, "json", problemf("write JSON (RFC 8259)", "%s", strings.Join(strings.Fields(message), " ")))
}

// A jsonReader reads nodes, and keeps the position of the last token.
type jsonReader struct {
	text         []byte
	dec          *json.Decoder
	offset       int // of line and column
	line, column int
}

// seek moves the position forward to offset.
func (r *jsonReader) seek(offset int) {
	passed := r.text[r.offset:offset]
	if n := bytes.Count(passed, []byte("\n")); n > 0 {
		r.line += n
		r.column = 1
		passed = passed[bytes.LastIndexByte(passed, '\n')+1:]
	}
	r.column += utf8.RuneCount(passed)
	r.offset = offset
}

// next reads a token and makes a node of it, at the token's start.
func (r *jsonReader) next() (json.Token, *node, error) {
	start := int(r.dec.InputOffset())
	for start < len(r.text) && bytes.IndexByte([]byte(" \t\r\n,:"), r.text[start]) >= 0 {
		start++
	}
	tok, err := r.dec.Token()
	if err != nil {
		return nil, nil, err
	}
	r.seek(start)
	n := &node{line: r.line, column: r.column}
	switch v := tok.(type) {
	case nil:
		n.kind = kindNull
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(v)
	case json.Number:
		n.kind, n.text = kindNumber, v.String()
	case string:
		n.kind, n.text = kindText, v
	}
	return tok, n, nil
}

func (r *jsonReader) value(depth int) (*node, error) {
	tok, n, err := r.next()
	if err != nil {
		return nil, err
	}
	if depth > depthLimit {
		return nil, at(n.line, n.column, "document", tooDeep)
	}
	switch tok {
	case json.Delim('['):
		n.kind = kindList
		for r.dec.More() {
			item, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
		_, err = r.dec.Token()
	case json.Delim('{'):
		n.kind = kindMap
		for r.dec.More() {
			_, key, err := r.next()
			if err != nil {
				return nil, err
			}
			value, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			n.entries = append(n.entries, entry{key: key, value: value})
		}
		_, err = r.dec.Token()
	}
	return n, err
}
