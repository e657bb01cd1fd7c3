package policy

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// formats read the text of fields with the tag as, and of types that have a
// text form. The schema's patterns for the same formats are in schema.go.
var (
	formats = map[string]func(string) (string, *problem){
		"glob": func(s string) (string, *problem) { return s, checkGlob(s) },
		"mac":  parseMAC,
		"file": parseFile,
	}
	textTypes = map[reflect.Type]func(string) (any, *problem){
		reflect.TypeFor[time.Time]():    anyOf(parseTime),
		reflect.TypeFor[netip.Prefix](): anyOf(parsePrefix),
		reflect.TypeFor[netip.Addr]():   anyOf(parseAddr),
		reflect.TypeFor[Sample]():       anyOf(parseSample),
		reflect.TypeFor[Rate]():         anyOf(parseRate),
		reflect.TypeFor[Protocol]():     anyOf(parseProtocol),
		reflect.TypeFor[EtherType]():    anyOf(parseEtherType),
	}
	rangesType = reflect.TypeFor[Ranges]()
)

func anyOf[T any](parse func(string) (T, *problem)) func(string) (any, *problem) {
	return func(s string) (any, *problem) { return parse(s) }
}

// rangeLimits are the largest numbers of Ranges by their tag as.
var rangeLimits = map[string]int{"vlans": vlanMax, "ports": math.MaxUint16}

// vlanMax is the highest VLAN ID that can be used (IEEE 802.1Q).
const vlanMax = 4094

// checkText refuses characters that names do not have and terminals obey,
// however they are escaped, and those of also.
func checkText(text, also string) *problem {
	for _, r := range text {
		if r != '\n' && (!printable(r) || r == 0x85) || strings.ContainsRune(also, r) {
			return problemf("remove it", "character %U is not allowed in a value", r)
		}
	}
	return nil
}

func parseTime(text string) (time.Time, *problem) {
	var t time.Time
	if err := t.UnmarshalText([]byte(text)); err != nil {
		return t, problemf("write date, time and zone, as 2027-03-01T00:00:00Z", "%s is not an RFC 3339 time", quoted(text))
	}
	if t.Unix() < 0 {
		return t, problemf("give a time after 1970, or leave it out for never", "%s is no time to end at", text)
	}
	return t.UTC(), nil
}

func parseFile(text string) (string, *problem) {
	if !strings.HasPrefix(text, "/") {
		return "", problemf("give an absolute path on the host, as /etc/spanctl/psk", "%s is not an absolute path", quoted(text))
	}
	return text, nil
}
