package migrate

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Offsets in struct ndmsg (linux/neighbour.h).
const (
	ndmIndex  = 4
	ndmState  = 8
	ndmFlags  = 10
	ndmHeader = 12
)

// neighbours are those that were given, and proxies; and those that the host has learnt, as stale: it goes on without asking,
// and asks beside it.
var neighbours = &kind{
	what: "neighbour", get: unix.RTM_GETNEIGH, add: unix.RTM_NEWNEIGH, del: unix.RTM_DELNEIGH,
	header: ndmHeader, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE,
	neutral: func(r *Record, of device) bool {
		if int(native.Uint32(r.Header[ndmIndex:])) != of.index {
			return false
		}
		native.PutUint32(r.Header[ndmIndex:], 0)
		r.drop(unix.NDA_CACHEINFO, unix.NDA_PROBES)
		if r.Header[ndmFlags]&unix.NTF_PROXY != 0 {
			return true
		}
		const learnt = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE
		state := native.Uint16(r.Header[ndmState:])
		if state&learnt != 0 {
			native.PutUint16(r.Header[ndmState:], unix.NUD_STALE)
		}
		return state&(learnt|unix.NUD_PERMANENT) != 0
	},
	on: func(r *Record, of device) { native.PutUint32(r.Header[ndmIndex:], uint32(of.index)) },
	text: func(r *Record) string {
		if r.Header[ndmFlags]&unix.NTF_PROXY != 0 {
			return addressText(r.attr(unix.NDA_DST)) + " proxy"
		}
		return fmt.Sprintf("%s at %s", addressText(r.attr(unix.NDA_DST)), net.HardwareAddr(r.attr(unix.NDA_LLADDR)))
	},
	before: func(*Record, *Record) int { return 0 },
}

// given tells whether a neighbour was given, not learnt.
func (r *Record) given() bool {
	return r.Header[ndmFlags]&unix.NTF_PROXY != 0 || native.Uint16(r.Header[ndmState:])&unix.NUD_PERMANENT != 0
}
