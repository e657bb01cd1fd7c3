package ovs_test

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
)

// listen makes the lab's server listen to a passive remote too, and returns
// the port of a TCP or SSL one.
func listen(t *testing.T, lab *ovstest.Lab, remote string) string {
	t.Helper()
	ctl := "--target=" + filepath.Join(lab.Dir, "ovsdb-server.ctl")
	tool(t, "ovs-appctl", ctl, "ovsdb-server/add-remote", remote)
	_, name, _ := strings.Cut(remote, ":")
	if strings.HasPrefix(remote, "punix:") {
		answers(t, name)
		return ""
	}
	return listening(t, lab, name)
}

// answers returns when a server takes connections at a Unix socket.
func answers(t *testing.T, path string) {
	t.Helper()
	waitUntil(t, path, func() bool {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return false
		}
		check(t, conn.Close())
		return true
	})
}

// listening returns the port that the server was given for an address, which
// it tells only in its log.
func listening(t *testing.T, lab *ovstest.Lab, name string) string {
	t.Helper()
	port := regexp.MustCompile(regexp.QuoteMeta(name) + `: listening on port (\d+)`)
	var said [][]byte
	waitUntil(t, name, func() bool {
		log, err := os.ReadFile(filepath.Join(lab.Dir, "ovsdb-server.log"))
		check(t, err)
		said = port.FindSubmatch(log)
		return said != nil
	})
	return string(said[1])
}

func TestDialRemotes(t *testing.T) {
	t.Parallel()
	lab := start(t, ovstest.Config{Bridges: []string{"here"}})
	odd := filepath.Join(lab.Dir, `50% off %2F, no`)
	check(t, os.Mkdir(odd[:strings.LastIndex(odd, ",")], 0o755))
	odd = filepath.Join(odd[:strings.LastIndex(odd, ",")], "a b#c?d=é%41.sock")
	listen(t, lab, "punix:"+odd)
	v4, v6 := listen(t, lab, "ptcp:0:127.0.0.1"), listen(t, lab, "ptcp:0:[::1]")
	sock := filepath.Join(lab.Dir, "db.sock")
	cwd, err := os.Getwd()
	check(t, err)
	relative, err := filepath.Rel(cwd, sock)
	check(t, err)
	for _, remote := range []string{
		lab.DB,
		"unix:" + relative,
		"unix:/" + sock,
		"unix:" + odd,
		"tcp:127.0.0.1:" + v4,
		"tcp:localhost:" + v4,
		"tcp:[::1]:" + v6,
		"unix:/nowhere/db.sock,tcp:127.0.0.1:" + v4,
		lab.DB + ",unix:/nowhere/db.sock",
		"tcp:[::1]:" + v6 + ",tcp:127.0.0.1:" + v4 + "," + lab.DB,
	} {
		snap, err := dial(t, remote).Observe(within(t, patience))
		if err != nil || len(snap.Bridges) != 1 || snap.Bridges[0].Name != "here" {
			t.Errorf("%s: %+v, %v", remote, snap, err)
		}
	}
}

func TestMalformedRemotes(t *testing.T) {
	t.Parallel()
	for _, remote := range []string{
		"", " ", "unix", "unix:", "tcp:", "ssl:", "tcp", ":", ":6640", "/var/run/openvswitch/db.sock", "db.sock", "unix /x",
		"punix:/x", "ptcp:6640", "pssl:6640:127.0.0.1", "http://localhost:6640", "UNIX:/x", " unix:/x",
		"tcp::6640", "tcp:[]:6640", "tcp:localhost:", "tcp:localhost:0", "tcp:localhost:65536", "tcp:localhost:-1", "tcp:localhost:+6640",
		"tcp:localhost:http", "tcp:localhost: 6640", "tcp:::1:6640", "tcp:1.2.3.4:5:6", "tcp:[::1", "tcp:::1]:6640", "tcp:[::1]6640", "tcp:[::1]:66:40", "tcp:::1",
		"unix:/x,", ",unix:/x", "unix:/x,,unix:/y", "unix:/x,nonsense",
	} {
		_, err := ovs.Dial(within(t, patience), remote, ovs.TLS{}, slog.New(slog.DiscardHandler))
		if !errors.Is(err, ovs.ErrRemote) || errors.Is(err, ovs.ErrUnreachable) {
			t.Errorf("%q: error is %v", remote, err)
		}
	}
}

// TestDefaultPort leaves the port out: nothing listens there, or another
// database does; what matters is that the text is understood.
func TestDefaultPort(t *testing.T) {
	t.Parallel()
	for remote, address := range map[string]string{
		"tcp:127.0.0.250": "127.0.0.250:6640", "tcp:[::1]": "[::1]:6640",
	} {
		_, err := ovs.Dial(within(t, patience), remote, ovs.TLS{}, slog.New(slog.DiscardHandler))
		if errors.Is(err, ovs.ErrRemote) || err != nil && !strings.Contains(err.Error(), address) {
			t.Errorf("%s: error is %v", remote, err)
		}
	}
}

func TestDefaultRemote(t *testing.T) {
	for dir, want := range map[string]string{"": "unix:/var/run/openvswitch/db.sock", "/run/lab": "unix:/run/lab/db.sock"} {
		t.Setenv("OVS_RUNDIR", dir)
		if got := ovs.DefaultRemote(); got != want {
			t.Errorf("OVS_RUNDIR=%s: %s, want %s", dir, got, want)
		}
	}
}
