package migrate

import (
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A setting is an attribute of a bridge or of a port of it that can be set, a number of that many bytes (linux/if_link.h,
// IFLA_BR_* and IFLA_BRPORT_*; the names are those of ip-link(8), times are in hundredths of a second).
type setting struct {
	name string
	kind uint16
	size int
}

// settings are those of a bridge, or of a port, and where rtnetlink has them.
type settings struct {
	kind, data int
	list       []setting
}

// bridgeSettings are in the order in which a new bridge takes them: the default VLAN must be set before VLANs are filtered.
var bridgeSettings = &settings{nl.IFLA_INFO_KIND, nl.IFLA_INFO_DATA, []setting{
	{"vlan_protocol", 8, 2},
	{"vlan_default_pvid", 39, 2},
	{"forward_delay", 1, 4},
	{"hello_time", 2, 4},
	{"max_age", 3, 4},
	{"ageing_time", 4, 4},
	{"priority", 6, 2},
	{"stp_state", 5, 4},
	{"group_fwd_mask", 9, 2},
	{"mcast_router", 22, 1},
	{"mcast_query_use_ifaddr", 24, 1},
	{"mcast_hash_max", 27, 4},
	{"mcast_last_member_count", 28, 4},
	{"mcast_startup_query_count", 29, 4},
	{"mcast_last_member_interval", 30, 8},
	{"mcast_membership_interval", 31, 8},
	{"mcast_querier_interval", 32, 8},
	{"mcast_query_interval", 33, 8},
	{"mcast_query_response_interval", 34, 8},
	{"mcast_startup_query_interval", 35, 8},
	{"mcast_igmp_version", 43, 1},
	{"mcast_mld_version", 44, 1},
	{"mcast_querier", 25, 1},
	{"mcast_snooping", 23, 1},
	{"nf_call_iptables", 36, 1},
	{"nf_call_ip6tables", 37, 1},
	{"nf_call_arptables", 38, 1},
	{"vlan_stats_per_port", 45, 1},
	{"vlan_stats_enabled", 41, 1},
	{"mcast_stats_enabled", 42, 1},
	{"multi_boolopt", 46, 8}, // struct br_boolopt_multi
	{"fdb_max_learned", 49, 4},
	{"vlan_filtering", 7, 1},
}}

var portSettings = &settings{nl.IFLA_INFO_SLAVE_KIND, nl.IFLA_INFO_SLAVE_DATA, []setting{
	{"priority", 2, 2},
	{"cost", 3, 4},
	{"hairpin", 4, 1},
	{"guard", 5, 1},
	{"root_block", 6, 1},
	{"fastleave", 7, 1},
	{"learning", 8, 1},
	{"flood", 9, 1},
	{"proxy_arp", 10, 1},
	{"proxy_arp_wifi", 12, 1},
	{"mcast_router", 25, 1},
	{"mcast_flood", 27, 1},
	{"mcast_to_unicast", 28, 1},
	{"vlan_tunnel", 29, 1},
	{"bcast_flood", 30, 1},
	{"group_fwd_mask", 31, 2},
	{"neigh_suppress", 32, 1},
	{"isolated", 33, 1},
	{"mcast_eht_hosts_limit", 37, 4},
	{"locked", 39, 1},
	{"mab", 40, 1},
	{"mcast_max_groups", 42, 4},
	{"neigh_vlan_suppress", 43, 1},
}}

// Attributes that are read only.
const (
	bridgeQuerierState = 47 // IFLA_BR_MCAST_QUERIER_STATE, empty without a querier
	portNumber         = 18 // IFLA_BRPORT_NO
)

// read reads settings. Those that the kernel does not tell it does not know.
func (f *settings) read(nested []byte) (map[string]uint64, error) {
	attrs, err := nl.ParseRouteAttr(nested)
	if err != nil {
		return nil, err
	}
	values := map[string]uint64{}
	for _, a := range attrs {
		for _, s := range f.list {
			if a.Attr.Type&nl.NLA_TYPE_MASK == s.kind && len(a.Value) >= s.size {
				var wide [8]byte
				copy(wide[:], a.Value[:s.size])
				values[s.name] = number(wide[:], s.size)
			}
		}
	}
	return values, nil
}

// number is what so many bytes say.
func number(b []byte, size int) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(native.Uint16(b))
	case 4:
		return uint64(native.Uint32(b))
	}
	return native.Uint64(b)
}

func (s setting) value(v uint64) []byte {
	switch s.size {
	case 1:
		return []byte{byte(v)}
	case 2:
		return native.AppendUint16(nil, uint16(v))
	case 4:
		return native.AppendUint32(nil, uint32(v))
	}
	return native.AppendUint64(nil, v)
}

// change sets those settings of a device that are otherwise, one after the other.
func (f *settings) change(index int, want, have map[string]uint64) error {
	for _, s := range f.list {
		v, wanted := want[s.name]
		if now, there := have[s.name]; !wanted || !there || v == now {
			continue
		}
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(f.kind, nl.NonZeroTerminated("bridge"))
		info.AddRtAttr(f.data, nil).AddRtAttr(int(s.kind), s.value(v))
		header := nl.NewIfInfomsg(unix.AF_UNSPEC)
		header.Index = int32(index)
		if err := tell(unix.RTM_NEWLINK, 0, append(header.Serialize(), info.Serialize()...)); err != nil {
			return fmt.Errorf("setting %s to %d: %w", s.name, v, err)
		}
	}
	return nil
}
