package ovs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// libvirtSockets are where libvirt answers who may only read: libvirtd or virtproxyd,
// and where neither runs the daemon of a hypervisor (libvirtd(8), virtqemud(8)).
var libvirtSockets = []string{
	"/var/run/libvirt/libvirt-sock-ro",
	"/var/run/libvirt/virtqemud-sock-ro",
	"/var/run/libvirt/virtxend-sock-ro",
	"/var/run/libvirt/virtlxcd-sock-ro",
}

// libvirtAt resolves a URI of libvirt's to sockets, of which the first that answers
// is meant, and the URI for who listens there. An empty one leaves the choice of the
// hypervisor to libvirt.
func libvirtAt(text string) ([]string, libvirt.ConnectURI, error) {
	if text == "" {
		return libvirtSockets, "", nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, "", err
	}
	uri := libvirt.RemoteURI(u)
	driver, _, _ := strings.Cut(string(uri), ":")
	switch {
	case u.Scheme != driver && u.Scheme != driver+"+unix" || u.Host != "":
		return nil, "", fmt.Errorf("%s is not of this host; unset LIBVIRT_DEFAULT_URI", text)
	case u.Query().Has("socket"):
		return []string{u.Query().Get("socket")}, uri, nil
	}
	return libvirtSockets, uri, nil
}

// domainNames asks libvirt on this host for the name of the domain with a UUID, or for
// those of all domains if it is empty, running or not. The names are by UUID. It returns
// when ctx ends.
func domainNames(ctx context.Context, uuid string) (map[string]string, error) {
	sockets, uri, err := libvirtAt(os.Getenv("LIBVIRT_DEFAULT_URI"))
	if err != nil {
		return nil, err
	}
	conn, path, err := dialFirst(ctx, sockets)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The connection is closed in the end, for a deadline would not do: the library takes
	// one that has passed for a passing error, and reads again at once.
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	client := libvirt.NewWithDialer(dialers.NewAlreadyConnected(conn))
	err = client.ConnectToURI(uri)
	var domains []libvirt.Domain
	if err == nil {
		domains, err = domainsOf(client, uuid)
		_ = client.ConnectClose() // or it complains in its log
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // the library says what came of it
	}
	if err != nil {
		return nil, fmt.Errorf("libvirt at %s: %w", path, err)
	}
	names := make(map[string]string, len(domains))
	for i := range domains {
		id := domains[i].UUID
		names[fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])] = domains[i].Name
	}
	return names, nil
}

// domainsOf asks for the domain with a UUID, if there is one, or for all.
func domainsOf(client *libvirt.Libvirt, uuid string) ([]libvirt.Domain, error) {
	if uuid == "" {
		domains, _, err := client.ConnectListAllDomains(1, 0)
		return domains, err
	}
	var id libvirt.UUID
	if _, err := hex.Decode(id[:], []byte(strings.ReplaceAll(uuid, "-", ""))); err != nil {
		return nil, err
	}
	domain, err := client.DomainLookupByUUID(id)
	if libvirt.IsNotFound(err) {
		return nil, nil
	}
	return []libvirt.Domain{domain}, err
}

// dialFirst connects to the first of the sockets where somebody listens. Its error is
// that of the first at which there is a socket.
func dialFirst(ctx context.Context, sockets []string) (conn net.Conn, path string, err error) {
	var dialer net.Dialer
	var failed error
	for _, path := range sockets {
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			return conn, path, nil
		}
		if failed == nil || errors.Is(failed, os.ErrNotExist) && !errors.Is(err, os.ErrNotExist) {
			failed = err
		}
	}
	if errors.Is(failed, os.ErrNotExist) {
		failed = fmt.Errorf("no libvirt at %s", sockets[0])
	}
	return nil, "", failed
}
