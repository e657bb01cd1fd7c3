package ovs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// DefaultPort is the TCP port registered for OVSDB (RFC 7047 section 4.1).
const DefaultPort = 6640

// DefaultRemote is where ovs-vsctl finds the database: db.sock in $OVS_RUNDIR,
// by default /var/run/openvswitch.
func DefaultRemote() string { return "unix:" + filepath.Join(runDir(), "db.sock") }

// runDir is where Open vSwitch has its sockets and pid files.
func runDir() string {
	if dir := os.Getenv("OVS_RUNDIR"); dir != "" {
		return dir
	}
	return "/var/run/openvswitch"
}

// TLS names the files of an ssl: remote. As in OVS's own tools the server's
// certificate must be signed by the CA, and its host name is not checked:
// OVSDB servers are known by their key (ovs-pki makes no host names).
type TLS struct {
	CACert, Certificate, PrivateKey string
}

// endpoints turns the text of a remote (ovsdb(7): unix:FILE, tcp:HOST:PORT,
// ssl:HOST:PORT, several separated by commas) into the client library's.
func endpoints(remote string) ([]string, error) {
	var list []string
	for text := range strings.SplitSeq(remote, ",") {
		kind, rest, ok := strings.Cut(text, ":")
		if !ok || rest == "" {
			return nil, fmt.Errorf("%w: %q; write unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT", ErrRemote, text)
		}
		switch kind {
		case "unix":
			path, err := filepath.Abs(rest)
			if err != nil {
				return nil, fmt.Errorf("%w: %q: %w", ErrRemote, text, err)
			}
			list = append(list, (&url.URL{Scheme: "unix", Path: path}).String())
		case "tcp", "ssl":
			address, err := hostPort(rest)
			if err != nil {
				return nil, fmt.Errorf("%w: %q: %w", ErrRemote, text, err)
			}
			list = append(list, kind+":"+address)
		default:
			return nil, fmt.Errorf("%w: %q: unknown kind %q; write unix:FILE, tcp:HOST:PORT or ssl:HOST:PORT", ErrRemote, text, kind)
		}
	}
	return list, nil
}

func hostPort(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil { // the port may be left out
		host, port, err = net.SplitHostPort(text + ":" + strconv.Itoa(DefaultPort))
	}
	if err != nil || host == "" {
		return "", errors.New("write HOST:PORT, and [ADDRESS]:PORT for IPv6")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return net.JoinHostPort(host, port), nil
}

// config loads the files, nil if none is named.
func (t TLS) config() (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil
	}
	if t.CACert == "" || t.Certificate == "" || t.PrivateKey == "" {
		return nil, fmt.Errorf("%w: ssl needs all of --ca-cert, --certificate and --private-key", ErrRemote)
	}
	pem, err := os.ReadFile(t.CACert)
	if err != nil {
		return nil, fmt.Errorf("%w: CA certificate: %w", ErrRemote, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: CA certificate: %s holds no PEM certificate", ErrRemote, t.CACert)
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate and key: %w", ErrRemote, err)
	}
	return &tls.Config{
		Certificates:       []tls.Certificate{pair},
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection checks the chain, but no name
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return errors.New("tls: the server sent no certificate")
			}
			options := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
			for _, c := range state.PeerCertificates[1:] {
				options.Intermediates.AddCert(c)
			}
			_, err := state.PeerCertificates[0].Verify(options)
			return err
		},
	}, nil
}
