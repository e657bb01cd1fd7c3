//go:build vm

package ovstest_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"spanctl/ovs/ovstest"
)

// A machine's own stack answers, and what it sends and receives is known inside of it as it was on the wire; killed, it is
// over, and it can be started again.
func TestVM(t *testing.T) {
	ctx, lab := start(t, ovstest.Config{})
	v, err := lab.AddVM(ctx, ovstest.GuestConfig{Name: "v"})
	check(t, err)
	g := guest(ctx, t, lab, "g")
	for _, round := range []string{"first", "second"} {
		t.Run(round, func(t *testing.T) {
			check(t, v.Serve(ctx, 80, 0))
			atV, err := v.Capture(ctx, ovstest.Outgoing())
			check(t, err)
			atG, err := g.Capture(ctx, ovstest.Outgoing())
			check(t, err)
			conn, err := g.Dial(ctx, "tcp", netip.AddrPortFrom(v.Addr(), 80).String())
			check(t, err)
			check(t, conn.(*net.TCPConn).CloseWrite())
			_, err = io.Copy(io.Discard, conn) // to the end: nothing comes later
			check(t, errors.Join(err, conn.Close()))
			check(t, v.Send(ovstest.Tagged(ovstest.UDP(v, g, 1, 2, ovstest.Payload(round)), 10)))
			check(t, atG.Fence(ctx, v, g))
			check(t, atV.Fence(ctx, g, v))
			balance := map[string]int{}
			for i, c := range []*ovstest.Capture{atV, atG} {
				for _, f := range c.Frames() {
					if !strings.Contains(string(f.Data), "<fence/") {
						balance[map[bool]string{true: "from v: ", false: "from g: "}[f.Outgoing == (i == 0)]+string(f.Data)] += 1 - 2*i
					}
				}
				check(t, c.Err())
			}
			if len(balance) < 7 { // three to connect, three to part, and the datagram
				t.Errorf("%d frames", len(balance))
			}
			for frame, n := range balance {
				if n != 0 {
					t.Errorf("%+d at v of frame %s%s", n, frame[:8], ovstest.Describe([]byte(frame[8:])))
				}
			}
			check(t, atG.Close())
			v.Kill()
			if err := atV.Wait(ctx, func([]ovstest.Frame) bool { return false }); !errors.Is(err, ovstest.ErrClosed) {
				t.Errorf("Wait on a dead machine's capture: %v", err)
			}
			if err := v.Send(ovstest.ARP(v, g)); !errors.Is(err, ovstest.ErrClosed) {
				t.Errorf("Send from a dead machine: %v", err)
			}
			check(t, v.Start(ctx))
		})
	}
	check(t, v.Stop(ctx))
}

func TestVMIsGoneHoweverTheProcessEnds(t *testing.T) {
	for _, end := range []string{"kill", "interrupt"} {
		t.Run(end, func(t *testing.T) { wantNothingLeft(t, end, 5, victimVM+"=1") })
	}
}

// A program's words and its end come out of its machine.
func TestVMProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "spanctl")
	build := exec.Command("go", "build", "-o", file, "spanctl/cmd/spanctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for args, code := range map[string]string{"version": "", "no-such-command": "the program ends with 3"} {
		var out strings.Builder
		err := ovstest.Program{Name: t.Name(), File: file, Args: []string{args}, Memory: 512, CPUs: 1}.Run(t.Context(), &out)
		if !strings.HasPrefix(out.String(), "spanctl") || (err != nil) != (code != "") || err != nil && !strings.Contains(err.Error(), code) {
			t.Errorf("%s: %v; it says %s", args, err, out.String())
		}
	}
}
