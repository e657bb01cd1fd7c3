package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// The end-to-end tests (e2e_*_test.go) run the whole program in-process on a real Open vSwitch and count every frame.

// A site is a lab for one test, with spanctl run on it.
type site struct {
	*testing.T
	ctx    context.Context
	lab    *ovstest.Lab
	guests map[string]*ovstest.Guest
}

// newSite starts a lab with bridge br0 and guests that have nothing but a name, which is also their vm-id. It ends with
// the test.
func newSite(t *testing.T, guests ...string) *site {
	t.Helper()
	return newSiteOf(t, ovstest.Config{}, guests...)
}

// newSiteOf is newSite with more said of the lab, which is named for the test if it has no name.
func newSiteOf(t *testing.T, cfg ovstest.Config, guests ...string) *site {
	t.Helper()
	cfg.Name = cmp.Or(cfg.Name, t.Name())
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	t.Cleanup(cancel)
	lab, err := ovstest.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{T: t, ctx: ctx, lab: lab, guests: map[string]*ovstest.Guest{}}
	for _, name := range guests {
		s.add(ovstest.GuestConfig{Name: name})
	}
	return s
}

// kernels tells whether the lab's datapath is the kernel's, as in make test-kernel, and not that of ovs-vswitchd itself.
func (s *site) kernels() bool { return s.lab.Datapath() == "system" }

// cut is what a copy of the frame with that snaplen is. The kernel's datapath does not count the outermost tag, which it
// holds beside the frame (Linux 6.1).
func (s *site) cut(frame []byte, snaplen int) []byte {
	if s.kernels() && (frame[12] == 0x81 || frame[12] == 0x88 && frame[13] == 0xa8) {
		snaplen += 4
	}
	return frame[:min(snaplen, len(frame))]
}

// sub runs a part of the test on the same site.
func (s *site) sub(name string, f func(s *site)) {
	s.Helper()
	s.Run(name, func(t *testing.T) {
		part := *s
		part.T = t
		f(&part)
	})
}

// add adds a guest whose name is its vm-id, unless it has other external_ids.
func (s *site) add(cfg ovstest.GuestConfig) *ovstest.Guest {
	s.Helper()
	if cfg.ExternalIDs == nil {
		cfg.ExternalIDs = map[string]string{"vm-id": cfg.Name}
	}
	g, err := s.lab.AddGuest(s.ctx, cfg)
	s.check(err)
	s.guests[cfg.Name] = g
	return g
}

// uplink adds a physical neighbour.
func (s *site) uplink(name string) *ovstest.Guest {
	s.Helper()
	g, err := s.lab.AddUplink(s.ctx, ovstest.GuestConfig{Name: name, ExternalIDs: map[string]string{"spanctl-role": "uplink"}})
	s.check(err)
	s.guests[name] = g
	return g
}

// greet makes the switch know where the stations are, untagged and in VLANs 10 and 20: what is then sent to one of them
// is not flooded.
func (s *site) greet(guest *ovstest.Guest, others ...ovstest.Sender) {
	s.Helper()
	atGuest := s.capture(guest)
	for _, from := range append(others, guest) {
		hello := ovstest.UDP(from, ovstest.Broadcast, 9, 9, ovstest.Payload("hello"))
		s.send(from, hello, ovstest.Tagged(hello, 10), ovstest.Tagged(hello, 20))
	}
	s.check(atGuest.Fence(s.ctx, others[0], guest))
}

func (s *site) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) vsctl(args ...string) string {
	s.Helper()
	out, err := s.lab.VSCtl(s.ctx, args...)
	s.check(err)
	return strings.TrimSpace(out)
}

// spanctl runs a command and returns its exit code, stdout and stderr.
func (s *site) spanctl(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(append(args, "--db", s.lab.DB), strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

// want runs a command that must end with the code and returns its stdout.
func (s *site) want(code int, args ...string) string {
	s.Helper()
	got, stdout, stderr := s.spanctl(args...)
	if got != code {
		s.Fatalf("spanctl %s exits %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout
}

// policy writes a policy of sessions, in YAML without its first lines, to a file.
func (s *site) policy(sessions string) string {
	s.Helper()
	file := filepath.Join(s.TempDir(), "policy.yaml")
	s.check(os.WriteFile(file, []byte("version: 1\nsessions:\n"+sessions), 0o600))
	return file
}

// apply applies a policy of sessions, which must do.
func (s *site) apply(sessions string, more ...string) string {
	s.Helper()
	return s.want(exitOK, append([]string{"apply", "-f", s.policy(sessions)}, more...)...)
}

// wantNoChanges wants apply to find nothing to do.
func (s *site) wantNoChanges() {
	s.Helper()
	if out := s.want(exitOK, "apply"); !strings.HasPrefix(out, "No changes") {
		s.Errorf("apply has something to do:\n%s", out)
	}
}

// status is what spanctl status says of each session; it must end with the code.
func (s *site) status(code int, names ...string) map[string]jsonHealth {
	s.Helper()
	var doc struct {
		Sessions []jsonHealth `json:"sessions"`
	}
	s.check(json.Unmarshal([]byte(s.want(code, append([]string{"status", "-o", "json"}, names...)...)), &doc))
	byName := map[string]jsonHealth{}
	for _, h := range doc.Sessions {
		byName[h.Name] = h
	}
	return byName
}

// settle returns when the flows of running connections follow what apply has changed: ovs-vswitchd sets cur_cfg before
// its revalidators have gone through them (see TestE2ERunningConnectionsFollow). A round of theirs that is under way may
// have begun before the change, the next has not.
func (s *site) settle() {
	s.Helper()
	for range 2 {
		_, err := s.lab.AppCtl(s.ctx, "revalidator/wait")
		s.check(err)
	}
}

func (s *site) capture(g *ovstest.Guest) *ovstest.Capture {
	s.Helper()
	c, err := g.Capture(s.ctx)
	s.check(err)
	s.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *site) send(from ovstest.Sender, frames ...[]byte) {
	s.Helper()
	for _, frame := range frames {
		s.check(from.Send(frame))
	}
}

// exchange is n frames of one running connection each way, every one of which has arrived at its receiver.
func (s *site) exchange(a, b *ovstest.Guest, n int, tags ...uint16) []ovstest.Sent {
	s.Helper()
	sent, err := ovstest.Flow{A: a, B: b, APort: 40000, BPort: 40001, Tags: tags}.Exchange(s.ctx, n)
	s.check(err)
	return sent
}

// frames are the frames of an exchange that one of the guests sent.
func frames(sent []ovstest.Sent, from ...*ovstest.Guest) [][]byte {
	var list [][]byte
	for _, one := range sent {
		if slices.Contains(from, one.From) {
			list = append(list, one.Frame)
		}
	}
	return list
}

// wantExactly says what is missing, double or foreign among the frames that have arrived, fences left out.
func (s *site) wantExactly(c *ovstest.Capture, want ...[]byte) {
	s.Helper()
	var got [][]byte
	for _, f := range c.Frames() {
		got = append(got, f.Data)
	}
	s.wantFrames("", got, want)
	s.check(c.Err())
}

// wantFrames says what is missing, double or foreign among frames that somebody has got, fences left out.
func (s *site) wantFrames(who string, got, want [][]byte) {
	s.Helper()
	balance := map[string]int{}
	for _, frame := range want {
		balance[string(frame)]--
	}
	for _, frame := range got {
		if !bytes.Contains(frame, []byte("<fence/")) {
			balance[string(frame)]++
		}
	}
	const most = 10
	wrong := 0
	for frame, n := range balance {
		if n == 0 {
			continue
		}
		if wrong++; wrong <= most {
			s.Errorf("%s%+d of: %s\n%x", who, n, ovstest.Describe([]byte(frame)), frame)
		}
	}
	if wrong > most {
		s.Errorf("%sand of %d more frames; wanted were %d", who, wrong-most, len(want))
	}
}
