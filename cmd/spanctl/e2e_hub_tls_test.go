package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A distance is between spanctl and the site, whose database it reaches over TLS.
type distance struct {
	*watchedSite
	flags []string
}

// distant makes the site's database reachable over TLS, by one certificate that is authority, server and client.
func (s *watchedSite) distant() *distance {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	s.check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	s.check(err)
	certFile, keyFile := filepath.Join(s.TempDir(), "cert.pem"), filepath.Join(s.TempDir(), "key.pem")
	s.check(os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	s.check(os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	s.check(err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert})
	s.check(err)
	s.forward(listener, carry)
	return &distance{s, []string{"--db", "ssl:" + listener.Addr().String(), "--ca-cert", certFile, "--certificate", certFile, "--private-key", keyFile}}
}

// want runs a command from afar; it must end with the code. It returns what it says.
func (d *distance) want(code int, args ...string) (said string) {
	d.Helper()
	var out, err bytes.Buffer
	if got := run(slices.Concat(args, d.flags), strings.NewReader(""), &out, &err); got != code {
		d.Fatalf("spanctl %s over TLS exits %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), err.String())
	}
	return out.String() + err.String()
}

// named are the lines of the database, with names in place of UUIDs, without what ovs-vswitchd numbers.
func (s *site) named() []string {
	s.Helper()
	db := s.database()
	var names []string
	for table, rows := range db {
		for uuid, row := range rows {
			names = append(names, uuid, fmt.Sprintf("<%s %s>", table, row["name"]))
		}
	}
	text := strings.NewReplacer(names...).Replace(strings.Join(db.lines(ofItself, configuration, []string{"_uuid", "ifindex", "ofport", "datapath_id"}), "\n"))
	text = regexp.MustCompile(`\[<[^\]]*>\]`).ReplaceAllStringFunc(text, func(set string) string {
		members := strings.Split(strings.Trim(set, "[]"), ",")
		slices.Sort(members)
		return strings.Join(members, ",")
	})
	lines := strings.Split(revision.ReplaceAllString(text, ""), "\n")
	slices.Sort(lines)
	return lines
}

func TestE2EHubAppliedOverTLSIsTheSame(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	d := s.distant()
	file := s.policy("  audit: {sources: [{role: all, bridge: 'br[01]'}], destinations: [{vm: audit}, {vm: second}]}\n")
	s.want(exitOK, "apply", "-f", file)
	local := s.named()
	s.want(exitOK, "delete", "--all")
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)

	d.want(exitOK, "apply", "-f", file)
	remote := s.named()
	for _, line := range slices.Concat(local, remote) {
		if slices.Contains(local, line) != slices.Contains(remote, line) {
			t.Errorf("applied by one connection, but not by the other: %.200s", line)
		}
	}
	s.wantCopiedAt(map[string]string{"audit": "abcd", "second": "abcd"})
	s.wantNoChanges()
	d.want(exitOK, "plan", "-f", file, "--detailed-exitcode")
	d.want(exitOK, "status")
	d.want(exitOK, "delete", "--all")
	s.wantCopiedAt(nil)
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
}

// From afar the way of a new tunnel is not known: what ports send is listed, or, where that would not say the same, the
// session is refused. When the tunnel stands its way is seen.
func TestE2EHubTunnelOverTLS(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	d := s.distant()
	refused := s.policy(s.addressed("  audit: {sources: [{vm: a}, {vm: c}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}\n"))
	for _, command := range []string{"plan", "apply"} {
		if said := d.want(exitRefused, command, "-f", refused); !strings.Contains(said, "loop") || !strings.Contains(said, "its route is not known") {
			t.Errorf("%s says %s", command, said)
		}
	}
	s.wantSame("refused", s.before, s.database(), ofItself)

	file := s.policy(s.addressed("  audit: {sources: [{role: all, bridge: 'br[01]'}], destinations: [{vm: audit}, {erspan: {remote: ONE, session: 100}}]}\n"))
	var out, errs bytes.Buffer
	run(slices.Concat([]string{"apply", "-f", file}, d.flags), nil, &out, &errs)
	for _, about := range []string{"on bridge br0 ports are listed", "on bridge br1 ports are listed", "its route is not known", "select_src_port  vif-a, vif-b"} {
		if !strings.Contains(out.String(), about) {
			t.Errorf("apply does not say %q:\n%s%s", about, &out, &errs)
		}
	}
	s.wantCopiedAt(map[string]string{"audit": "abcd", "one: erspan II session 100 index 0": "abcd"})
	d.want(exitOK, "apply") // now ovs-vswitchd tells
	if got := s.vsctl("--bare", "--columns=select_all", "find", "Mirror", "name=spanctl-audit"); got != "true\n\ntrue" {
		t.Errorf("select_all is %q", got)
	}
	if out := d.want(exitOK, "apply"); !strings.HasPrefix(out, "No changes") {
		t.Errorf("apply has something to do:\n%s", out)
	}
	d.want(exitOK, "apply", "-f", refused)
	s.wantCopiedAt(map[string]string{"audit": "abcd", "one: erspan II session 100 index 0": "abcd"})
	d.want(exitOK, "delete", "--all")
	s.wantCopiedAt(nil)
	s.wantSame("after delete", s.before, s.database(), ofItself, configuration)
}
