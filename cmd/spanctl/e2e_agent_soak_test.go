package main

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// times is how often something small is done over: n times, or that many times for each round of a soak.
func times(t *testing.T, n, aRound int) int {
	t.Helper()
	if os.Getenv("SPANCTL_SOAK") == "" {
		return n
	}
	return aRound * soak(t, 0)
}

// patience is how long a test may take in all.
func patience() time.Duration {
	switch {
	case os.Getenv("SPANCTL_SOAK") != "":
		return 80 * time.Minute
	case os.Getenv(ovstest.DatapathVariable) == "system": // in an emulated machine
		return 10 * time.Minute
	}
	return 3 * time.Minute
}

// Guests restart again and again, and each time the agent mirrors them again. How long they were not mirrored is logged.
func TestE2EAgentRestarts(t *testing.T) {
	t.Parallel()
	s := newSite(t, "a", "b", "audit")
	a, b, audit := s.guests["a"], s.guests["b"], s.guests["audit"]
	db, err := lookOn(s.ctx, s.lab.DB)
	s.check(err)
	t.Cleanup(db.Close)
	s.agent()
	s.apply("  audit: {sources: [{vm: \"[ab]\"}], destinations: [{vm: audit}]}\n", "--no-wait")
	s.awaitActive("audit")
	var blind []time.Duration
	for round := range times(t, 5, 20) {
		g := a
		if round%2 == 1 {
			g = b
		}
		s.sub(fmt.Sprint(round), func(s *site) {
			before := db.port(g.Port()).uuid
			mirrored := make(chan error, 1)
			go func() {
				if err := db.wait(s.ctx, "the port", func() bool { return db.port(g.Port()).uuid != before }); err != nil {
					mirrored <- err
					return
				}
				port := db.port(g.Port())
				_, inForce, err := db.blind(s.ctx, port)
				blind = append(blind, inForce.Sub(port.seen))
				mirrored <- err
			}()
			s.restart(g)
			s.check(<-mirrored)
			s.wantCopied(a, b, audit, 1)
		})
	}
	slices.Sort(blind)
	n := len(blind)
	t.Logf("%d restarts; from the port's row to the mirror in force: at least %s, median %s, 99 %% within %s, at most %s", n, blind[0], blind[n/2], blind[n-1-n/100], blind[n-1])
}

// However many guests come and go, the agent needs no more memory than after a third of them.
func TestE2EAgentMemory(t *testing.T) {
	t.Parallel()
	const together = 10 // restart before the mirror is waited for
	h := newFullHost(t, 100, patience())
	pid := h.agent("--quiet", "1ms", "--at-most", "5ms")
	events := times(t, 2000, 2000)
	restart := func(n int) {
		for range n / together {
			for range together {
				h.restart()
			}
			_, _, err := h.db.blind(h.ctx, h.db.port(h.newest))
			h.check(err)
		}
	}
	restart(events / 3)
	third := h.memory(pid, "VmHWM") // the peak
	restart(events - events/3)
	end := h.memory(pid, "VmRSS")
	t.Logf("%d events: %.1f MiB at most in the first third, %.1f MiB in the end", events, third, end)
	if end > 1.2*third {
		t.Errorf("memory grows from %.1f to %.1f MiB", third, end)
	}
}
