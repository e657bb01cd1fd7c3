package main

import (
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
	"spanctl/policy/plan"
)

// Beside what is somebody else's: it stays as it is, and what it stands in the way of is refused.

// newForeign is an enclosure without noise: with a guest ids, to which foreign mirrors go.
func newForeign(t *testing.T) *enclosure {
	t.Helper()
	e := newEnclosure(t, "br0")
	e.add(ovstest.GuestConfig{Name: "ids"})
	return e
}

// wantRefused wants plan and apply to refuse the sessions with the words, and to change nothing.
func (s *site) wantRefused(sessions string, words ...string) {
	s.Helper()
	before, file := s.database(), s.policy(sessions)
	for _, command := range []string{"plan", "apply"} {
		code, _, stderr := s.spanctl(command, "-f", file)
		for _, word := range words {
			if code != exitRefused || !strings.Contains(stderr, word) {
				s.Errorf("%s exits %d and says %s\nwant %d and %q", command, code, stderr, exitRefused, word)
			}
		}
	}
	s.wantSame("refused", before, s.database(), ofItself)
}

// A foreign mirror of everything on a source bridge and the session's both have every frame once, while the session
// comes, stays and goes, and the foreign one is the same afterwards.
func TestE2EForeignMirrorBesideTheHub(t *testing.T) {
	t.Parallel()
	e := newForeign(t)
	e.foreignMirror("theirs", "select_all=true")
	before := e.database()
	wantTheirs := func(when string) {
		e.Helper()
		e.settle()
		first, atIDs := len(e.passages), e.capture(e.guests["ids"])
		e.check(fire(e.traffic()))
		e.check(atIDs.Fence(e.ctx, e.halves[0].x, e.halves[0].y))
		e.wantIsolated(when)
		e.wantArrived(when)
		for _, p := range e.passages[first:] {
			want := map[string]int{"br0": 1}[p.bridge]
			if n := ovstest.CountPayload(atIDs.Frames(), []byte(p.mark)); n != want {
				e.Errorf("%s: %d copies of %s by the foreign mirror, want %d", when, n, p.mark, want)
			}
		}
	}
	for range 2 {
		e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
		e.learnTunnels("gre")
		e.wantCopied("beside a foreign mirror", 1)
		e.check(fire(e.invasion()))
		wantTheirs("beside the session")
		e.wantNoChanges()
		e.want(exitOK, "delete", "--all")
		wantTheirs("without the session")
	}
	e.wantSame("in the end", before, e.database(), ofItself, configuration)
}

// A port that a foreign mirror outputs to cannot be borrowed. One that comes later, to a borrowed port, is told of, and
// takes nothing away.
func TestE2EForeignMirrorToTheAuditGuest(t *testing.T) {
	t.Parallel()
	e := newForeign(t)
	theirs := func() {
		e.vsctl("--", "--id=@audit", "get", "Port", "vif-audit", "--", "--id=@m", "create", "Mirror", "name=theirs", "select_all=true", "output_port=@audit",
			"--", "add", "Bridge", "br0", "mirrors", "@m")
	}
	theirs()
	e.wantRefused(e.watching("gre"), `foreign mirror "theirs" of bridge br0 outputs to port vif-audit, which would be moved to a tap bridge`)
	e.vsctl("clear", "Bridge", "br0", "mirrors")
	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	e.learnTunnels("gre")
	theirs()
	e.wantCopied("beside a foreign mirror to the borrowed port", 1)
	e.wantHealth(exitDegraded, plan.StateRefused, `foreign mirror "theirs" of bridge br0 outputs to port vif-audit`)
	e.want(exitDegraded, "apply")
	e.wantCopied("applied beside it", 1)
	e.vsctl("--", "--id=@m", "get", "Mirror", "theirs", "--", "remove", "Bridge", "br0", "mirrors", "@m")
	e.wantNoChanges()
	e.want(exitOK, "delete", "--all")
	e.wantGone("in the end")
}

// A tunnel of somebody else's with the same identity, as OVN makes for its mirrors, would hide ours or be hidden.
func TestE2EForeignTunnelOfTheSameIdentity(t *testing.T) {
	t.Parallel()
	e := newForeign(t)
	ovn := func(kind, key string) {
		e.vsctl("--", "add-port", "br1", "ovn-erspan", "--", "set", "Interface", "ovn-erspan", "type="+kind, "options:remote_ip="+e.sensor.Addr().String(),
			"options:key="+key, "options:erspan_ver=1", "options:erspan_idx=3", "external_ids:ovn-mirror=m0")
	}
	session := "  audit: {sources: [{role: all, bridge: br0}], destinations: [{erspan: {remote: " + e.sensor.Addr().String() + ", session: 100}}]}\n"
	ovn("erspan", "100")
	e.wantRefused(session, "port ovn-erspan of bridge br1 is a tunnel with the same remote, local and key")
	e.wantRefused(strings.Replace(session, "session: 100", "session: 100, type: III, hwid: 5", 1), "port ovn-erspan of bridge br1")
	for kind, key := range map[string]string{"erspan": "101", "gre": "100"} {
		e.vsctl("del-port", "ovn-erspan")
		ovn(kind, key)
		e.want(exitOK, "apply", "-f", e.policy(session))
		e.settle()
		atSensor := e.capture(e.sensor)
		e.check(atSensor.Fence(e.ctx, e.halves[0].x, e.halves[0].y))
		e.want(exitOK, "delete", "--all")
	}
}

// turnOf is the name of a bridge's turn (docs/decisions/0003): a port of ours that serves no session.
func (s *site) turnOf(bridge string) string {
	s.Helper()
	for _, port := range strings.Fields(s.vsctl("list-ports", bridge)) {
		if ids := s.vsctl("get", "Port", port, "external_ids"); strings.Contains(ids, "spanctl-managed") && !strings.Contains(ids, "spanctl-session") {
			return port
		}
	}
	s.Fatalf("bridge %s has no turn", bridge)
	return ""
}

// Names that our rows need, and somebody else has.
func TestE2EForeignNames(t *testing.T) {
	t.Parallel()
	e := newForeign(t)
	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	names, turn := e.taps(), e.turnOf("br0")
	for _, row := range e.database()["Port"] {
		if ids := string(row["external_ids"]); strings.Contains(ids, "spanctl-managed") && strings.Contains(ids, "spanctl-session") {
			names = append(names, strings.Trim(string(row["name"]), `"`))
		}
	}
	e.want(exitOK, "delete", "--all")
	if len(names) < 1+2*2+1 {
		t.Fatalf("a tap bridge, two patches and a tunnel have the names %s", names)
	}
	for _, name := range names {
		e.vsctl("add-port", "br1", name, "--", "set", "Interface", name, "type=internal")
		e.wantRefused(e.watching("gre"), name, "a port of bridge br1")
		e.vsctl("del-port", name)
		e.vsctl("add-br", name)
		e.wantRefused(e.watching("gre"), name, "a bridge")
		e.vsctl("del-br", name)
	}
	e.vsctl("add-port", "br0", turn, "--", "set", "Interface", turn, "type=internal")
	e.want(exitOK, "apply", "-f", e.policy(e.watching("gre")))
	e.learnTunnels("gre")
	e.wantCopied("a turn's name is taken", 1)
	e.want(exitOK, "delete", "--all")
	e.wantGone("in the end")
	if on := e.vsctl("port-to-br", turn); on != "br0" {
		t.Errorf("the foreign port is on %s", on)
	}
}
