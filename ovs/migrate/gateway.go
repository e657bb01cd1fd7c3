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

// ask makes the kernel forget a neighbour and send something to it.
func ask(ctx context.Context, link netlink.Link, to net.IP) error {
	_ = netlink.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: to}) // it may not know it
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
		list, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("reading neighbours: %w", err)
		}
		for _, n := range list {
			if n.IP.Equal(to) && n.State&(netlink.NUD_REACHABLE|netlink.NUD_PERMANENT|netlink.NUD_DELAY|netlink.NUD_PROBE|netlink.NUD_STALE) != 0 {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("no answer")
		}
	}
}
