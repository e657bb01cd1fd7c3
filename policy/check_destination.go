package policy

import "strings"

// kindsOfDestination are the fields that each make a destination.
var kindsOfDestination = []string{"interface", "vm", "external_ids", "erspan", "gre", "vxlan", "geneve", "vlan"}

const kindsList = "interface, vm, external_ids, erspan, gre, vxlan, geneve and vlan"

func (o *object) checkDestination(d *Destination) {
	var kinds []string
	for _, kind := range kindsOfDestination {
		if o.has(kind) {
			kinds = append(kinds, kind)
		}
	}
	switch {
	case len(kinds) == 0 && o.sound:
		o.wrong("", problemf("give exactly one of "+kindsList, "has no destination"))
	case len(kinds) > 1:
		o.wrong("", problemf("give exactly one of "+kindsList+"; each destination is a list item of its own",
			"has %s", strings.Join(kinds, " and ")))
	}
	if len(kinds) != 1 {
		return
	}
	kind := kinds[0]
	if o.has("nic") && kind != "vm" {
		o.wrong("nic", problemf("use it with vm, or remove it", "nic counts the NICs of a vm, and this destination is %s", article(kind)))
	}
	local := kind == "interface" || kind == "vm" || kind == "external_ids"
	if o.has("dedicated") && !local {
		o.wrong("dedicated", problemf("remove it", "only a local port can be dedicated, and this destination is %s", article(kind)))
	}
}

// article is "a vlan", "an interface".
func article(kind string) string {
	if strings.ContainsAny(kind[:1], "aeiou") {
		return "an " + kind
	}
	return "a " + kind
}

func (o *object) checkTunnel(t *Tunnel) {
	before := len(o.errs)
	for _, end := range []struct {
		name string
		addr interface {
			IsUnspecified() bool
			IsMulticast() bool
			IsValid() bool
			String() string
		}
	}{{"remote", t.Remote}, {"local", t.Local}} {
		switch {
		case !end.addr.IsValid():
		case end.addr.IsUnspecified():
			o.wrong(end.name, problemf("give the address of one host", "%s is no host's address", end.addr))
		case end.addr.IsMulticast(), end.addr.String() == "255.255.255.255":
			o.wrong(end.name, problemf("give the address of one host", "%s is the address of many hosts", end.addr))
		}
	}
	if len(o.errs) > before || !t.Remote.IsValid() || !t.Local.IsValid() {
		return
	}
	if t.Remote.Is4() != t.Local.Is4() {
		o.wrong("local", problemf("give both as IPv4 or both as IPv6", "local %s and remote %s are of different IP versions", t.Local, t.Remote))
	}
	if t.Remote == t.Local {
		o.wrong("local", problemf("give the collector's address as remote", "local and remote are the same address"))
	}
}

// checkERSPAN holds the fields against the header version: ERSPAN type I has
// no header of its own, II an index, III a hardware id and a direction.
func (o *object) checkERSPAN(e *ERSPAN) {
	if !o.sound && e.Type == "" && o.has("type") {
		return
	}
	version := e.Type
	if version == "" {
		version = ERSPANTypeII
	}
	if version == ERSPANTypeI && o.has("session") {
		o.wrong("session", problemf("remove it, or use type: II", "ERSPAN type I carries no session"))
	}
	if version != ERSPANTypeI && !o.has("session") {
		o.wrong("session", problemf("give a number from 0 to 1023, as the collector expects it", "is missing, and ERSPAN type %s needs it", version))
	}
	for _, only := range []struct {
		field string
		of    ERSPANType
	}{{"index", ERSPANTypeII}, {"hwid", ERSPANTypeIII}, {"direction", ERSPANTypeIII}} {
		if o.has(only.field) && version != only.of {
			o.wrong(only.field, problemf("remove it, or use type: "+string(only.of), "ERSPAN type %s carries none", version))
		}
	}
}
