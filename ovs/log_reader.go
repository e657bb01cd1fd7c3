package ovs

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// errClustered indicates a file of another kind, which holds the log of a server among
// several.
var errClustered = fmt.Errorf("%w: the database is clustered, and the logs of those are not read", ErrNoLog)

// logReader reads the records of a standalone database's file, ovsdb(5): a line "OVSDB
// JSON LENGTH SHA1" and so many bytes of JSON, one after the other.
type logReader struct {
	in    *bufio.Reader
	magic string // JSON, CLUSTER if the database is clustered
	// at is where the record begins that was read last, end where it ends.
	at, end int64
}

// newLogReader reads the first record, the schema. Its error is ErrNoLog if the file is
// not the log of a standalone Open_vSwitch database.
func newLogReader(in *bufio.Reader) (*logReader, error) {
	const clustered = "OVSDB CLUSTER "
	r := &logReader{in: in, magic: "JSON"}
	head, err := r.in.Peek(len(clustered))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(head) == clustered {
		r.magic = "CLUSTER"
	}
	text, err := r.next()
	if errors.Is(err, io.EOF) || errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("%w: this is no file of OVSDB", ErrNoLog)
	} else if err != nil {
		return nil, err
	}
	var schema struct{ Name string }
	switch err := json.Unmarshal(text, &schema); {
	case err != nil || schema.Name != DatabaseName:
		return nil, fmt.Errorf("%w: this is no file of the database %s", ErrNoLog, DatabaseName)
	case r.magic != "JSON":
		return nil, errClustered
	}
	return r, nil
}

// next returns the JSON of the next record. Its error is io.EOF after the last, also if
// the server is still writing one.
func (r *logReader) next() ([]byte, error) {
	r.at = r.end
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = r.damaged("no header")
	}
	if err != nil {
		return nil, err
	}
	head := len(line)
	words := strings.Split(strings.TrimSuffix(string(line), "\n"), " ")
	if len(words) != 4 || words[0] != "OVSDB" || words[1] != r.magic {
		return nil, r.damaged("no header")
	}
	length, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil || length <= 0 {
		return nil, r.damaged("no length")
	}
	var record bytes.Buffer // grows with what is there: the length may be anything
	n, err := io.CopyN(&record, r.in, length)
	if err != nil {
		return nil, err
	}
	if sum := sha1.Sum(record.Bytes()); hex.EncodeToString(sum[:]) != words[3] {
		return nil, r.damaged("its checksum is another one")
	}
	r.end += int64(head) + n
	return record.Bytes(), nil
}

// damaged is an error about the record that was read last.
func (r *logReader) damaged(what string) error {
	return fmt.Errorf("%w: the record at byte %d: %s; what follows is not read", ErrDamaged, r.at, what)
}
