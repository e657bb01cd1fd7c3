package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AskGateways returns nil when the gateways of the default routes on a device have answered: asked anew for their address on
// the segment, by ARP or neighbour discovery, which also those answer who answer no ping. No gateway is an error.
func AskGateways(ctx context.Context, h *Host, name string) error {
	link, err := linkNamed(name)
	if err != nil {
		return err
	}
	asked := false
	for i := range h.Routes {
		r := &h.Routes[i]
		gateway := net.IP(r.attr(unix.RTA_GATEWAY))
		if gateway == nil || r.attr(unix.RTA_DST) != nil {
			continue
		}
		asked = true
		if err := ask(ctx, link, gateway); err != nil {
			return fmt.Errorf("gateway %s: %w", gateway, err)
		}
	}
	if !asked {
		return errors.New("no default route has its gateway there")
	}
	return nil
}

// ask makes the kernel forget a neighbour that it has learnt, and send something to it.
func ask(ctx context.Context, link netlink.Link, to net.IP) error {
	state, err := neighbourState(link, to)
	switch {
	case err != nil:
		return err
	case state&netlink.NUD_PERMANENT != 0:
		return errors.New("its address is given (ip neighbour), so that it is not asked: use --check")
	case state != 0:
		_ = netlink.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: to}) // it may have gone
	}
	zone := ""
	if to.IsLinkLocalUnicast() && to.To4() == nil {
		zone = link.Attrs().Name
	}
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: to, Port: 9, Zone: zone}) // discard (RFC 863)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := conn.Write([]byte{0}); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		const answered = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE
		if state, err := neighbourState(link, to); err != nil || state&answered != 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("no answer")
		}
	}
}

// neighbourState is what the kernel knows of a neighbour (NUD_*), 0 for nothing.
func neighbourState(link netlink.Link, to net.IP) (int, error) {
	list, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return 0, fmt.Errorf("reading neighbours: %w", err)
	}
	for i := range list {
		if list[i].IP.Equal(to) {
			return list[i].State, nil
		}
	}
	return 0, nil
}
