package migrate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Offsets in struct ifaddrmsg (linux/if_addr.h).
const (
	ifaPrefix = 1
	ifaFlags  = 2
	ifaScope  = 3
	ifaIndex  = 4
)

// ifaGiven are the flags of an address that whoever adds it gives; the others tell of its state.
const ifaGiven = unix.IFA_F_NODAD | unix.IFA_F_OPTIMISTIC | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR |
	unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN

// addresses are IPv4's and IPv6's, with lifetimes, labels and scopes. A temporary address of IPv6 (RFC 8981) becomes an
// ordinary one for the rest of its life: only the kernel makes temporary ones.
var addresses = &kind{
	what: "address", get: unix.RTM_GETADDR, add: unix.RTM_NEWADDR, del: unix.RTM_DELADDR,
	header: unix.SizeofIfAddrmsg, flags: unix.NLM_F_CREATE | unix.NLM_F_REPLACE,
	volatile: []uint16{unix.IFA_CACHEINFO}, optional: []uint16{unix.IFA_LABEL},
	neutral: func(r *Record, of device) bool {
		if int(native.Uint32(r.Header[ifaIndex:])) != of.index {
			return false
		}
		native.PutUint32(r.Header[ifaIndex:], 0)
		r.Header[ifaFlags] &= ifaGiven & 0xff
		r.set(unix.IFA_FLAGS, native.AppendUint32(nil, r.number(unix.IFA_FLAGS)&ifaGiven))
		if label, ok := strings.CutPrefix(r.name(unix.IFA_LABEL), of.name); ok {
			r.set(unix.IFA_LABEL, []byte(label+"\x00"))
		}
		return true
	},
	on: func(r *Record, of device) {
		native.PutUint32(r.Header[ifaIndex:], uint32(of.index))
		if label := r.name(unix.IFA_LABEL); label == "" || label[0] == ':' {
			if len(of.name+label) >= unix.IFNAMSIZ { // of the name that a Linux bridge has meanwhile
				label = ""
			}
			r.set(unix.IFA_LABEL, []byte(of.name+label+"\x00"))
		}
	},
	text: func(r *Record) string {
		address := r.attr(unix.IFA_LOCAL)
		if address == nil {
			address = r.attr(unix.IFA_ADDRESS)
		}
		text := fmt.Sprintf("%s/%d", addressText(address), r.Header[ifaPrefix])
		if left := r.lifetime(); left != forever {
			text += fmt.Sprintf(" (for %d s)", left)
		}
		return text
	},
	// The kernel lists those of IPv6 with the latest first.
	before: func(a, b *Record) int {
		if a.Header[0] == unix.AF_INET6 && b.Header[0] == unix.AF_INET6 {
			return -cmp.Compare(a.Header[ifaScope], b.Header[ifaScope])
		}
		return cmp.Compare(a.Header[0], b.Header[0])
	},
}

// forever is the lifetime of an address that does not end.
const forever = 1<<32 - 1

// lifetime is for how many seconds an address is valid (struct ifa_cacheinfo: preferred, valid, ...).
func (r *Record) lifetime() uint32 {
	if info := r.attr(unix.IFA_CACHEINFO); len(info) >= 8 {
		return native.Uint32(info[4:])
	}
	return forever
}

// addressText writes an address of four or sixteen bytes.
func addressText(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return fmt.Sprintf("%x", b)
	}
	return a.String()
}

// settled returns when the kernel has done with new addresses of IPv6: it looks at each a little later, and must find then that
// it is not to be probed.
func settled(on device) error {
	const most = 2 * time.Second // it is some milliseconds
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(most); ; <-tick.C {
		messages, err := dump(unix.RTM_GETADDR, unix.RTM_NEWADDR, append([]byte{unix.AF_INET6}, make([]byte, addresses.header-1)...))
		if err != nil {
			return fmt.Errorf("reading addresses: %w", err)
		}
		tentative := slices.ContainsFunc(messages, func(m []byte) bool {
			return int(native.Uint32(m[ifaIndex:])) == on.index && m[ifaFlags]&unix.IFA_F_TENTATIVE != 0 && m[ifaFlags]&unix.IFA_F_DADFAILED == 0
		})
		if !tentative || time.Now().After(deadline) {
			return nil
		}
	}
}
