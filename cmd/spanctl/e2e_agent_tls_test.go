package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// TestE2EAgentInsideTheAuditGuest has nothing of ours on the host: the agent runs in a guest, which reaches the host's
// ovsdb-server over TLS by a NIC for that, as docs/howto/agent-in-the-audit-guest.md says.
func TestE2EAgentInsideTheAuditGuest(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit", "ids")
	console := s.add(ovstest.GuestConfig{Name: "console"}) // the audit guest's other NIC
	host, err := s.lab.HostIP(s.ctx, "br0", netip.MustParsePrefix("10.9.0.100/24"))
	s.check(err)
	dir := s.lab.Dir // where ovsdb-server too can read, wherever its root is
	ca, caKey := s.authority(dir)
	for _, who := range []string{"host", "guest"} {
		s.certify(dir, who, ca, caKey)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	s.vsctl("set-ssl", at("host-key.pem"), at("host.pem"), at("ca.pem"), "--", "set-manager", "pssl:6640:"+host.Addr().String())
	bare, _ := s.ours()
	inside := func(args ...string) *process {
		p := &process{args: args, done: make(chan struct{})}
		p.cmd = exec.CommandContext(s.ctx, "spanctl", append(args, "--db", "ssl:"+host.Addr().String()+":6640", "-C", at("ca.pem"), "-c", at("guest.pem"), "-p", at("guest-key.pem"))...)
		p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
		s.check(console.Launch(p.cmd))
		go func() {
			_ = p.cmd.Wait()
			close(p.done)
		}()
		s.Cleanup(p.kill)
		return p
	}
	agent := inside("agent", "--listen", "")
	s.await("the agent", func() bool { return s.leaseText() != "" })
	file := s.policy("  audit: {sources: [{vm: '[ab]'}], destinations: [{vm: audit}]}\n")
	s.wantExit(inside("apply", "-f", file), exitOK)
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	s.wantCopied(a, b, audit, 5)
	for _, g := range []*ovstest.Guest{a, audit} {
		s.restart(g)
		s.awaitActive("audit")
		s.wantCopied(a, b, audit, 5)
	}
	s.lab.KillVSwitchd()
	s.check(s.lab.StartVSwitchd(s.ctx))
	s.greet(a, b)
	s.awaitActive("audit")
	s.wantCopied(a, b, audit, 5)
	s.wantExit(inside("status"), exitOK)
	// What needs rules nobody can make, until an agent runs on the host, which goes before this one.
	ruled := s.policy("  ruled: {sources: [{vm: a}], max_rate: 1Gbps, destinations: [{vm: ids}]}\n")
	s.wantExit(inside("apply", "-f", ruled), exitRefused)
	guests := s.leaseText()
	local := s.start(s.lab.DB, "agent", "--listen", "")
	s.await("the agent of the host", func() bool { now := s.leaseText(); return now != "" && !sameAgent(now, guests) })
	s.wantExit(inside("apply", "-f", ruled), exitOK)
	s.awaitActive("ruled")
	s.wantExit(inside("delete", "ruled"), exitOK)
	s.terminate(local)
	s.wantExit(inside("delete", "--all"), exitOK)
	s.terminate(agent)
	if left, turns := s.ours(); turns != "" || strings.Contains(left, "spanctl") || bare == "" {
		t.Errorf("left over: %s %s", left, turns)
	}
}

// authority makes a CA's certificate.
func (s *site) authority(dir string) (*x509.Certificate, *ecdsa.PrivateKey) {
	s.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "ca"}, SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, der := s.sign(template, nil, nil)
	s.check(os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	cert, err := x509.ParseCertificate(der)
	s.check(err)
	return cert, key
}

// certify makes a certificate of the CA's and its key: WHO.pem, WHO-key.pem.
func (s *site) certify(dir, who string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) {
	s.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: who}, SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature}
	key, der := s.sign(template, ca, caKey)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	s.check(err)
	s.check(os.WriteFile(filepath.Join(dir, who+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	s.check(os.WriteFile(filepath.Join(dir, who+"-key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// sign makes a key and its certificate, by the CA, or by itself if that is nil.
func (s *site) sign(template, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.check(err)
	if ca == nil {
		ca, caKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	s.check(err)
	return key, der
}
