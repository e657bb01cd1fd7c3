package ovstest_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spanctl/ovs/ovstest"
)

// A fragment is a part of a UDP datagram: the first, with the ports, the one in the middle, or the last.
type fragment int

const (
	first fragment = iota
	middle
	last
)

// frame is that fragment of a datagram around a payload, over IPv4 or IPv6.
func (f fragment) frame(src, dst ovstest.Endpoint, sport, dport uint16, payload []byte) []byte {
	data := slices.Concat(payload, make([]byte, 64-len(payload)))
	if f == first {
		whole := ovstest.UDP(src, dst, sport, dport, data)
		data = whole[len(whole)-8-len(data) : len(whole)-8] // its last 8 bytes would be in the next
	}
	eth := &layers.Ethernet{SrcMAC: src.HardwareAddr(), DstMAC: dst.HardwareAddr()}
	from, to := src.Addr().AsSlice(), dst.Addr().AsSlice()
	const id = 77
	parts := []gopacket.SerializableLayer{eth}
	if src.Addr().Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from, DstIP: to, Id: id, FragOffset: uint16(f) * 8}
		if f != last {
			ip.Flags = layers.IPv4MoreFragments
		}
		parts = append(parts, ip)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolIPv6Fragment, SrcIP: from, DstIP: to}
		offset := uint16(f) * 8 << 3
		if f != last {
			offset |= 1
		}
		header := binary.BigEndian.AppendUint16([]byte{17, 0}, offset)
		parts = append(parts, ip, gopacket.Payload(binary.BigEndian.AppendUint32(header, id)))
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(parts, gopacket.Payload(data))...)
	if err != nil {
		panic(err) // frames that cannot fail to build
	}
	return buf.Bytes()
}

// Rules take the ports of any fragment, the first too, for 0 (frags normal, the default). A later fragment over IPv6 is not
// even UDP: its protocol is 44.
func TestFragmentsMatchNoPortButZero(t *testing.T) {
	matches := []string{
		"udp", "udp,tp_dst=443", "udp,tp_dst=0", "udp,nw_frag=yes", "ip,nw_proto=44",
		"ip,nw_frag=yes", "ip,nw_frag=first", "ip,nw_frag=later", "ip,nw_frag=not_later", "ip,nw_frag=no",
	}
	b := newRuleBench(t, len(matches))
	var at []*ovstest.Capture
	for _, g := range b.audits {
		at = append(at, capture(b.ctx, t, g))
	}
	whole := "udp; udp,tp_dst=443; ip,nw_frag=not_later; ip,nw_frag=no"
	head := "udp; udp,tp_dst=0; udp,nw_frag=yes; ip,nw_frag=yes; ip,nw_frag=first; ip,nw_frag=not_later"
	later := map[bool]string{
		false: "udp; udp,tp_dst=0; udp,nw_frag=yes; ip,nw_frag=yes; ip,nw_frag=later",
		true:  "ip,nw_proto=44; ip,nw_frag=yes; ip,nw_frag=later",
	}
	for _, v6 := range []bool{false, true} {
		src, dst := ovstest.Endpoint(b.a), ovstest.Endpoint(b.b)
		if v6 {
			src, dst = six(src), six(dst)
		}
		var rules, tables []string
		for i, m := range matches {
			if v6 {
				m = strings.NewReplacer("udp", "udp6", "ip,", "ipv6,").Replace(m)
			}
			tables = append(tables, fmt.Sprintf("resubmit(,%d)", 10+i))
			rules = append(rules, fmt.Sprintf("table=%d,%s actions=output:%d", 10+i, m, i+1))
		}
		b.rules(t, append(rules, "priority=100 actions="+strings.Join(tables, ","))...)
		for _, c := range []struct {
			what, want string
			build      func(src, dst ovstest.Endpoint, sport, dport uint16, payload []byte) []byte
		}{
			{"whole", whole, ovstest.UDP}, {"first", head, first.frame}, {"middle", later[v6], middle.frame}, {"last", later[v6], last.frame},
		} {
			payload := ovstest.Payload(c.what)
			check(t, b.a.Send(c.build(src, dst, 20000, 443, payload)))
			b.fenceAll(t, at...)
			var got []string
			for i, c := range at {
				if len(arrived(c, payload)) == 1 {
					got = append(got, matches[i])
				}
			}
			if got := strings.Join(got, "; "); got != c.want {
				t.Errorf("IPv6 %v, %s: matches\n%s\nwant\n%s", v6, c.what, got, c.want)
			}
		}
	}
}

// No ports are hashed of any fragment. Over IPv4 all fragments of both directions of a pair of addresses go to one member,
// whichever fields; over IPv6 only by symmetric_l3, for the others hash the protocol, which is 44 from the
// second fragment on.
func TestFragmentsOfAPairGoToOneMemberBySymmetricL3(t *testing.T) {
	b := newRuleBench(t, 3)
	var at []*ovstest.Capture
	for _, g := range b.audits {
		at = append(at, capture(b.ctx, t, g))
	}
	for _, fields := range []string{"symmetric_l3", "symmetric_l3l4", "symmetric_l3l4+udp"} {
		b.rules(t, append(wholeRules(3), "priority=100 actions="+strings.Replace(balanceTo(3), "symmetric_l3l4+udp", fields, 1))...)
		for _, v6 := range []bool{false, true} {
			const pairs, ports = 30, 4
			split, used := 0, map[int]bool{}
			payloads := make([][][]byte, pairs)
			for i := range payloads {
				src := ovstest.Endpoint(ovstest.Station{MAC: b.a.HardwareAddr(), IP: netip.AddrFrom4([4]byte{10, 8, 1, byte(i)})})
				dst := ovstest.Endpoint(b.b)
				if v6 {
					src, dst = six(src), six(dst)
				}
				for port := range uint16(ports) {
					for _, f := range []fragment{first, middle, last} {
						there, back := ovstest.Payload("there"), ovstest.Payload("back")
						check(t, b.a.Send(f.frame(src, dst, 20000+port, 443, there)))
						check(t, b.a.Send(f.frame(dst, src, 443, 20000+port, back)))
						payloads[i] = append(payloads[i], there, back)
					}
				}
				b.fenceAll(t, at...)
			}
			for _, p := range payloads {
				members := map[int]int{}
				for _, payload := range p {
					for m, c := range at {
						if n := ovstest.CountPayload(c.Frames(), payload); n > 0 {
							members[m] += n
							used[m] = true
						}
					}
				}
				total := 0
				for _, n := range members {
					total += n
				}
				if total != 2*3*ports {
					t.Errorf("%s: %d copies of %d fragments", fields, total, 2*3*ports)
				}
				if len(members) > 1 {
					split++
				}
			}
			if whole := !v6 || fields == "symmetric_l3"; (split == 0) != whole || len(used) != 3 {
				t.Errorf("%s, IPv6 %v: %d of %d pairs have several members, of %d", fields, v6, split, pairs, len(used))
			}
		}
	}
}

// wholeRules is outputRules without cutting.
func wholeRules(members int) []string {
	var rules []string
	for i := range members {
		rules = append(rules, fmt.Sprintf("table=4,priority=100,reg1=%d actions=output:%d", i+1, i+1))
	}
	return rules
}
