package migrate

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Offsets in struct fib_rule_hdr (linux/fib_rules.h).
const (
	frhAction = 7
	frhFlags  = 8
	frhHeader = 12
)

// rules are those that name the device (ip-rule(8)). They name it by its name: one stays when the device goes, and means
// another device of that name.
var rules = &kind{
	what: "rule", get: unix.RTM_GETRULE, add: unix.RTM_NEWRULE, del: unix.RTM_DELRULE,
	header: frhHeader, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL,
	neutral: func(r *Record, of device) bool {
		own := false
		for _, kind := range []uint16{unix.FRA_IIFNAME, unix.FRA_OIFNAME} {
			if r.name(kind) == of.name {
				r.set(kind, []byte{0})
				own = true
			}
		}
		flags := native.Uint32(r.Header[frhFlags:])
		native.PutUint32(r.Header[frhFlags:], flags&unix.FIB_RULE_INVERT)
		return own
	},
	on: func(r *Record, of device) {
		for _, kind := range []uint16{unix.FRA_IIFNAME, unix.FRA_OIFNAME} {
			if r.attr(kind) != nil && r.name(kind) == "" {
				r.set(kind, []byte(of.name+"\x00"))
			}
		}
	},
	text: func(r *Record) string {
		text := fmt.Sprintf("priority %d", r.number(unix.FRA_PRIORITY))
		if table := r.number(unix.FRA_TABLE); table != 0 {
			text += fmt.Sprintf(" lookup %d", table)
		}
		return text
	},
	before: func(*Record, *Record) int { return 0 },
}
