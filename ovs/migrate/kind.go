package migrate

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A device is a network device as records name it.
type device struct {
	name  string
	index int
}

// A kind is a kind of records that belong to a device. In a State they are neutral: where the kernel names the bridge
// they name nothing (index 0), and what is of one moment only is left out, so that they are equal on whatever device, and
// can be put on any.
type kind struct {
	what          string
	get, add, del int // RTM_*
	header        int // its length
	flags         int // NLM_F_* of add
	volatile      []uint16
	optional      []uint16 // of which del needs nothing

	// neutral makes a record neutral; false is one that is not the device's, or that the kernel makes by itself.
	neutral func(r *Record, of device) bool
	// on makes a neutral record one of the device, as the kernel takes it.
	on func(r *Record, of device)
	// text is for people, of a neutral record.
	text func(r *Record) string
	// before orders them as they must be put.
	before func(a, b *Record) int
}

// kinds are those that the host has on a device, in the order in which they are put on another.
var kinds = []*kind{addresses, routes, neighbours, rules}

// captured are the records of a device.
func (k *kind) captured(of device) ([]Record, error) {
	list := []Record{}
	for _, request := range k.requests() {
		messages, err := dump(k.get, k.add, request)
		if err != nil {
			return nil, fmt.Errorf("reading %ss: %w", k.what, err)
		}
		for _, m := range messages {
			if len(m) < k.header {
				continue
			}
			r, err := parse(m, k.header)
			if err != nil {
				return nil, fmt.Errorf("reading %ss: %w", k.what, err)
			}
			if k.neutral(&r, of) {
				r.Text = k.text(&r)
				list = append(list, r)
			}
		}
	}
	return list, nil
}

// requests are the bodies of what asks for all of them.
func (k *kind) requests() [][]byte {
	ask := func(family byte) []byte {
		body := make([]byte, k.header)
		body[0] = family
		return body
	}
	list := [][]byte{ask(unix.AF_INET), ask(unix.AF_INET6)}
	if k == neighbours {
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			proxies := ask(family)
			proxies[ndmFlags] = unix.NTF_PROXY
			list = append(list, proxies)
		}
	}
	return list
}

// put gives the device records. What it has already is no error, but what the kernel does not take is: those that may
// depend on others (a route on the route to its gateway) are tried again as long as one more is taken.
func (k *kind) put(list []Record, on device) error {
	left := slices.Clone(list)
	slices.SortStableFunc(left, func(a, b Record) int { return k.before(&a, &b) })
	for {
		var failed []Record
		var problems []error
		for i := range left {
			r := left[i].clone()
			k.on(r, on)
			if err := tell(k.add, k.flags, r.message()); err != nil && !errors.Is(err, unix.EEXIST) {
				failed = append(failed, left[i])
				problems = append(problems, fmt.Errorf("%s %s on %s: %w", k.what, left[i].Text, on.name, err))
			}
		}
		if len(failed) == 0 || len(failed) == len(left) {
			return errors.Join(problems...)
		}
		left = failed
	}
}

// take removes records from the device. What has gone already is no error.
func (k *kind) take(list []Record, from device) error {
	var problems []error
	for i := range list {
		r := list[i].clone()
		k.on(r, from)
		r.drop(k.optional...)
		err := tell(k.del, 0, r.message())
		if err != nil && !slices.ContainsFunc([]error{unix.ESRCH, unix.EADDRNOTAVAIL, unix.ENOENT, unix.ENODEV}, func(gone error) bool { return errors.Is(err, gone) }) {
			problems = append(problems, fmt.Errorf("removing %s %s of %s: %w", k.what, list[i].Text, from.name, err))
		}
	}
	return errors.Join(problems...)
}

// differ are the records that are wanted and missing, and those that are there and not wanted.
func (k *kind) differ(want, have []Record) (lacking, surplus []Record) {
	lacks := func(list []Record, r *Record) bool {
		key := r.key(k.volatile...)
		return !slices.ContainsFunc(list, func(o Record) bool { return o.key(k.volatile...) == key })
	}
	for i := range want {
		if lacks(have, &want[i]) {
			lacking = append(lacking, want[i])
		}
	}
	for i := range have {
		if lacks(want, &have[i]) {
			surplus = append(surplus, have[i])
		}
	}
	return lacking, surplus
}

// converge makes the device have these records and no others.
func (k *kind) converge(want []Record, on device) error {
	have, err := k.captured(on)
	if err != nil {
		return err
	}
	lacking, surplus := k.differ(want, have)
	return errors.Join(k.take(surplus, on), k.put(lacking, on))
}
