package main

import (
	"maps"
	"reflect"
	"slices"
	"time"
)

// reduced is a case that fails still, from which nothing can be left out, or that stands when the time is over: what
// shrinks here are the things that a case is made of, where rapid shrinks what they were drawn by.
func reduced(c *oracleCase, until time.Time, fails func(*oracleCase) bool) *oracleCase {
	best := c.clone()
	for size := len(best.Packets); size > 0; size /= 2 { // packets first: whole runs of them
		for at := 0; at < len(best.Packets); {
			if time.Now().After(until) {
				return best
			}
			smaller := best.clone()
			smaller.Packets = slices.Delete(smaller.Packets, at, min(at+size, len(smaller.Packets)))
			if fails(smaller) {
				best = smaller
			} else {
				at += size
			}
		}
	}
	for progress := true; progress; {
		progress = false
		for i := 0; ; i++ {
			if time.Now().After(until) {
				return best
			}
			smaller := best.clone()
			n := i
			if !leaveOut(reflect.ValueOf(smaller).Elem(), &n) {
				break
			}
			if smaller = smaller.clone(); smaller.text() != best.text() && fails(smaller) {
				best, progress = smaller, true
				i--
			}
		}
	}
	return best
}

func (c *oracleCase) clone() *oracleCase {
	out, err := parseCase(c.text())
	if err != nil {
		panic(err) // what was written is read again
	}
	return out
}

// leaveOut leaves the nth thing out that can be, counted from 0, and takes what there is off n; it reports whether there
// is an nth.
func leaveOut(v reflect.Value, n *int) bool {
	take := func() bool {
		*n--
		return *n < 0
	}
	switch v.Kind() {
	case reflect.Slice:
		for i := v.Len() - 1; i >= 0; i-- {
			if take() {
				v.Set(reflect.AppendSlice(v.Slice3(0, i, i), v.Slice(i+1, v.Len())))
				return true
			}
		}
		for i := range v.Len() {
			if leaveOut(v.Index(i), n) {
				return true
			}
		}
	case reflect.Map:
		keys := slices.Sorted(maps.Keys(keysIn(v)))
		for _, key := range keys {
			at := reflect.ValueOf(key)
			if take() {
				v.SetMapIndex(at, reflect.Value{})
				return true
			}
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.MapIndex(at))
			if item.Kind() == reflect.Struct && leaveOut(item, n) {
				v.SetMapIndex(at, item)
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if leaveOut(v.Field(i), n) {
				return true
			}
		}
	case reflect.Array:
	default:
		if !v.IsZero() && take() {
			v.SetZero()
			return true
		}
	}
	return false
}

func keysIn(v reflect.Value) map[string]bool {
	keys := map[string]bool{}
	for _, key := range v.MapKeys() {
		keys[key.String()] = true
	}
	return keys
}
