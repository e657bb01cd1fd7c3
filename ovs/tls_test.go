package ovs_test

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs"
	"spanctl/ovs/ovstest"
)

// serveTLS replaces the lab's server by one with a certificate, and returns
// its addresses, over IPv4 and IPv6.
func serveTLS(t *testing.T, lab *ovstest.Lab, cacert, cert, key string) (v4, v6 string) {
	t.Helper()
	lab.KillDB()
	sock := filepath.Join(lab.Dir, "db.sock")
	check(t, os.Remove(sock))
	cmd := exec.Command("ovsdb-server", filepath.Join(lab.Dir, "conf.db"), "--remote=punix:"+sock, "--remote=pssl:0:127.0.0.1", "--remote=pssl:0:[::1]",
		"--ca-cert="+cacert, "--certificate="+cert, "--private-key="+key,
		"--unixctl="+filepath.Join(lab.Dir, "ovsdb-server.ctl"), "--log-file="+filepath.Join(lab.Dir, "ovsdb-server.log"), "-vconsole:off")
	check(t, lab.Launch(cmd))
	t.Cleanup(func() {
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	})
	return "ssl:127.0.0.1:" + listening(t, lab, "0:127.0.0.1"), "ssl:[::1]:" + listening(t, lab, "0:[::1]")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	lab := twoPorts(t)
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	serverCert, serverKey := ca.Issue(t, "server", nil)
	cert, key := ca.Issue(t, "client", nil)
	v4, v6 := serveTLS(t, lab, ca.CACert, serverCert, serverKey)
	good := ovs.TLS{CACert: ca.CACert, Certificate: cert, PrivateKey: key}
	for _, remote := range []string{v4, v6, strings.Replace(v4, "127.0.0.1", "localhost", 1), "unix:/nowhere," + v4} {
		conn, err := ovs.Dial(within(t, patience), remote, good, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("%s: %v", remote, err)
			continue
		}
		_, err = conn.Apply(within(t, patience), put(t, session), t.Name())
		check(t, err)
		if len(observe(t, conn).Bridges[0].Mirrors) != 1 {
			t.Errorf("%s: no mirror", remote)
		}
		conn.Close()
		apply(t, lab, without())
	}
	// The files do no harm to a remote without TLS.
	conn, err := ovs.Dial(within(t, patience), lab.DB, good, slog.New(slog.DiscardHandler))
	check(t, err)
	conn.Close()

	issue := func(from *authority, name string, change func(*x509.Certificate)) ovs.TLS {
		cert, key := from.Issue(t, name, change)
		return ovs.TLS{CACert: ca.CACert, Certificate: cert, PrivateKey: key}
	}
	for name, c := range map[string]struct {
		files ovs.TLS
		want  error
		text  string
	}{
		"wrong CA":                {ovs.TLS{CACert: other.CACert, Certificate: cert, PrivateKey: key}, ovs.ErrPermission, "unknown authority"},
		"certificate of other CA": {issue(other, "stranger", nil), ovs.ErrPermission, "certificate"},
		"expired certificate":     {issue(ca, "late", expired), ovs.ErrPermission, "certificate"},
		"no files":                {ovs.TLS{}, ovs.ErrRemote, "--ca-cert, --certificate and --private-key"},
		"no certificate":          {ovs.TLS{CACert: ca.CACert}, ovs.ErrRemote, "--ca-cert, --certificate and --private-key"},
		"no key":                  {ovs.TLS{CACert: ca.CACert, Certificate: cert}, ovs.ErrRemote, "--ca-cert, --certificate and --private-key"},
		"missing CA file":         {ovs.TLS{CACert: "/nowhere/ca", Certificate: cert, PrivateKey: key}, ovs.ErrRemote, "/nowhere/ca"},
		"missing certificate":     {ovs.TLS{CACert: ca.CACert, Certificate: "/nowhere/cert", PrivateKey: key}, ovs.ErrRemote, "/nowhere/cert"},
		"missing key":             {ovs.TLS{CACert: ca.CACert, Certificate: cert, PrivateKey: "/nowhere/key"}, ovs.ErrRemote, "/nowhere/key"},
		"key for a CA":            {ovs.TLS{CACert: key, Certificate: cert, PrivateKey: key}, ovs.ErrRemote, "no PEM certificate"},
		"another's key":           {ovs.TLS{CACert: ca.CACert, Certificate: cert, PrivateKey: serverKey}, ovs.ErrRemote, "private key"},
		"certificate for a key":   {ovs.TLS{CACert: ca.CACert, Certificate: cert, PrivateKey: cert}, ovs.ErrRemote, "private"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ovs.Dial(within(t, patience), v4, c.files, slog.New(slog.DiscardHandler))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error is %v", err)
			}
			if c.want == ovs.ErrPermission && err != nil && !strings.Contains(err.Error(), "check --ca-cert, --certificate and --private-key") {
				t.Errorf("error does not help: %v", err)
			}
		})
	}
	// Plain text to a server that speaks TLS, and the other way round.
	plain := "127.0.0.2:" + listen(t, lab, "ptcp:0:127.0.0.2")
	if _, err := ovs.Dial(within(t, patience), strings.Replace(v4, "ssl:", "tcp:", 1), good, slog.New(slog.DiscardHandler)); !errors.Is(err, ovs.ErrUnreachable) {
		t.Errorf("tcp to ssl: error is %v", err)
	}
	if _, err := ovs.Dial(within(t, patience), "ssl:"+plain, good, slog.New(slog.DiscardHandler)); !errors.Is(err, ovs.ErrUnreachable) {
		t.Errorf("ssl to tcp: error is %v", err)
	}
}

// TestTLSServers dials servers whose certificate is not what it should be.
func TestTLSServers(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	cert, key := ca.Issue(t, "client", nil)
	good := ovs.TLS{CACert: ca.CACert, Certificate: cert, PrivateKey: key}
	for name, c := range map[string]struct {
		issuer *authority
		change func(*x509.Certificate)
		text   string
	}{
		"expired":     {ca, expired, "expired"},
		"of other CA": {other, nil, "unknown authority"},
		"future":      {ca, func(c *x509.Certificate) { c.NotBefore = c.NotAfter }, "not yet valid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab := start(t, ovstest.Config{})
			serverCert, serverKey := c.issuer.Issue(t, "server", c.change)
			v4, _ := serveTLS(t, lab, ca.CACert, serverCert, serverKey)
			_, err := ovs.Dial(within(t, patience), v4, good, slog.New(slog.DiscardHandler))
			if !errors.Is(err, ovs.ErrPermission) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "check --ca-cert") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// TestTLSServerIsSilent dials a server that never says a word.
func TestTLSServerIsSilent(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	ca := newAuthority(t, "ca")
	cert, key := ca.Issue(t, "client", nil)
	files := ovs.TLS{CACert: ca.CACert, Certificate: cert, PrivateKey: key}
	for _, kind := range []string{"ssl:", "tcp:"} {
		ctx := newExpiring(t)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1)) // the client is waiting for us now
			ctx.Expire()
			_, _ = conn.Read(make([]byte, 1<<16))
			_, _ = conn.Read(make([]byte, 1))
		}()
		_, err := ovs.Dial(ctx, kind+listener.Addr().String(), files, slog.New(slog.DiscardHandler))
		if !errors.Is(err, ovs.ErrUnreachable) || !strings.Contains(err.Error(), "no answer in time") {
			t.Errorf("%s: error is %v", kind, err)
		}
	}
}
