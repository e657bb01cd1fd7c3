package policy

import (
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// Generators of valid policies.

func draw[T any](t *rapid.T, name string, g *rapid.Generator[T]) T { return g.Draw(t, name) }

// some gives the value in about one case of three, else the zero value.
func some[T any](t *rapid.T, name string, g *rapid.Generator[T]) T {
	if draw(t, name+"?", rapid.IntRange(0, 2)) == 0 {
		return draw(t, name, g)
	}
	var zero T
	return zero
}

func pointer[T any](g *rapid.Generator[T]) *rapid.Generator[*T] {
	return rapid.Map(g, func(v T) *T { return &v })
}

var (
	anyText = rapid.OneOf(
		rapid.StringMatching(`[ -~]{1,12}`),
		rapid.SampledFrom([]string{
			"yes", "null", "~", "0x10", "- a", "a: b", "#", "a #b", "'", `"`, `\`, "é", "\u0001", "\u2028", "\U0001f41f",
			" a", "a ", "a\n", "\n a\n\nb", "\ta", "[a]", "{a}", "*", "&a", "!a", "%", "@", "`", "|", ">", "1e3", "-", "?", ":", ",",
			"\ufeffx", "\u0085", "2027-03-01", "12:30:45", "<<", "=", ".inf", "true", "---", "...", "0o7", "1_0", "+1", "\x7f",
		}),
		rapid.String(),
	).Filter(func(s string) bool { return checkText(s, "") == nil && utf8.ValidString(s) })
	anyName = anyText.Filter(func(s string) bool { return s != "" && checkText(s, "\n\t") == nil })
	anyGlob = anyName.Filter(func(s string) bool { return ValidGlob(s) == nil })
	anyMAC  = rapid.Custom(func(t *rapid.T) string {
		b := draw(t, "mac", rapid.SliceOfN(rapid.Byte(), 6, 6))
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
	})
	anyIDs = rapid.MapOfN(anyName, anyGlob, 1, 3)
	anyV4  = rapid.Map(rapid.SliceOfN(rapid.Byte(), 4, 4), func(b []byte) netip.Addr {
		return netip.AddrFrom4([4]byte(b))
	})
	anyV6 = rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(b []byte) netip.Addr {
		return netip.AddrFrom16([16]byte(b))
	}).Filter(func(a netip.Addr) bool { return !a.Is4In6() })
	anySelector = rapid.Custom(func(t *rapid.T) Selector {
		s := Selector{
			Role:        some(t, "role", rapid.SampledFrom([]Role{RoleAll, RoleGuest, RoleUplink, RoleHost})),
			Interface:   some(t, "interface", anyGlob),
			VM:          some(t, "vm", anyGlob),
			ExternalIDs: some(t, "external_ids", anyIDs),
			MAC:         some(t, "mac", anyMAC),
			Bridge:      some(t, "bridge", anyGlob),
			VLANs:       some(t, "vlans", ranges(vlanMax)),
			Direction:   some(t, "direction", rapid.SampledFrom([]Direction{DirectionBoth, DirectionFrom, DirectionTo})),
		}
		if s.MAC == "" && s.Role == "" {
			s.Role = RoleAll
		}
		return s
	})
)

func ranges(limit int) *rapid.Generator[Ranges] {
	number := rapid.IntRange(0, limit)
	return rapid.Map(rapid.SliceOfN(number, 1, 8), func(ns []int) Ranges {
		var rs Ranges
		for _, n := range ns {
			rs = append(rs, Range{uint16(n), uint16(min(n+n%5, limit))})
		}
		return rs.normalise()
	})
}

func prefix(addr *rapid.Generator[netip.Addr]) *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := draw(t, "addr", addr)
		return netip.PrefixFrom(a, draw(t, "bits", rapid.IntRange(0, a.BitLen()))).Masked()
	}).Filter(func(p netip.Prefix) bool { return !p.Addr().Is4In6() })
}

var anyMatch = rapid.Custom(func(t *rapid.T) Match {
	m := Match{
		VLAN:   some(t, "vlan", ranges(vlanMax)),
		SrcMAC: some(t, "src_mac", anyMAC),
		DstMAC: some(t, "dst_mac", anyMAC),
		MAC:    some(t, "mac", anyMAC),
	}
	if draw(t, "ip", rapid.Bool()) {
		addrs := prefix(draw(t, "family", rapid.SampledFrom([]*rapid.Generator[netip.Addr]{anyV4, anyV6})))
		m.Protocol = draw(t, "protocol", rapid.SampledFrom([]Protocol{"", ProtocolTCP, ProtocolUDP, ProtocolSCTP}))
		m.Src, m.Dst, m.Net = some(t, "src", addrs), some(t, "dst", addrs), some(t, "net", addrs)
		m.SrcPort, m.DstPort, m.Port = some(t, "src_port", ranges(65535)), some(t, "dst_port", ranges(65535)), some(t, "port", ranges(65535))
		m.DSCP = some(t, "dscp", pointer(rapid.Uint8Range(0, 63)))
	} else {
		m.EtherType = draw(t, "ethertype", rapid.SampledFrom([]EtherType{EtherTypeARP, EtherTypeIPv4, EtherTypeIPv6, EtherTypeLLDP, "0x88f7"}))
	}
	if draw(t, "number", rapid.IntRange(0, 9)) == 0 {
		m = Match{Protocol: Protocol(fmt.Sprint(draw(t, "protocol", rapid.IntRange(133, 255))))}
	}
	if m.MAC == "" && m.EtherType == "" && m.Protocol == "" {
		m.MAC = draw(t, "mac", anyMAC)
	}
	return m
})

var anyTunnel = rapid.Custom(func(t *rapid.T) Tunnel {
	addrs := draw(t, "family", rapid.SampledFrom([]*rapid.Generator[netip.Addr]{anyV4, anyV6})).Filter(func(a netip.Addr) bool {
		return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	})
	tunnel := Tunnel{
		Remote: draw(t, "remote", addrs),
		Local:  some(t, "local", addrs),
		TTL:    some(t, "ttl", rapid.IntRange(1, 255)),
		TOS:    some(t, "tos", rapid.IntRange(0, 255)),
		DF:     draw(t, "df", rapid.Bool()),
	}
	if tunnel.Local == tunnel.Remote {
		tunnel.Local = netip.Addr{}
	}
	return tunnel
})

var anyPSK = rapid.SampledFrom([]string{"", "/etc/spanctl/psk", "/psk with space"})

var anyDestination = rapid.Custom(func(t *rapid.T) Destination {
	var d Destination
	switch draw(t, "kind", rapid.IntRange(0, 6)) {
	case 0:
		d.Interface, d.Dedicated = draw(t, "interface", anyGlob), draw(t, "dedicated", rapid.Bool())
	case 1:
		d.VM, d.NIC = draw(t, "vm", anyGlob), some(t, "nic", pointer(rapid.IntRange(0, 1<<30)))
	case 2:
		d.ExternalIDs = draw(t, "external_ids", anyIDs)
	case 3:
		e := &ERSPAN{Tunnel: draw(t, "tunnel", anyTunnel), Type: draw(t, "type", rapid.SampledFrom([]ERSPANType{"", ERSPANTypeI, ERSPANTypeII, ERSPANTypeIII}))}
		if e.Type != ERSPANTypeI {
			e.Session = draw(t, "session", pointer(rapid.IntRange(0, 1023)))
		}
		if e.Type == ERSPANTypeII || e.Type == "" {
			e.Index = draw(t, "index", rapid.IntRange(0, 1048575))
		}
		if e.Type == ERSPANTypeIII {
			e.HWID, e.Direction = draw(t, "hwid", rapid.IntRange(0, 63)), draw(t, "direction", rapid.IntRange(0, 1))
		}
		d.ERSPAN = e
	case 4:
		d.GRE = &GRE{Tunnel: draw(t, "tunnel", anyTunnel), Key: some(t, "key", pointer(rapid.Uint32())), Seq: draw(t, "seq", rapid.Bool()), PSKFile: draw(t, "psk", anyPSK)}
	default:
		v := &VXLAN{Tunnel: draw(t, "tunnel", anyTunnel), VNI: draw(t, "vni", rapid.IntRange(0, 1<<24-1)), Port: some(t, "port", rapid.IntRange(1, 65535)), PSKFile: draw(t, "psk", anyPSK)}
		if draw(t, "geneve", rapid.Bool()) {
			d.Geneve = v
		} else {
			d.VXLAN = v
		}
	}
	return d
})

var anySession = rapid.Custom(func(t *rapid.T) *Session {
	s := &Session{
		Description: some(t, "description", anyText),
		Reason:      some(t, "reason", anyText),
		Enabled:     some(t, "enabled", pointer(rapid.Bool())),
		Sources:     draw(t, "sources", rapid.SliceOfN(anySelector, 1, 3)),
		Except:      some(t, "except", rapid.SliceOfN(anySelector, 1, 2)),
		Include:     some(t, "include", rapid.SliceOfN(anyMatch, 1, 2)),
		Exclude:     some(t, "exclude", rapid.SliceOfN(anyMatch, 1, 2)),
		Sample:      some(t, "sample", rapid.Map(rapid.IntRange(2, 1<<31-1), func(n int) Sample { return Sample{n} })),
		Snaplen:     some(t, "snaplen", rapid.IntRange(14, 65535)),
		StripVLAN:   draw(t, "strip_vlan", rapid.Bool()),
	}
	if seconds := some(t, "expires", rapid.Int64Range(1, 200_000_000_000)); seconds != 0 {
		s.Expires = time.Unix(seconds, some(t, "nanoseconds", rapid.Int64Range(0, 999_999_999))).UTC()
	}
	if bits := some(t, "bits", rapid.Uint64Range(1, 1<<63-1)); bits != 0 {
		s.MaxRate.Bits = bits
	} else if packets := some(t, "packets", rapid.Uint64Range(1, 1<<63-1)); packets != 0 {
		s.MaxRate.Packets = packets
	}
	if draw(t, "rspan", rapid.IntRange(0, 4)) == 0 {
		s.Destinations = []Destination{{VLAN: draw(t, "vlan", rapid.IntRange(1, 4094))}}
		return s
	}
	for _, d := range draw(t, "destinations", rapid.SliceOfN(anyDestination, 1, 3)) {
		twice := false
		for i := range s.Destinations {
			twice = twice || sameDestination(&s.Destinations[i], &d)
		}
		if !twice {
			s.Destinations = append(s.Destinations, d)
		}
	}
	if len(s.Destinations) > 1 {
		s.Balance = some(t, "balance", rapid.Just(BalanceFlow))
	}
	return s
})

var anyDocument = rapid.Map(rapid.MapOfN(rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?`), anySession, 0, 3),
	func(sessions map[string]*Session) *Document { return &Document{Version: Version, Sessions: sessions} })
