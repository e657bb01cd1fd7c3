package ovs_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An authority is a certificate authority of one test's, as ovs-pki(8) makes
// them: its certificates name no hosts.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	// CACert is the file with its own certificate.
	CACert string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := certificate(name)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	a := &authority{dir: t.TempDir(), cert: cert, key: key}
	a.CACert = a.write(t, "cacert.pem", "CERTIFICATE", der)
	return a
}

// certificate is a template that is valid now.
func certificate(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<60)) // never fails
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

// Issue makes a certificate and its key, and returns their files.
func (a *authority) Issue(t *testing.T, name string, change func(*x509.Certificate)) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := certificate(name)
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	check(t, err)
	text, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	return a.write(t, name+"-cert.pem", "CERTIFICATE", der), a.write(t, name+"-privkey.pem", "PRIVATE KEY", text)
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(a.dir, name)
	check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

// expired makes a certificate that ended an hour ago.
func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }
