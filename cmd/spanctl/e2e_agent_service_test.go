package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Messages are what a process tells a service.
type messages struct {
	*site
	conn *net.UnixConn
}

// listen makes a socket for datagrams, which ends with the test.
func (s *site) listen(path string) *messages {
	s.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	s.check(err)
	s.Cleanup(func() { _ = conn.Close() })
	deadline, _ := s.ctx.Deadline()
	s.check(conn.SetReadDeadline(deadline))
	return &messages{s, conn}
}

// await reads until a message holds the text, and returns it.
func (m *messages) await(text string) string {
	m.Helper()
	for buffer := make([]byte, 1<<16); ; {
		n, err := m.conn.Read(buffer)
		if err != nil {
			m.Fatalf("waiting for %s: %v", text, err)
		}
		if bytes.Contains(buffer[:n], []byte(text)) {
			return string(buffer[:n])
		}
	}
}

const auditA = "  audit: {sources: [{vm: a}], destinations: [{vm: audit}]}\n"

// The agent as systemd sees it: ready, alive, stopping; and mirrors stay.
func TestE2EAgentServiceNotifies(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.apply(auditA)
	systemd := s.listen(filepath.Join(s.lab.Dir, "notify"))
	p := s.startWith([]string{"NOTIFY_SOCKET=" + filepath.Join(s.lab.Dir, "notify"), "WATCHDOG_USEC=200000"}, s.lab.DB, "agent", "--listen", "", "--check", "1h")
	systemd.await("READY=1")
	for range 5 { // though --check is an hour
		systemd.await("WATCHDOG=1")
	}
	s.check(p.cmd.Process.Signal(syscall.SIGTERM))
	systemd.await("STOPPING=1")
	s.wantExit(p, exitOK)
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 5)
	s.wantNoChanges()
}

// SIGHUP makes the agent read its file again, and an invalid one leaves the old settings.
func TestE2EAgentServiceReloads(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	file := filepath.Join(s.TempDir(), "spanctl.yaml")
	configure := func(text string) { s.check(os.WriteFile(file, []byte(text), 0o600)) }
	configure("listen: 127.0.0.1:0\nlog-level: info\n")
	p := s.start(s.lab.DB, "agent", "--config", file)
	w := s.watch(p)
	w.awaitReady(http.StatusOK)
	if said := p.said.String(); strings.Contains(said, "level=DEBUG") {
		t.Errorf("at log level info the agent says\n%s", said)
	}
	hangup := func(says string) {
		s.Helper()
		s.check(p.cmd.Process.Signal(syscall.SIGHUP))
		s.await(says, func() bool {
			_, then, found := strings.Cut(p.said.String(), says)
			return found && strings.Contains(then, "msg=connected") && strings.Contains(then, "level=DEBUG")
		})
		w.awaitReady(http.StatusOK)
	}
	configure("listen: 127.0.0.1:0\nlog-level: debug\n")
	hangup("configuration read again")
	configure("listen: 127.0.0.1:0\nlog-level: loud\n")
	hangup("the configuration is left as it was") // still at level debug
	if said := p.said.String(); !strings.Contains(said, `log level \"loud\"`) {
		t.Errorf("the agent does not say what is wrong:\n%s", said)
	}
	s.apply(auditA)
	s.restart(s.guests["a"])
	s.awaitActive("audit")
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], 5)
	s.terminate(p)
}

var serves = regexp.MustCompile(`address=(\S+)`)

// A watch asks an agent by HTTP.
type watch struct {
	*site
	url string
}

// watch returns when the agent serves, as its log says.
func (s *site) watch(p *process) *watch {
	s.Helper()
	var found []string
	s.await("the address", func() bool { found = serves.FindStringSubmatch(p.said.String()); return found != nil })
	return &watch{s, "http://" + found[1]}
}

func (w *watch) get(path string) (code int, body string) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.ctx, http.MethodGet, w.url+path, nil)
	w.check(err)
	answer, err := http.DefaultClient.Do(request)
	w.check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	w.check(err)
	return answer.StatusCode, string(text)
}

// value is a metric with labels, the sum of all that have them; nothing is 0.
func (w *watch) value(name string, labels ...string) (sum float64) {
	w.Helper()
	_, text := w.get("/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	w.check(err)
	for _, m := range families[name].GetMetric() {
		with := map[string]string{}
		for _, pair := range m.GetLabel() {
			with[pair.GetName()] = pair.GetValue()
		}
		matches := true
		for i := 0; i < len(labels); i += 2 {
			matches = matches && with[labels[i]] == labels[i+1]
		}
		if matches {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func (w *watch) wantAnswer(path string, code int, body string) {
	w.Helper()
	if got, text := w.get(path); got != code || !strings.Contains(text, body) {
		w.Errorf("%s answers %d %s, want %d %s", path, got, text, code, body)
	}
}

// awaitReady returns when /readyz answers so.
func (w *watch) awaitReady(code int) {
	w.Helper()
	w.await("/readyz", func() bool { got, _ := w.get("/readyz"); return got == code })
}

// What monitors are told before there is a database, with a session, and when the database goes.
func TestE2EAgentServiceIsWatched(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	s.lab.KillDB()
	p := s.start(s.lab.DB, "agent", "--listen", "127.0.0.1:0", "--log-level", "info", "--check", "200ms")
	w := s.watch(p)
	w.wantAnswer("/healthz", http.StatusOK, "ok")
	w.wantAnswer("/readyz", http.StatusServiceUnavailable, "the database is not connected")
	s.await("a failure", func() bool { return w.value("spanctl_failures_total", "what", "connection") > 0 })
	if n := w.value("spanctl_connected"); n != 0 {
		t.Errorf("spanctl_connected is %v without a database", n)
	}
	s.check(s.lab.StartDB(s.ctx))
	w.awaitReady(http.StatusOK)
	w.wantAnswer("/healthz", http.StatusOK, "ok")
	s.vsctl("show") // ovs-vswitchd is there again
	s.apply(auditA)
	s.restart(s.guests["a"])
	s.awaitActive("audit")
	const n = 20
	s.wantCopied(s.guests["a"], s.guests["b"], s.guests["audit"], n)
	for _, m := range []struct {
		name   string
		labels []string
		least  float64
		most   float64
	}{
		{"spanctl_connected", nil, 1, 1},
		{"spanctl_ready", nil, 1, 1},
		{"spanctl_standby", nil, 0, 0},
		{"spanctl_build_info", nil, 1, 1},
		{"spanctl_session_sources", []string{"session", "audit"}, 1, 1},
		{"spanctl_session_sources_copied", []string{"session", "audit"}, 1, 1},
		{"spanctl_session_state", []string{"session", "audit", "state", "active"}, 1, 1},
		{"spanctl_session_state", []string{"session", "audit"}, 1, 1},
		{"spanctl_mirror_packets_total", []string{"bridge", "br0"}, n, 1e6},
		{"spanctl_mirror_bytes_total", []string{"bridge", "br0"}, n * 14, 1e9},
		{"spanctl_transactions_total", nil, 1, 1e3}, // the restart's
		{"spanctl_changes_total", nil, 1, 1e3},
		{"spanctl_in_force_duration_seconds", nil, 1, 1e3},
		{"spanctl_pass_duration_seconds", nil, 1, 1e6},
		{"spanctl_source_blind_timestamp_seconds", nil, 0, 0},
		{"spanctl_session_contested_rows", nil, 0, 0},
	} {
		s.await(m.name, func() bool { v := w.value(m.name, m.labels...); return v >= m.least && v <= m.most })
	}
	s.lab.KillDB()
	s.await("the loss", func() bool { return w.value("spanctl_connected") == 0 })
	w.wantAnswer("/readyz", http.StatusServiceUnavailable, "the database is not connected")
	w.wantAnswer("/healthz", http.StatusOK, "ok")
	s.check(s.lab.StartDB(s.ctx))
	s.await("the connection", func() bool { return w.value("spanctl_connected") == 1 })
	w.awaitReady(http.StatusOK)
	s.vsctl("show")
	s.terminate(p)
	if _, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://")); err == nil {
		t.Error("the agent still serves")
	}
}

// Logs go to the journal, with the attributes as fields, and history reads them from there: the same as from the database.
// The journald is the test's own, in mount namespaces in which /run is.
func TestE2EAgentServiceJournal(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	const prepare = `mount -t tmpfs none /run && mkdir -p /run/systemd/journal /run/log/journal &&
		mount --bind "$JOURNAL/sockets" /run/systemd/journal && mount --bind "$JOURNAL/log" /run/log/journal`
	dir := filepath.Join(s.lab.Dir, "journal")
	for _, name := range []string{"sockets", "log"} {
		s.check(os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	environ := []string{"JOURNAL=" + dir}
	cmd := exec.CommandContext(s.ctx, "sh", "-c", prepare+" && exec /usr/lib/systemd/systemd-journald")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	s.startCommand(cmd, environ, nil)
	s.await("journald", func() bool {
		_, err := os.Stat(filepath.Join(dir, "sockets", "socket"))
		return err == nil
	})
	journal := func() string {
		out, err := exec.CommandContext(s.ctx, "journalctl", "--directory", filepath.Join(dir, "log"), "-t", "spanctl", "-o", "json", "--all").Output()
		s.check(err)
		return string(out)
	}
	p := s.startIn(prepare, environ, s.lab.DB, "agent", "--listen", "", "--log-level", "info", "--log-format", "journald")
	s.await("the agent's first entry", func() bool { return strings.Contains(journal(), `"MESSAGE":"connected"`) })
	for _, field := range []string{`"PRIORITY":"6"`, `"SPANCTL_DB":"` + s.lab.DB + `"`} {
		if got := journal(); !strings.Contains(got, field) {
			t.Errorf("the journal lacks %s:\n%s", field, got)
		}
	}
	s.apply(auditA) // by this process: it is in the database alone
	s.restart(s.guests["a"])
	s.awaitActive("audit")
	s.vsctl("clear", "Bridge", "br0", "mirrors")
	s.awaitActive("audit")
	s.terminate(p)
	if said := p.said.String(); said != "" {
		t.Errorf("the agent also says\n%s", said)
	}
	// told is the agent's transactions in the journal or, without one, in the database.
	told := func(stdin string, args ...string) (told []string) {
		var out, errs bytes.Buffer
		if code := run(append([]string{"history", "audit", "-o", "json", "--db", s.lab.DB}, args...), strings.NewReader(stdin), &out, &errs); code != exitOK {
			t.Fatalf("history exits %d\n%s", code, &errs)
		}
		var doc struct{ Transactions []jsonTransaction }
		s.check(json.Unmarshal(out.Bytes(), &doc))
		for _, tr := range doc.Transactions {
			if tr.Verb != "agent" {
				continue
			}
			at, err := time.Parse(time.RFC3339, tr.Time)
			s.check(err)
			if d := time.Since(at); d < 0 || d > time.Hour {
				t.Errorf("it was at %s", at)
			}
			told = append(told, fmt.Sprint(tr.Comment, tr.By, tr.PID, tr.Sessions))
		}
		return told
	}
	stored := told("")
	s.await(strconv.Itoa(len(stored))+" transactions in the journal", func() bool { return len(told(journal(), "--file", "-")) >= len(stored) })
	if journaled := told(journal(), "--file", "-"); !slices.Equal(journaled, stored) || len(stored) < 2 {
		t.Errorf("the journal tells\n%s\nand the database\n%s", strings.Join(journaled, "\n"), strings.Join(stored, "\n"))
	}
	// Without a journal it says what to do.
	p = s.startIn("mount -t tmpfs none /run", nil, s.lab.DB, "get", "--log-format", "journald")
	s.wantExit(p, exitInvalid)
	if said := p.said.String(); !strings.Contains(said, "no journal of systemd here") || !strings.Contains(said, "write text or json") {
		t.Errorf("spanctl says %s", said)
	}
}
