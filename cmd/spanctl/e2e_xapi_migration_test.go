package main

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// A xapiPool is two hosts of a pool on one network, each with an Open vSwitch, an agent and audit guests of its own, and the
// same policy: what all guests send goes to audit, and what web sends and is sent goes to ids. db is on the first host, app
// on the second, and web moves.
type xapiPool struct {
	*testing.T
	hosts [2]*xapiSite
	place int // of web: the host where it runs
}

// xapiWeb is the VIF that moves.
var xapiWeb = xapiVIFOf(1)

func newXAPIPool(t *testing.T) *xapiPool {
	t.Helper()
	pool := &xapiPool{T: t}
	for i := range pool.hosts {
		pool.hosts[i] = newXAPIHost(t, fmt.Sprintf("%s host %d", t.Name(), i+1))
	}
	first, second := pool.hosts[0], pool.hosts[1]
	wire := exec.CommandContext(first.ctx, "nsenter", "-t", strconv.Itoa(first.lab.PID()), "-n",
		"ip", "link", "add", "eth0", "up", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(second.lab.PID()))
	if out, err := wire.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", wire.Args, err, out)
	}
	up := exec.CommandContext(second.ctx, "nsenter", "-t", strconv.Itoa(second.lab.PID()), "-n", "ip", "link", "set", "eth0", "up")
	if out, err := up.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", up.Args, err, out)
	}
	first.plug("web", "vif1.0", xapiWeb)
	for i, s := range pool.hosts {
		s.vsctl("add-port", "xenbr0", "eth0")
		s.plug([]string{"db", "app"}[i], "vif2.0", xapiVIFOf(2+i))
		// Audit guests are the hosts' own, and known by how their UUIDs begin.
		audit, ids := xapiVIFOf(4+2*i), xapiVIFOf(5+2*i)
		audit.vm, ids.vm = "aaaaaaaa"+audit.vm[8:], "bbbbbbbb"+ids.vm[8:]
		s.plug("audit", "vif3.0", audit)
		s.plug("ids", "vif4.0", ids)
		s.xapiSync()
	}
	return pool
}

// guest is a guest where it runs.
func (pool *xapiPool) guest(name string) *ovstest.Guest {
	home := map[string]int{"web": pool.place, "db": 0, "app": 1}[name]
	return pool.hosts[home].guests[name]
}

// wantCopiedOnce has all guests talk, and wants each frame at the audit guest of its sender's host, and those of web at the
// ids of the host where it runs: once, and nothing else anywhere.
func (pool *xapiPool) wantCopiedOnce() {
	pool.Helper()
	pairs := [][2]string{{"web", "db"}, {"web", "app"}, {"db", "app"}}
	for _, pair := range pairs { // the switches know who is where
		pool.hosts[0].exchange(pool.guest(pair[0]), pool.guest(pair[1]), 2)
	}
	for _, s := range pool.hosts { // and flood no more
		s.settle()
	}
	var audits, ids [2]*ovstest.Capture
	for i, s := range pool.hosts {
		audits[i], ids[i] = s.capture(s.guests["audit"]), s.capture(s.guests["ids"])
	}
	var sent []ovstest.Sent
	var wantIDs [2][][]byte
	for _, pair := range pairs {
		list := pool.hosts[0].exchange(pool.guest(pair[0]), pool.guest(pair[1]), 5)
		sent = append(sent, list...)
		if pair[0] == "web" {
			for _, one := range list {
				wantIDs[pool.place] = append(wantIDs[pool.place], one.Frame)
			}
		}
	}
	for i, s := range pool.hosts {
		local := pool.guest([]string{"db", "app"}[i])
		want := frames(sent, local)
		if i == pool.place {
			want = append(want, frames(sent, pool.guest("web"))...)
		}
		s.check(audits[i].Fence(s.ctx, local, s.guests["audit"]))
		s.wantExactly(audits[i], want...)
		fence := local // who sends to ids itself, while that is a port like others
		if web := s.guests["web"]; web != nil && pool.plugged(i) {
			fence = web // in another's name, so that web's place stays known
		}
		s.check(ids[i].FenceFrame(s.ctx, fence, func(payload []byte) []byte {
			return ovstest.UDP(ovstest.Station{MAC: net.HardwareAddr{2, 9, 9, 9, 9, byte(i)}, IP: local.Addr()}, s.guests["ids"], 9, 9, payload)
		}))
		s.wantExactly(ids[i], wantIDs[i]...)
	}
}

// plugged reports whether the host has web's device.
func (pool *xapiPool) plugged(host int) bool {
	s := pool.hosts[host]
	return s.vsctl("--bare", "--columns=name", "find", "Interface", "external_ids:xs-vif-uuid="+xapiWeb.uuid) != ""
}

// wantStatus wants what status says of the session about web on each host, and that the other session copies.
func (pool *xapiPool) wantStatus(states ...plan.State) {
	pool.Helper()
	for i, s := range pool.hosts {
		s.await(fmt.Sprintf("session web on host %d to be %s", i+1, states[i]), func() bool {
			code, out, _ := s.spanctl("status")
			return code == exitOK && strings.Contains(out, "session web: "+string(states[i])) && strings.Contains(out, "session net: active")
		})
		s.awaitActive("net")
	}
}

// A guest migrates between two hosts of a pool, as xenopsd moves it: its VIF is plugged at the new host while it still runs
// at the old, unplugged there, and what it says first at the new is broadcast. Each host copies it while it is there, says so,
// and nothing is copied twice. No host has libvirt, and none speaks of it, although guests are named by more than UUIDs.
func TestE2EXAPIGuestMigratesBetweenHosts(t *testing.T) {
	t.Parallel()
	pool := newXAPIPool(t)
	var bare [2]string
	var agents [2]*process
	for i, s := range pool.hosts {
		bare[i], _ = s.ours()
		agents[i] = s.agent()
		s.apply(fmt.Sprintf(`
  net: {sources: [{external_ids: {xs-network-uuid: %s}, direction: from}], destinations: [{vm: "aaaaaaaa-*"}]}
  web: {sources: [{vm: %s}], destinations: [{vm: "bbbbbbbb-*"}]}
`, xapiNetwork, xapiWeb.vm))
	}
	pool.wantStatus(plan.StateActive, plan.StateWaiting)
	pool.wantCopiedOnce()
	for domain := range 2 { // there and back
		old, next := pool.hosts[pool.place], pool.hosts[1-pool.place]
		device := fmt.Sprintf("vif%d.0", 11+domain)
		if web := next.guests["web"]; web == nil {
			next.plug("web", device, xapiWeb)
		} else {
			next.check(web.Rename(device))
			next.check(web.Start(next.ctx))
		}
		next.xapiSync()
		pool.wantStatus(plan.StateActive, plan.StateActive)
		pool.wantCopiedOnce() // it runs at the old host

		old.check(old.guests["web"].Stop(old.ctx))
		old.xapiSync()
		pool.place = 1 - pool.place
		next.announce(next.guests["web"])
		states := []plan.State{plan.StateWaiting, plan.StateWaiting}
		states[pool.place] = plan.StateActive
		pool.wantStatus(states...)
		pool.wantCopiedOnce()
	}
	for i, s := range pool.hosts {
		for _, args := range [][]string{{"status"}, {"plan"}} {
			if _, out, stderr := s.spanctl(args...); strings.Contains(out+stderr, "libvirt") {
				t.Errorf("host %d: %s says\n%s%s", i+1, args[0], out, stderr)
			}
		}
		s.want(exitOK, "delete", "--all")
		s.terminate(agents[i])
		if strings.Contains(agents[i].said.String(), "libvirt") {
			t.Errorf("host %d: the agent says\n%s", i+1, agents[i].said.String())
		}
		s.wantBare(strings.ReplaceAll(bare[i], `"vif1.0"`, `"vif12.0"`))
	}
}
