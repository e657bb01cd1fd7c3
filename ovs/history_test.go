package ovs_test

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

const schemaRecord = `{"name":"Open_vSwitch","version":"8.3.1","tables":{}}`

// logOf writes records as ovsdb-server does, ovsdb(5).
func logOf(records ...string) []byte {
	var b bytes.Buffer
	for _, r := range records {
		fmt.Fprintf(&b, "OVSDB JSON %d %x\n%s\n", len(r)+1, sha1.Sum([]byte(r+"\n")), r)
	}
	return b.Bytes()
}

func readHistory(t testing.TB, log []byte) *ovs.History {
	t.Helper()
	h, err := ovs.ReadHistory(t.Context(), bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

const (
	byRoot = `"_comment":"spanctl apply by root@h (pid 1)"`
	tunnel = `"Port":{"p":{"name":"spanctl-1","interfaces":["uuid","i"],"external_ids":["map",[["spanctl-managed","true"],["spanctl-session","audit,b"]]]}},"Interface":{"i":{"type":"gre"}}`
)

func at(milliseconds int64) time.Time { return time.UnixMilli(milliseconds).UTC() }

// TestHistory tells from rows what a comment does not.
func TestHistory(t *testing.T) {
	t.Parallel()
	root := &ovs.Trail{Verb: "apply", By: "root@h", PID: 1}
	for name, c := range map[string]struct {
		records []string
		want    ovs.Transaction // the last
	}{
		"a tunnel is made": {
			[]string{`{"_date":5000000000123,"_is_diff":true,` + tunnel + `,` + byRoot + `}`},
			ovs.Transaction{
				Time: at(5000000000123), Sessions: []ovs.TracedSession{{Name: "audit"}, {Name: "b"}},
				Rows: []ovs.Rows{{Table: plan.TablePort, Created: 1}},
			},
		},
		"its options change": {
			[]string{`{"_is_diff":true,` + tunnel + `}`, `{"_date":5000000000000,"_is_diff":true,"Interface":{"i":{"options":["map",[["remote_ip","192.0.2.1"]]]}},` + byRoot + `}`},
			ovs.Transaction{Time: at(5000000000000), Rows: []ovs.Rows{{Table: plan.TablePort, Changed: 1}}, Sessions: []ovs.TracedSession{{Name: "audit"}, {Name: "b"}}},
		},
		"it goes": {
			[]string{`{"_is_diff":true,` + tunnel + `}`, `{"_date":5000000000000,"_is_diff":true,"Interface":{"i":null},"Port":{"p":null},"Bridge":{"b":{"ports":["uuid","p"]}},` + byRoot + `}`},
			ovs.Transaction{Time: at(5000000000000), Rows: []ovs.Rows{{Table: plan.TablePort, Removed: 1}}, Sessions: []ovs.TracedSession{{Name: "audit"}, {Name: "b"}}},
		},
		"a port is borrowed": {
			[]string{
				`{"Port":{"p":{"name":"vif9.0","interfaces":["set",[["uuid","i"],["uuid","j"]]],"external_ids":["map",[["x","y"]]]}}}`,
				`{"_date":5000000000000,"_is_diff":true,"Interface":{"j":{"ofport_request":7}},"Port":{"p":{"external_ids":["map",[["spanctl-saved-bridge","br0"]]]}},` + byRoot + `}`,
			},
			ovs.Transaction{Time: at(5000000000000), Rows: []ovs.Rows{{Table: plan.TablePort, Changed: 1}}},
		},
		"a port is given back": {
			[]string{
				`{"_is_diff":true,"Port":{"p":{"external_ids":["map",[["spanctl-saved-bridge","br0"],["x","y"]]]}}}`,
				`{"_date":5000000000000,"_is_diff":true,"Port":{"p":{"external_ids":["map",[["spanctl-saved-bridge","br0"]]]}},` + byRoot + `}`,
				`{"_date":5000000000001,"_is_diff":true,"Port":{"p":{"external_ids":["map",[["x","y"]]]}},` + byRoot + `}`, // not ours any more
			},
			ovs.Transaction{Time: at(5000000000001)},
		},
		"foreign rows": {
			[]string{
				`{"_date":5000000000000,"Mirror":{"m":{"name":"m0"}},"Bridge":{"b":{"mirrors":["uuid","m"],"external_ids":["map",[]]}},"Interface":{"f":{"type":"gre"}},"Manager":{"g":{"target":"ptcp:"}},` + byRoot + `}`,
			},
			ovs.Transaction{Time: at(5000000000000)},
		},
		"intent, by differences": {
			[]string{
				`{"_is_diff":true,"Open_vSwitch":{"o":{"external_ids":["map",[["spanctl/session/a","{\"reason\":\"A\"}"],["spanctl/session/b","{\"reason\":\"B\"}"],["spanctl/session/c","{"],["spanctl/revision","1"]]]}}}`,
				`{"_date":5000000000000,"_is_diff":true,"Open_vSwitch":{"o":{"next_cfg":2,"external_ids":["map",[["spanctl/session/a","{\"reason\":\"A\"}"],["spanctl/session/b","{\"reason\":\"B2\"}"],["spanctl/session/d","{\"reason\":7}"],["spanctl/revision","2"]]]}},` + byRoot + `}`,
			},
			ovs.Transaction{
				Time: at(5000000000000), Rows: []ovs.Rows{{Table: plan.TableIntent, Created: 1, Changed: 1, Removed: 1}},
				Sessions: []ovs.TracedSession{{Name: "a", Intent: plan.Delete, Why: "A"}, {Name: "b", Intent: plan.Update, Why: "B2"}, {Name: "d", Intent: plan.Create}},
			},
		},
		"intent, as OVS before 2.15 and at its very first wrote it": {
			[]string{
				`{"Open_vSwitch":{"o":{"external_ids":["map",[["spanctl/session/a","{}"],["spanctl/session/b","{}"]]]}}}`,
				`{"_date":1234567890,"Open_vSwitch":{"o":{"external_ids":["map",[["spanctl/session/b","{}"],["spanctl/session/c","{}"]]]}},` + byRoot + `}`,
			},
			ovs.Transaction{
				Time: time.Unix(1234567890, 0).UTC(), Rows: []ovs.Rows{{Table: plan.TableIntent, Created: 1, Removed: 1}},
				Sessions: []ovs.TracedSession{{Name: "a", Intent: plan.Delete}, {Name: "c", Intent: plan.Create}},
			},
		},
	} {
		h := readHistory(t, logOf(append([]string{schemaRecord}, c.records...)...))
		c.want.Trail, c.want.Comment = root, root.String()
		if got := h.Transactions[len(h.Transactions)-1]; !cmp.Equal(got, c.want) || !h.Cut.IsZero() {
			t.Errorf("%s (cut %v):\n%s", name, h.Cut, cmp.Diff(c.want, got))
		}
	}
}

func TestHistoryHasItsOwnTransactionsAlone(t *testing.T) {
	t.Parallel()
	h := readHistory(t, logOf(schemaRecord,
		`{"_date":5000000000000,"_comment":"compacting database online","Port":{"p":{"external_ids":["map",[["spanctl-managed","true"]]]}}}`,
		`{"_date":5000000000001,"_comment":"ovs-vsctl: set Port p tag=1","Port":{"p":{"tag":1}}}`,
		`{"_date":5000000000002,"Port":{"p":{"tag":2}}}`,
		`{"_date":5000000000003,"_comment":"spanctl was here","Port":{"p":null}}`,
		`{"_date":5000000000004,"_comment":"compacting database online"}`,
	))
	want := &ovs.History{Cut: at(5000000000000), Transactions: []ovs.Transaction{{
		Time: at(5000000000003), Comment: "spanctl was here", Rows: []ovs.Rows{{Table: plan.TablePort, Removed: 1}},
	}}}
	if !cmp.Equal(h, want) {
		t.Error(cmp.Diff(want, h))
	}
}

// TestHistoryOfALogBeingWritten reads what is whole, wherever the file ends.
func TestHistoryOfALogBeingWritten(t *testing.T) {
	t.Parallel()
	one, two := `{"_date":5000000000000,`+tunnel+`,`+byRoot+`}`, `{"_date":5000000000001,"Port":{"p":null},`+byRoot+`}`
	log := logOf(schemaRecord, one, two)
	first, second := len(logOf(schemaRecord)), len(logOf(schemaRecord, one))
	for end := first; end <= len(log); end++ {
		want := 0
		for _, at := range []int{second, len(log)} {
			if end >= at {
				want++
			}
		}
		h, err := ovs.ReadHistory(t.Context(), iotest.HalfReader(bytes.NewReader(log[:end])))
		if err != nil || len(h.Transactions) != want {
			t.Errorf("up to byte %d of %d: %+v, %v; want %d transactions", end, len(log), h, err, want)
		}
	}
	for end := range first {
		if _, err := ovs.ReadHistory(t.Context(), bytes.NewReader(log[:end])); !errors.Is(err, ovs.ErrNoLog) {
			t.Errorf("up to byte %d: %v", end, err)
		}
	}
}

func TestHistoryOfADamagedLog(t *testing.T) {
	t.Parallel()
	whole := logOf(schemaRecord, `{"_date":5000000000000,`+byRoot+`}`)
	good := logOf(`{"_date":5000000000001,` + byRoot + `}`)
	for name, c := range map[string]struct {
		damage []byte
		text   string
	}{
		"no header":      {[]byte("\n"), "no header"},
		"endless header": {bytes.Repeat([]byte("OVSDB"), 10000), "no header"},
		"no length":      {[]byte("OVSDB JSON x 0123\n{}\n"), "no length"},
		"negative":       {[]byte("OVSDB JSON -3 0123\n{}\n"), "no length"},
		"checksum":       {bytes.Replace(good, []byte("root"), []byte("toor"), 1), "its checksum is another one"},
		"clustered":      {bytes.Replace(good, []byte("JSON"), []byte("CLUSTER"), 1), "no header"},
		"no object":      {logOf(`[]`), "cannot unmarshal"},
		"date":           {logOf(`{"_date":"now"}`), "_date"},
		"table":          {logOf(`{"Port":[]}`), "table Port"},
		"map":            {logOf(`{"Port":{"p":{"external_ids":["set",[]]}}}`), "table Port: row p: external_ids: not in the notation"},
		"short map":      {logOf(`{"Port":{"p":{"external_ids":["map"]}}}`), "external_ids"},
		"interfaces":     {logOf(`{"Port":{"p":{"interfaces":["uuid"]}}}`), "interfaces"},
	} {
		h, err := ovs.ReadHistory(t.Context(), bytes.NewReader(append(append(whole[:len(whole):len(whole)], c.damage...), good...)))
		if !errors.Is(err, ovs.ErrDamaged) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), fmt.Sprintf("at byte %d:", len(whole))) {
			t.Errorf("%s: %v", name, err)
		} else if len(h.Transactions) != 1 {
			t.Errorf("%s: %+v", name, h)
		}
	}
	// A length may be anything; what is not there is being written.
	if h := readHistory(t, append(whole, "OVSDB JSON 9000000000000000000 0\n{}"...)); len(h.Transactions) != 1 {
		t.Errorf("%+v", h)
	}
	mine := errors.New("disk is gone")
	if _, err := ovs.ReadHistory(t.Context(), io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(mine))); !errors.Is(err, mine) {
		t.Error(err)
	}
}

// TestHistoryFromTheJournal reads what journalctl -o json --all prints. The lines of a transaction make one.
func TestHistoryFromTheJournal(t *testing.T) {
	t.Parallel()
	const comment = "spanctl agent by root@h (pid 1): a: drift; b: drift, row-missing"
	line := func(micro int64, comment, next string) string {
		return fmt.Sprintf(`{"__REALTIME_TIMESTAMP":"%d","MESSAGE":"changed","SPANCTL_REASON":"drift","SPANCTL_COMMENT":%s,"SPANCTL_NEXT_CFG":"%s"}`+"\n", micro, comment, next)
	}
	quoted := func(text string) string { return strconv.Quote(text) }
	bytesOf := strings.ReplaceAll(fmt.Sprint([]byte("spanctl apply by r@h (pid 2)")), " ", ",")
	text := `{"__REALTIME_TIMESTAMP":"1","MESSAGE":"connected"}` + "\n" +
		line(5000000000123456, quoted(comment), "7") + line(5000000000123999, quoted(comment), "7") +
		`{"__REALTIME_TIMESTAMP":"1","SPANCTL_COMMENT":"somebody's"}` + "\n" + `{"__REALTIME_TIMESTAMP":"1","SPANCTL_COMMENT":["spanctl a","spanctl b"]}` + "\n" +
		line(5000000000200000, quoted(comment), "8") + // the same once more
		line(5000000000300000, bytesOf, "9") +
		line(5000060000000000, quoted(comment), "7") // of another database
	trail := ovs.Trail{Verb: "agent", By: "root@h", PID: 1, Sessions: map[string][]plan.Reason{"a": {plan.ReasonDrift}, "b": {plan.ReasonDrift, plan.ReasonMissing}}}
	sessions := []ovs.TracedSession{{Name: "a", Reasons: trail.Sessions["a"]}, {Name: "b", Reasons: trail.Sessions["b"]}}
	agent := func(micro int64) ovs.Transaction {
		return ovs.Transaction{Time: time.UnixMicro(micro).UTC(), Comment: comment, Trail: &trail, Sessions: sessions}
	}
	want := &ovs.History{Transactions: []ovs.Transaction{
		agent(5000000000123456), agent(5000000000200000),
		{Time: time.UnixMicro(5000000000300000).UTC(), Comment: "spanctl apply by r@h (pid 2)", Trail: &ovs.Trail{Verb: "apply", By: "r@h", PID: 2}},
		agent(5000060000000000),
	}}
	for _, unfinished := range []string{"", `{"__REALTIME_TIMESTAMP":"5000060000000001","SPANCTL_COM`} {
		if h := readHistory(t, []byte(text+unfinished)); !cmp.Equal(h, want) {
			t.Error(cmp.Diff(want, h))
		}
	}
	for damage, said := range map[string]string{
		line(1, "null", "1"):  "give journalctl --all as well",
		"Nov 29 20:00:00 h\n": "invalid character",
		`{"SPANCTL_COMMENT":"spanctl agent by r@h (pid 1)"}` + "\n": "no time",
	} {
		h, err := ovs.ReadHistory(t.Context(), strings.NewReader(text+damage+text))
		if !errors.Is(err, ovs.ErrDamaged) || !strings.Contains(err.Error(), said) || !strings.Contains(err.Error(), "line 9: ") || !cmp.Equal(h, want) {
			t.Errorf("%s: %v\n%s", damage, err, cmp.Diff(want, h))
		}
	}
	for _, text := range []string{"", "{", "{\n", "{}}\n", "[]\n"} {
		h, err := ovs.ReadHistory(t.Context(), strings.NewReader(text))
		if text == "{" && (err != nil || len(h.Transactions) > 0) || text != "{" && !errors.Is(err, ovs.ErrNoLog) {
			t.Errorf("%q: %+v, %v", text, h, err)
		}
	}
}

func FuzzReadHistory(f *testing.F) {
	f.Add(logOf(schemaRecord), `{"_date":5000000000000,"_is_diff":true,`+tunnel+`,`+byRoot+`}`)
	f.Add(logOf(schemaRecord, `{"_is_diff":true,`+tunnel+`}`), `{"Interface":{"i":{}},"Port":{"p":{"interfaces":["set",[["uuid","i"]]]}},`+byRoot+`}`)
	f.Add([]byte("OVSDB CLUSTER 10 x\n"), `{"Open_vSwitch":{"o":{"external_ids":["map",[["spanctl/session/a","{}"]]]}},"Mirror":{"m":null}}`)
	f.Add([]byte(`{"__REALTIME_TIMESTAMP":"5000000000123456","SPANCTL_COMMENT":"spanctl agent by root@h (pid 1): a: drift"}`+"\n"), `{}`)
	f.Fuzz(func(t *testing.T, log []byte, record string) {
		for _, log := range [][]byte{log, logOf(schemaRecord, record), append(log, logOf(record, record)...)} {
			h, err := ovs.ReadHistory(t.Context(), bytes.NewReader(log))
			if err != nil && !errors.Is(err, ovs.ErrNoLog) && !errors.Is(err, ovs.ErrDamaged) {
				t.Error(err)
			}
			if h == nil {
				continue
			}
			for _, transaction := range h.Transactions {
				if !strings.HasPrefix(transaction.Comment, "spanctl ") {
					t.Errorf("%+v", transaction)
				}
			}
		}
	})
}
