package policy

import (
	"net/netip"
	"time"
)

// Version is the version of the policy language that this package speaks.
const Version = 1

// A Document is one policy file: a version and named mirror sessions.
type Document struct {
	Version  int                 `json:"version" jsonschema:"description=Version of the policy language: 1"`
	Sessions map[string]*Session `json:"sessions" jsonschema:"description=Mirror sessions by name"`
}

// A Session says which packets (sources, include, exclude) are copied where
// (destinations), and how the copies are treated.
type Session struct {
	Description  string        `json:"description,omitempty" jsonschema:"description=Free text"`
	Reason       string        `json:"reason,omitempty" jsonschema:"description=Why the session exists; goes into the audit trail"`
	Enabled      *bool         `json:"enabled,omitempty" jsonschema:"description=false keeps the session but copies nothing; default true,default=true"`
	Expires      time.Time     `json:"expires,omitzero" jsonschema:"description=When the session ends (RFC 3339); default never"`
	Sources      []Selector    `json:"sources" jsonschema:"description=Ports whose packets are copied: the union of these selectors,minItems=1"`
	Except       []Selector    `json:"except,omitempty" jsonschema:"description=Ports taken out of the sources"`
	Include      []Match       `json:"include,omitempty" jsonschema:"description=Only packets that match one of these are copied; default everything,minItems=1"`
	Exclude      []Match       `json:"exclude,omitempty" jsonschema:"description=Packets that match one of these are not copied; wins over include"`
	Destinations []Destination `json:"destinations" jsonschema:"description=Where the copies go: each destination gets one,minItems=1"`
	Balance      Balance       `json:"balance,omitempty" jsonschema:"description=flow: the destinations share the copies; all packets of one connection go to one of them,enum=flow"`
	Sample       Sample        `json:"sample,omitzero" jsonschema:"description=1/N keeps one connection in N"`
	Snaplen      int           `json:"snaplen,omitempty" jsonschema:"description=Longer copies are cut to this many bytes; default whole packets,minimum=14,maximum=65535"`
	StripVLAN    bool          `json:"strip_vlan,omitempty" jsonschema:"description=Copies lose their outermost VLAN tag"`
	MaxRate      Rate          `json:"max_rate,omitzero" jsonschema:"description=Copies beyond this rate are dropped (500Mbps or 20kpps); never production packets"`
	Fail         Fail          `json:"fail,omitempty" jsonschema:"description=What becomes of copies while ovs-vswitchd has lost its rules: closed (default: none are sent) or open (all are),enum=closed,enum=open"`
}

// On reports whether the session asks for copies at all; a session without
// "enabled" does.
func (s *Session) On() bool { return s.Enabled == nil || *s.Enabled }

// Expired reports whether the session has ended by now. A session without
// "expires" never does.
func (s *Session) Expired(now time.Time) bool {
	return !s.Expires.IsZero() && !now.Before(s.Expires)
}

// A Role is what a port is to the host.
type Role string

// The roles of policy.md. RoleAll selects every port that has one of the
// other three.
const (
	RoleAll    Role = "all"
	RoleGuest  Role = "guest"
	RoleUplink Role = "uplink"
	RoleHost   Role = "host"
)

// A Direction says which packets of a source are copied, as its owner sees
// them.
type Direction string

// DirectionFrom is what the port's owner sends (OVS select_src_port),
// DirectionTo what is sent to it (select_dst_port). The zero Direction means
// DirectionBoth.
const (
	DirectionBoth Direction = "both"
	DirectionFrom Direction = "from"
	DirectionTo   Direction = "to"
)

// A Selector selects ports; its fields AND together. The zero field selects
// everything. Interface, VM, Bridge and the values of ExternalIDs are globs.
type Selector struct {
	Role        Role              `json:"role,omitempty" jsonschema:"description=all guest (VIFs) uplink (physical NICs and bonds) or host (the bridge's own internal ports),enum=all,enum=guest,enum=uplink,enum=host"`
	Interface   string            `json:"interface,omitempty" as:"glob" jsonschema:"description=Interface or port name (glob)"`
	VM          string            `json:"vm,omitempty" as:"glob" jsonschema:"description=Guest by UUID or name (glob)"`
	ExternalIDs map[string]string `json:"external_ids,omitempty" as:"globs" jsonschema:"description=Keys and globs that the Interface or Port row's external_ids match"`
	MAC         string            `json:"mac,omitempty" as:"mac" jsonschema:"description=The guest's MAC address"`
	Bridge      string            `json:"bridge,omitempty" as:"glob" jsonschema:"description=Only ports of these bridges (glob)"`
	VLANs       Ranges            `json:"vlans,omitempty" as:"vlans" jsonschema:"description=Only packets in these VLANs (numbers and ranges; 0 is untagged)"`
	Direction   Direction         `json:"direction,omitempty" jsonschema:"description=both (default) from (sent by the port's owner) or to (sent to it),enum=both,enum=from,enum=to"`
}

// A Match selects packets; all its fields must hold. The zero field matches
// every packet.
type Match struct {
	Protocol  Protocol     `json:"protocol,omitempty" jsonschema:"description=tcp udp sctp icmp icmp6 igmp gre esp or an IP protocol number"`
	EtherType EtherType    `json:"ethertype,omitempty" jsonschema:"description=arp ipv4 ipv6 lldp or 0xNNNN"`
	Src       netip.Prefix `json:"src,omitzero" jsonschema:"description=Source address (CIDR)"`
	Dst       netip.Prefix `json:"dst,omitzero" jsonschema:"description=Destination address (CIDR)"`
	Net       netip.Prefix `json:"net,omitzero" jsonschema:"description=Source or destination address (CIDR)"`
	SrcPort   Ranges       `json:"src_port,omitempty" as:"ports" jsonschema:"description=Source port: a number or range or list of them"`
	DstPort   Ranges       `json:"dst_port,omitempty" as:"ports" jsonschema:"description=Destination port: a number or range or list of them"`
	Port      Ranges       `json:"port,omitempty" as:"ports" jsonschema:"description=Source or destination port: a number or range or list of them"`
	VLAN      Ranges       `json:"vlan,omitempty" as:"vlans" jsonschema:"description=VLAN: a number or range or list of them (0 is untagged)"`
	SrcMAC    string       `json:"src_mac,omitempty" as:"mac" jsonschema:"description=Source MAC address"`
	DstMAC    string       `json:"dst_mac,omitempty" as:"mac" jsonschema:"description=Destination MAC address"`
	MAC       string       `json:"mac,omitempty" as:"mac" jsonschema:"description=Source or destination MAC address"`
	DSCP      *uint8       `json:"dscp,omitempty" jsonschema:"description=Differentiated services code point,minimum=0,maximum=63"`
}

// Balance says how several destinations share the copies; the zero Balance
// gives each destination every copy.
type Balance string

// BalanceFlow sends all packets of one connection, both directions, to one
// destination.
const BalanceFlow Balance = "flow"

// Fail says what becomes of a session's copies while ovs-vswitchd has lost the
// rules that choose them, after a crash. The zero Fail means FailClosed.
type Fail string

// FailClosed sends no copies then, FailOpen all of them: also those that exclude and
// sample leave out, and without max_rate.
const (
	FailClosed Fail = "closed"
	FailOpen   Fail = "open"
)

// A Destination is where copies go: exactly one of Interface, VM,
// ExternalIDs, ERSPAN, GRE, VXLAN, Geneve and VLAN is set. Interface, VM and
// the values of ExternalIDs are globs that must select one port.
type Destination struct {
	Interface   string            `json:"interface,omitempty" as:"glob" jsonschema:"description=A local port by interface or port name"`
	VM          string            `json:"vm,omitempty" as:"glob" jsonschema:"description=A guest's port by the guest's UUID or name"`
	NIC         *int              `json:"nic,omitempty" jsonschema:"description=Which NIC of the guest: from 0 by ofport order,minimum=0"`
	ExternalIDs map[string]string `json:"external_ids,omitempty" as:"globs" jsonschema:"description=A local port by external_ids of its Interface or Port row"`
	Dedicated   bool              `json:"dedicated,omitempty" jsonschema:"description=Needed to take a physical NIC or an internal port: it then carries copies only"`
	ERSPAN      *ERSPAN           `json:"erspan,omitempty" jsonschema:"description=An ERSPAN tunnel"`
	GRE         *GRE              `json:"gre,omitempty" jsonschema:"description=A GRE tunnel"`
	VXLAN       *VXLAN            `json:"vxlan,omitempty" jsonschema:"description=A VXLAN tunnel"`
	Geneve      *VXLAN            `json:"geneve,omitempty" jsonschema:"description=A Geneve tunnel"`
	VLAN        int               `json:"vlan,omitempty" jsonschema:"description=RSPAN: copies go to this VLAN of the source's own bridge,minimum=1,maximum=4094"`
}

// Tunnel holds what all tunnel kinds share.
type Tunnel struct {
	Remote netip.Addr `json:"remote" jsonschema:"description=The collector's IPv4 or IPv6 address"`
	Local  netip.Addr `json:"local,omitzero" jsonschema:"description=Source address of the tunnel's packets; default by route"`
	TTL    int        `json:"ttl,omitempty" jsonschema:"description=TTL of the tunnel's packets; default the system's,minimum=1,maximum=255"`
	TOS    int        `json:"tos,omitempty" jsonschema:"description=TOS byte of the tunnel's packets,minimum=0,maximum=255"`
	DF     bool       `json:"df,omitempty" jsonschema:"description=Set don't-fragment on the tunnel's packets: full-size copies may then be lost"`
}

// ERSPANType is the ERSPAN header version, by its Roman numeral.
type ERSPANType string

// The ERSPAN header versions. The zero ERSPANType means ERSPANTypeII.
const (
	ERSPANTypeI   ERSPANType = "I"
	ERSPANTypeII  ERSPANType = "II"
	ERSPANTypeIII ERSPANType = "III"
)

// ERSPAN is a destination behind an ERSPAN tunnel. Session is required for
// types II and III, Index is for type II, HWID and Direction for type III.
type ERSPAN struct {
	Tunnel
	Type      ERSPANType `json:"type,omitempty" jsonschema:"description=I or II (default) or III,enum=I,enum=II,enum=III"`
	Session   *int       `json:"session,omitempty" jsonschema:"description=ERSPAN session id (required for II and III),minimum=0,maximum=1023"`
	Index     int        `json:"index,omitempty" jsonschema:"description=Type II port index,minimum=0,maximum=1048575"`
	HWID      int        `json:"hwid,omitempty" jsonschema:"description=Type III hardware id,minimum=0,maximum=63"`
	Direction int        `json:"direction,omitempty" jsonschema:"description=Type III direction bit: 0 ingress or 1 egress,minimum=0,maximum=1"`
}

// GRE is a destination behind a GRE tunnel; without Key it carries none.
type GRE struct {
	Tunnel
	Key     *uint32 `json:"key,omitempty" jsonschema:"description=GRE key,minimum=0,maximum=4294967295"`
	Seq     bool    `json:"seq,omitempty" jsonschema:"description=Send sequence numbers"`
	PSKFile string  `json:"psk_file,omitempty" as:"file" jsonschema:"description=File on the host with the IPsec pre-shared key"`
}

// VXLAN is a destination behind a VXLAN or Geneve tunnel. VNI 0 is the
// default network; Port 0 is the protocol's registered port.
type VXLAN struct {
	Tunnel
	VNI     int    `json:"vni,omitempty" jsonschema:"description=Virtual network identifier,minimum=0,maximum=16777215"`
	Port    int    `json:"port,omitempty" jsonschema:"description=UDP port of the collector; default the protocol's own,minimum=1,maximum=65535"`
	PSKFile string `json:"psk_file,omitempty" as:"file" jsonschema:"description=File on the host with the IPsec pre-shared key"`
}
