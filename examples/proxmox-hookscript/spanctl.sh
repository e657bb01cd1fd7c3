#!/bin/sh
# Proxmox VE hookscript: writes a guest's name, and the mirror sessions that its tags name, on its ports of Open vSwitch.
# The tag spanctl-NAME stands for session NAME.
#
# Proxmox VE calls it as "VMID PHASE" and shows what it says in the task's log. It exits with 0 whatever happens.
set -uf
LC_ALL=C
export LC_ALL

give_up() {
	echo "spanctl hookscript: the ports of guest $vmid are not tagged: $*" >&2
	exit 0
}

# Without waiting for ovs-vswitchd, and not for long for ovsdb-server: the guest's start waits for this.
vsctl() { ovs-vsctl --timeout=5 --no-wait "$@" 2>&1; }

# field KEY...: of the configuration as it is, which ends where the first snapshot begins.
field() {
	for key; do sed -n "/^\[/q; s/^$key: *//p" "$conf"; done
}

# quoted TEXT: as a string of OVSDB (ovs-vsctl(8), Database Values).
quoted() { printf '"%s"' "$(printf %s "$1" | tr -d '[:cntrl:]' | sed 's/[\\"]/\\&/g')"; }

vmid=${1-}
[ "${2-}" = post-start ] || exit 0
case $vmid in
'' | *[!0-9]*) give_up "this is no number" ;;
esac

# While a guest is migrated its configuration is still the other node's.
pve=${PVE_DIR:-/etc/pve}
conf=
for file in "$pve/qemu-server/$vmid.conf" "$pve/lxc/$vmid.conf" "$pve/nodes/${PVE_MIGRATED_FROM:-none}/qemu-server/$vmid.conf"; do
	if [ -r "$file" ]; then
		conf=$file
		break
	fi
done
[ -n "$conf" ] || give_up "there is no configuration of it in $pve"

name=$(field name hostname)
sessions=$(field tags | tr ';, ' '[\n*]' | sed -n 's/^spanctl-\([a-z0-9-]*\)$/\1/p' | tr '\n' ',')
sessions=${sessions%,}

# Behind the firewall of a NIC the port is fwlnVMIDoN.
all=$(vsctl --bare --columns=name list Interface) || give_up "$all"
set --
for port in $all; do
	case $port in
	"tap${vmid}i"[0-9]* | "veth${vmid}i"[0-9]* | "fwln${vmid}o"[0-9]*) ;;
	*) continue ;;
	esac
	set -- "$@" -- --if-exists set Interface "$port" "external_ids:vm-name=$(quoted "$name")"
	if [ -n "$sessions" ]; then
		set -- "$@" "external_ids:spanctl=\"$sessions\""
	else
		set -- "$@" -- --if-exists remove Interface "$port" external_ids spanctl
	fi
done
[ $# -eq 0 ] || said=$(vsctl "$@") || give_up "$said"
exit 0
