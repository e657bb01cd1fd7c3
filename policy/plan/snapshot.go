package plan

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"spanctl/policy"
)

// The external_ids keys by which OVSDB carries what is ours.
const (
	// KeyManaged marks rows that spanctl made; rows without it are foreign.
	KeyManaged = "spanctl-managed"
	// KeySession names the sessions that a row serves, comma separated.
	KeySession = "spanctl-session"
	// KeySavedPrefix precedes the name of a column of a borrowed port, or
	// "bridge"; the value is what it was before spanctl set it.
	KeySavedPrefix = "spanctl-saved-"
	// KeyPSKFile on a tunnel's Interface names the file with its IPsec key.
	KeyPSKFile = "spanctl-psk-file"
	// KeyFail on a tap bridge is "open" if it copies everything without its rules.
	KeyFail = "spanctl-fail"
	// KeyRole on an Interface or Port overrides its guessed role.
	KeyRole = "spanctl-role"
	// KeyTag on an Interface adds it to the sources of the sessions it names,
	// comma separated.
	KeyTag = "spanctl"
	// KeyIntentPrefix precedes a session's name in Open_vSwitch.external_ids.
	KeyIntentPrefix = "spanctl/session/"
	// KeyRevision in Open_vSwitch.external_ids is a number that every
	// transaction of spanctl raises, so that two writers cannot both change
	// what they saw. It is there while there is intent or a row of ours.
	KeyRevision = "spanctl/revision"
)

// MirrorLimit is how many mirrors one bridge carries: OVS accepts the 33rd row
// and silently does not install it (MAX_MIRRORS, OVS 2.13 to 3.7).
const MirrorLimit = 32

// A Snapshot is what OVSDB said at one moment, as far as planning needs it.
// References are resolved to names: Port names are unique in a database
// (ovs-vswitchd.conf.db(5)).
type Snapshot struct {
	// Root is the UUID of the Open_vSwitch row.
	Root string
	// OVSVersion is Open_vSwitch.ovs_version, empty if ovs-vswitchd never ran.
	OVSVersion string
	// Revision is the number under KeyRevision, empty if there is none.
	Revision string
	// MirrorFilter tells whether Mirror has the column filter (OVS 3.4).
	MirrorFilter bool
	// Intent is the stored intent: raw JSON by session name.
	Intent map[string]string
	// Bridges are sorted by name.
	Bridges []Bridge
	// Local tells whether spanctl runs where ovs-vswitchd does: files named by
	// policies can be read then.
	Local bool
	// Routes are how the host reaches the far ends of tunnels. Of one that is not
	// in it nothing is known.
	Routes map[netip.Addr]Route
	// Devices are the host's kernel's own tunnels among the Interfaces, by name; nil if they are not known.
	Devices map[string]Device
	// BadFiles says of files that policies name what is wrong with them; those
	// that can be read are not in it.
	BadFiles map[string]string
	// Addresses are the host's own, nil if they are not known.
	Addresses []netip.Addr
	// Deaf are the Interfaces among [Snapshot.Listening] to whose devices ovs-vswitchd
	// does not listen.
	Deaf map[string]bool
	// Daemon tells one run of ovs-vswitchd from another, empty if that is not known.
	Daemon string
	// Agent is the agent that last said it keeps the intent in force, nil if none did, and
	// Reports what it stored about sessions, by name.
	Agent   *Lease
	Reports map[string]string
	// Changing is until when another spanctl may be between the steps of a change, zero if
	// none is: what is inert is then its own.
	Changing time.Time
	// Mark is the text under KeyChanging, which may be left of one that was killed.
	Mark string
	// Guests are names of libvirt's domains by UUID, those that [Intent.Domains] lists;
	// libvirt has no domain of a UUID that is not in it.
	Guests map[string]string
	// GuestsError says why that is not known of those that are not in Guests, empty if
	// it is.
	GuestsError string
}

// A Route is how a host's packets to an address leave it.
type Route struct {
	// Devices, empty if there is no route, are the network device by which they leave and those under it: what
	// a VLAN or a bond is on, the ports of a Linux bridge, the other end of a pair.
	Devices []string
	// MTU is the device's or the route's own, 0 if unknown.
	MTU int
	// NextHop is the router, zero if the address is on the link; Source the host's
	// own address that it uses, zero if unknown.
	NextHop, Source netip.Addr
}

// A Device is a tunnel that the host's kernel makes of a device: what is sent to it is wrapped and sent on.
type Device struct {
	// Kind is what ip-link(8) calls its type.
	Kind string
	// Remote is the far end, zero if the device has none.
	Remote netip.Addr
	// Port is the far end's UDP port, 0 if its packets are not UDP.
	Port int
}

// A Bridge is a Bridge row with its Ports (sorted by name) and its Mirrors
// (sorted by name, then UUID).
type Bridge struct {
	UUID    string
	Name    string
	Ports   []Port
	Mirrors []Mirror
	// Datapath is datapath_type; empty means system, the kernel's.
	Datapath    string
	FailMode    string
	FloodVLANs  policy.Ranges
	STP         bool // stp_enable
	OtherConfig map[string]string
	ExternalIDs map[string]string
	// Flows and Meters are those of a tap bridge of the flow tier, as
	// ovs-vswitchd has them; of other bridges they are not asked for.
	Flows  []Flow
	Meters []Meter
	// FlowsError says why Flows and Meters are not known, empty if they are.
	FlowsError string
}

// A Port is a Port row with its Interfaces (sorted by name).
type Port struct {
	UUID        string
	Name        string
	Interfaces  []Interface
	Tag         *int
	Trunks      policy.Ranges
	VLANMode    string
	Protected   bool
	OtherConfig map[string]string
	ExternalIDs map[string]string
}

// An Interface is an Interface row.
type Interface struct {
	UUID string
	Name string
	Type string
	// Driver is status:driver_name, empty where the datapath gives none.
	Driver string
	// OFPort is 0 while unknown and -1 where the interface could not be added.
	OFPort int
	// OFPortRequest is the number that is asked for, 0 if none is.
	OFPortRequest int
	MACInUse      string
	MTU           int // 0 while unknown
	Error         string
	LinkState     string
	Options       map[string]string
	// Egress is status:tunnel_egress_iface, the device by which a tunnel's
	// packets leave; Carrier is status:tunnel_egress_iface_carrier. Both are
	// empty while ovs-vswitchd has not written them.
	Egress, Carrier string
	ExternalIDs     map[string]string
}

// A Mirror is a Mirror row. Its selections are sorted Port names; references
// to ports that are gone are not in them (they are weak, RFC 7047 section 3.2).
type Mirror struct {
	UUID        string
	Name        string
	SelectAll   bool
	SelectSrc   []string
	SelectDst   []string
	SelectVLANs policy.Ranges
	OutputPort  string
	OutputVLAN  *int
	Snaplen     int
	Filter      string
	ExternalIDs map[string]string
}

// Managed reports whether spanctl made the row.
func (m *Mirror) Managed() bool { return m.ExternalIDs[KeyManaged] == "true" }

// Managed reports whether spanctl made the row: it is a tap bridge.
func (b *Bridge) Managed() bool { return b.ExternalIDs[KeyManaged] == "true" }

// Managed reports whether spanctl made the row.
func (p *Port) Managed() bool { return p.ExternalIDs[KeyManaged] == "true" }

// on reports whether one of the devices is an Interface of the port.
func (p *Port) on(devices ...string) bool {
	return slices.ContainsFunc(p.Interfaces, func(i Interface) bool { return slices.Contains(devices, i.Name) })
}

// Sessions lists the sessions that the row serves.
func (m *Mirror) Sessions() []string { return splitNames(m.ExternalIDs[KeySession]) }

// Port finds a port of the bridge by name, nil if there is none.
func (b *Bridge) Port(name string) *Port {
	for i := range b.Ports {
		if b.Ports[i].Name == name {
			return &b.Ports[i]
		}
	}
	return nil
}

// Bridge finds a bridge by name, nil if there is none.
func (s *Snapshot) Bridge(name string) *Bridge {
	if at := s.bridgeIndex(name); at >= 0 {
		return &s.Bridges[at]
	}
	return nil
}

// bridgeIndex finds a bridge by name, -1 if there is none.
func (s *Snapshot) bridgeIndex(name string) int {
	return slices.IndexFunc(s.Bridges, func(b Bridge) bool { return b.Name == name })
}

// portAnywhere finds a port and the bridge that it is on, nil if there is none.
func (s *Snapshot) portAnywhere(name string) (*Bridge, *Port) {
	for b := range s.Bridges {
		if p := s.Bridges[b].Port(name); p != nil {
			return &s.Bridges[b], p
		}
	}
	return nil, nil
}

func splitNames(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
