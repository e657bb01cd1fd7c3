package migrate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"spanctl/ovs"
	"spanctl/policy/plan"
)

// KeyReplaces is the key in a bridge's external_ids that names the Linux bridge in whose place it is.
const KeyReplaces = "spanctl-replaces"

// A Layout is what Open vSwitch shall have in the place of a Linux bridge.
type Layout struct {
	Bridge string `json:"bridge"` // the Linux bridge
	New    string `json:"new"`    // the bridge of Open vSwitch, and the host's device
	Parked string `json:"parked"` // what the Linux bridge is called meanwhile
	// Row is the bridge with its own port, Ports are the others.
	Row   ovs.BridgeRow `json:"row"`
	Ports []ovs.PortRow `json:"ports"`
}

// ParkedName is what a Linux bridge is called from when Open vSwitch has its name until it is deleted or has it back.
func ParkedName(bridge string) string {
	sum := sha256.Sum256([]byte(bridge))
	return "linux-" + hex.EncodeToString(sum[:4])
}

// NewLayout translates a Linux bridge; name is the new bridge's, the old one's if it is empty, and datapath its
// datapath_type, the server's default if it is empty. What has no translation Check refuses.
func NewLayout(s *State, name, datapath string) *Layout {
	l := &Layout{Bridge: s.Bridge.Name, New: name, Parked: s.Bridge.Name}
	if name == "" || name == s.Bridge.Name {
		l.New, l.Parked = s.Bridge.Name, ParkedName(s.Bridge.Name)
	}
	// Times are in hundredths of a second there, in seconds here.
	seconds := func(name string, least, most uint64) string {
		return strconv.FormatUint(min(max(s.Settings[name]/100, least), most), 10)
	}
	l.Row = ovs.BridgeRow{
		Name: l.New, Datapath: datapath, STP: s.stp(), McastSnooping: s.snooping(),
		OtherConfig: map[string]string{},
		ExternalIDs: map[string]string{KeyReplaces: l.Bridge},
	}
	config := l.Row.OtherConfig
	if s.Bridge.MAC != "" { // one that has lost all its ports has none
		config["hwaddr"] = s.Bridge.MAC
	}
	if s.Settings["ageing_time"] != defaultAgeing {
		config["mac-aging-time"] = seconds("ageing_time", 15, 3600)
	}
	if s.stp() {
		config["stp-priority"] = strconv.FormatUint(s.Settings["priority"], 10)
		config["stp-hello-time"] = seconds("hello_time", 1, 10)
		config["stp-max-age"] = seconds("max_age", 6, 40)
		config["stp-forward-delay"] = seconds("forward_delay", 4, 30)
	}
	if s.Settings["group_fwd_mask"] != 0 {
		config["forward-bpdu"] = "true"
	}
	own := ovs.PortRow{Name: l.New, Type: "internal", MTU: s.Bridge.MTU}
	if s.filtering() {
		own.Tag, own.VLANMode, own.Trunks, _ = portVLANs(s.VLANs) // Check tells what cannot be
	}
	l.Row.Ports = []ovs.PortRow{own}
	for i := range s.Ports {
		p := &s.Ports[i]
		row := ovs.PortRow{Name: p.Name, Protected: p.Settings["isolated"] != 0, ExternalIDs: p.ExternalIDs}
		if s.filtering() {
			row.Tag, row.VLANMode, row.Trunks, _ = portVLANs(p.VLANs)
		}
		if s.stp() {
			row.OtherConfig = map[string]string{
				"stp-path-cost":     strconv.FormatUint(p.Settings["cost"], 10),
				"stp-port-priority": strconv.FormatUint(p.Settings["priority"]*4, 10), // of 64 steps, and of 256
			}
		}
		l.Ports = append(l.Ports, row)
	}
	return l
}

// defaultAgeing is after how long both kinds of bridges forget where an address is, in hundredths of a second.
const defaultAgeing = 30000

// snooping tells whether multicast snooping has an effect: a Linux bridge floods all the same while nobody asks for
// memberships, and Open vSwitch does not.
func (s *State) snooping() bool { return s.Settings["mcast_snooping"] != 0 && s.Querier }

// in is the bridge of Open vSwitch in the place of the Linux bridge, nil without: one of that name may be another one's.
func (l *Layout) in(snap *plan.Snapshot) *plan.Bridge {
	for i := range snap.Bridges {
		if b := &snap.Bridges[i]; b.Name == l.New && b.ExternalIDs[KeyReplaces] == l.Bridge {
			return b
		}
	}
	return nil
}

// portNames are the names of the ports.
func (l *Layout) portNames() []string {
	names := make([]string, len(l.Ports))
	for i := range l.Ports {
		names[i] = l.Ports[i].Name
	}
	return names
}

// describe says what a port row is, for people.
func describe(p *ovs.PortRow) string {
	text := ""
	switch {
	case p.VLANMode == "access":
		text = fmt.Sprintf(" in VLAN %d", p.Tag)
	case p.VLANMode == "trunk":
		text = fmt.Sprintf(" with VLANs %s", ranges(p.Trunks))
	case p.VLANMode != "":
		text = fmt.Sprintf(" with VLANs %s, VLAN %d %s", ranges(p.Trunks), p.Tag, p.VLANMode)
	}
	if p.Protected {
		text += ", protected"
	}
	return p.Name + text
}

// ranges writes numbers in ascending order.
func ranges(ids []int) string {
	text := ""
	for i := 0; i < len(ids); i++ {
		first := ids[i]
		for i+1 < len(ids) && ids[i+1] == ids[i]+1 {
			i++
		}
		if text != "" {
			text += ","
		}
		text += strconv.Itoa(first)
		if ids[i] != first {
			text += "-" + strconv.Itoa(ids[i])
		}
	}
	return text
}
