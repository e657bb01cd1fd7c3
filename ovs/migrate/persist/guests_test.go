package persist_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"spanctl/ovs/migrate/persist"
)

func TestGuestNotes(t *testing.T) {
	l := persist.Layout{Bridge: "br0"}
	got := l.GuestNotes([]persist.Guest{
		{Hypervisor: persist.QEMU, Name: "web 1", MAC: "52:54:00:00:00:01", Port: persist.Port{Name: "vnet0", Tag: 10}},
		{Hypervisor: persist.QEMU, Name: "db", Port: persist.Port{Name: "vnet1", Tag: 10, Trunks: []int{10, 20}}},
		{Hypervisor: persist.Xen, Name: "audit", MAC: "00:16:3e:00:00:01", Port: persist.Port{Tag: 5, Trunks: []int{6, 7}}},
		{Hypervisor: persist.Proxmox, Name: "100", NIC: "net0", Port: persist.Port{Name: "tap100i0"}},
	})
	l.New = "ovsbr0"
	got = append(got, l.GuestNotes([]persist.Guest{{Hypervisor: persist.Proxmox, Name: "101", NIC: "net1"}})...)
	want := []string{
		`libvirt domain web 1: virsh edit 'web 1', and make its interface with address 52:54:00:00:00:01
  <interface type='bridge'>
    <source bridge='br0'/>
    <virtualport type='openvswitch'/>
    <vlan>
      <tag id='10'/>
    </vlan>
    … what else it has …
  </interface>`,
		`libvirt domain db: virsh edit db, and make its interface
  <interface type='bridge'>
    <source bridge='br0'/>
    <virtualport type='openvswitch'/>
    <vlan trunk='yes'>
      <tag id='10' nativeMode='untagged'/>
      <tag id='20'/>
    </vlan>
    … what else it has …
  </interface>`,
		`Xen domain audit: in its file of xl,
  vif = [ 'mac=00:16:3e:00:00:01,script=vif-openvswitch,bridge=br0.5:6:7' ]
  or for all domains in /etc/xen/xl.conf: vif.default.script="vif-openvswitch"`,
		`Proxmox guest 101: its net1 is on br0: set it again with bridge=ovsbr0 (qm set, pct set)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
