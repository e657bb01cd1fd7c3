package ovs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// journalEntry is what audit has logged, as journalctl -o json writes it (journalctl(1), systemd.journal-fields(7)).
type journalEntry struct {
	Time    journalField `json:"__REALTIME_TIMESTAMP"` // microseconds since 1970
	Comment journalField `json:"SPANCTL_COMMENT"`
	NextCfg journalField `json:"SPANCTL_NEXT_CFG"`
}

// journalField is a field's text. What is not printable is an array of bytes there, and what is too long is null. A field
// that an entry has several times is none of ours.
type journalField struct {
	text string
	long bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *journalField) UnmarshalJSON(raw []byte) error {
	var bytes []byte
	switch {
	case string(raw) == "null":
		f.long = true
	case json.Unmarshal(raw, &f.text) == nil:
	case json.Unmarshal(raw, &bytes) == nil:
		f.text = string(bytes)
	}
	return nil
}

// readJournal reads what audit has logged to the journal. The lines of a transaction make one; of rows it tells nothing.
// A last line that is not whole is left out.
func readJournal(ctx context.Context, in *bufio.Reader) (*History, error) {
	h := &History{}
	last := map[[2]string]time.Time{} // by comment and number: when a transaction with these was logged last
	for number := 1; ; number++ {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading the journal: %w; it may take more --timeout", err)
		}
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return h, nil
		} else if err != nil {
			return h, err
		}
		damaged := func(what string) error {
			return fmt.Errorf("%w: line %d: %s; what follows is not read", ErrDamaged, number, what)
		}
		var e journalEntry
		if err := json.Unmarshal(text, &e); err != nil && number == 1 {
			return nil, fmt.Errorf("%w: this is neither a file of OVSDB nor from journalctl -o json --all", ErrNoLog)
		} else if err != nil {
			return h, damaged(err.Error())
		}
		if e.Comment.long {
			return h, damaged("the comment was left out for its length; give journalctl --all as well")
		}
		if !strings.HasPrefix(e.Comment.text, "spanctl ") {
			continue
		}
		micro, err := strconv.ParseInt(e.Time.text, 10, 64)
		if err != nil {
			return h, damaged("no time")
		}
		t := Transaction{Time: time.UnixMicro(micro).UTC(), Comment: e.Comment.text}
		// The lines of a transaction are written at once; a database that was replaced counts from the beginning.
		const atOnce = time.Second
		key := [2]string{e.Comment.text, e.NextCfg.text}
		before, known := last[key]
		if last[key] = t.Time; known && t.Time.Sub(before) < atOnce {
			continue
		}
		t.trace()
		h.Transactions = append(h.Transactions, t)
	}
}
