package migrate

import (
	"cmp"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Offsets in struct rtmsg (linux/rtnetlink.h).
const (
	rtmDstLen   = 1
	rtmTable    = 4
	rtmProtocol = 5
	rtmScope    = 6
	rtmType     = 7
	rtmFlags    = 8
)

// rtaNexthop is RTA_NH_ID (linux/rtnetlink.h): the route goes where an object of its own says.
const rtaNexthop = 30

// rtmGiven are the flags of a route that whoever adds it gives.
const rtmGiven = unix.RTNH_F_ONLINK | unix.RTNH_F_PERVASIVE

// Of struct rtnexthop (linux/rtnetlink.h): its length is 8, and rtnh_ifindex is at 4.
const (
	hopFlags = 2
	hopIndex = 4
	hopSize  = 8
)

// routes are those of all tables that go by the device, alone or as one of several ways, but for what the kernel makes by
// itself for an address.
var routes = &kind{
	what: "route", get: unix.RTM_GETROUTE, add: unix.RTM_NEWROUTE, del: unix.RTM_DELROUTE,
	header: unix.SizeofRtMsg, flags: unix.NLM_F_CREATE | unix.NLM_F_APPEND,
	volatile: []uint16{unix.RTA_EXPIRES},
	neutral: func(r *Record, of device) bool {
		if r.table() == unix.RT_TABLE_LOCAL && r.Header[rtmProtocol] == unix.RTPROT_KERNEL || native.Uint32(r.Header[rtmFlags:])&unix.RTM_F_CLONED != 0 {
			return false
		}
		own := int(r.number(unix.RTA_OIF)) == of.index
		r.hops(func(hop []byte) {
			own = own || int(native.Uint32(hop[hopIndex:])) == of.index
		})
		if !own {
			return false
		}
		r.direct(of.index, 0)
		r.strip()
		return true
	},
	on: func(r *Record, of device) { r.direct(0, of.index) },
	text: func(r *Record) string {
		b := new(strings.Builder)
		if t := r.Header[rtmType]; t != unix.RTN_UNICAST {
			fmt.Fprintf(b, "type %d ", t)
		}
		if dst := r.attr(unix.RTA_DST); dst != nil {
			fmt.Fprintf(b, "%s/%d", addressText(dst), r.Header[rtmDstLen])
		} else {
			b.WriteString("default")
		}
		if via := r.attr(unix.RTA_GATEWAY); via != nil {
			fmt.Fprintf(b, " via %s", addressText(via))
		}
		if r.attr(unix.RTA_MULTIPATH) != nil {
			b.WriteString(" by several ways")
		}
		if src := r.attr(unix.RTA_PREFSRC); src != nil {
			fmt.Fprintf(b, " src %s", addressText(src))
		}
		if metric := r.number(unix.RTA_PRIORITY); metric != 0 {
			fmt.Fprintf(b, " metric %d", metric)
		}
		if table := r.table(); table != unix.RT_TABLE_MAIN {
			fmt.Fprintf(b, " table %d", table)
		}
		return b.String()
	},
	// First what is on the link, then what goes by a gateway there.
	before: func(a, b *Record) int {
		gateway := func(r *Record) int {
			if r.attr(unix.RTA_GATEWAY) != nil || r.attr(unix.RTA_MULTIPATH) != nil || r.attr(unix.RTA_VIA) != nil {
				return 1
			}
			return 0
		}
		return cmp.Compare(gateway(a), gateway(b))
	},
}

// table is the table of a route.
func (r *Record) table() uint32 {
	if table := r.number(unix.RTA_TABLE); table != 0 {
		return table
	}
	return uint32(r.Header[rtmTable])
}

// hops calls f with each of a route's several ways, to read or to change.
func (r *Record) hops(f func(hop []byte)) {
	for list := r.attr(unix.RTA_MULTIPATH); len(list) >= hopSize; {
		length := int(native.Uint16(list))
		if length < hopSize || length > len(list) {
			return
		}
		f(list[:length])
		list = list[min(len(list), (length+3)&^3):]
	}
}

// direct changes a route's device, and what the kernel says of a way's state.
func (r *Record) direct(from, to int) {
	if int(r.number(unix.RTA_OIF)) == from {
		r.set(unix.RTA_OIF, native.AppendUint32(nil, uint32(to)))
	}
	r.hops(func(hop []byte) {
		hop[hopFlags] &= rtmGiven
		if int(native.Uint32(hop[hopIndex:])) == from {
			native.PutUint32(hop[hopIndex:], uint32(to))
		}
	})
}

// strip leaves of a route what whoever adds it gives.
func (r *Record) strip() {
	native.PutUint32(r.Header[rtmFlags:], native.Uint32(r.Header[rtmFlags:])&rtmGiven)
	// The kernel tells what is left of a route's life in struct rta_cacheinfo, in hundredths of a second, and is told it by
	// another attribute, in seconds.
	if info := r.attr(unix.RTA_CACHEINFO); len(info) >= 12 {
		if left := int32(native.Uint32(info[8:])); left > 0 {
			r.Attrs = append(r.Attrs, Attribute{unix.RTA_EXPIRES, native.AppendUint32(nil, uint32(left+99)/100)})
		}
	}
	r.drop(unix.RTA_CACHEINFO)
}

// routesFrom are the routes by other devices whose packets have one of those addresses of the device for their source.
func routesFrom(list []Record, of device) ([]Record, error) {
	own := map[string]bool{}
	for i := range list {
		own[string(list[i].attr(unix.IFA_LOCAL))] = true
	}
	messages, err := dump(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, append([]byte{unix.AF_INET}, make([]byte, routes.header-1)...))
	if err != nil {
		return nil, fmt.Errorf("reading routes: %w", err)
	}
	found := []Record{}
	for _, m := range messages {
		r, err := parse(m, routes.header)
		if err != nil {
			return nil, fmt.Errorf("reading routes: %w", err)
		}
		if source := r.attr(unix.RTA_PREFSRC); source == nil || !own[string(source)] || r.table() == unix.RT_TABLE_LOCAL {
			continue
		}
		if by := r.clone(); routes.neutral(by, of) {
			continue // one of the device's own
		}
		r.strip()
		r.direct(0, 0)
		r.Text = routes.text(&r)
		found = append(found, r)
	}
	return found, nil
}
