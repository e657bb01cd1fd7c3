package main

import (
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"spanctl/ovs/ovstest"
)

// soak is how often a test does over again what must never fail: n times, or $SPANCTL_SOAK times (make soak).
func soak(t *testing.T, n int) int {
	t.Helper()
	text := os.Getenv("SPANCTL_SOAK")
	if text == "" {
		return n
	}
	times, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SPANCTL_SOAK: %v", err)
	}
	return times
}

// Sessions come and go while everybody sends without a pause: the audit guest has a bridge of its own, so that what it
// sends may be at no production port at any moment. (Of an ERSPAN and a GRE tunnel the userspace datapath of OVS 3.1
// receives by one alone.)
func TestE2EIsolationWhileSessionsComeAndGo(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br9")
	variants := [][]string{{"erspan", "gre"}, {"erspan"}, {"gre"}}
	var files []string
	for _, kinds := range variants {
		file := e.policy(e.watching(kinds...))
		files = append(files, file)
		e.want(exitOK, "apply", "-f", file)
		e.learnTunnels(kinds...)
		e.want(exitOK, "delete", "--all")
	}
	pause := e.churn()
	for i := range soak(t, 6) {
		e.want(exitOK, "apply", "-f", files[i%len(files)])
		e.want(exitOK, "delete", "--all")
	}
	pause()
	e.wantIsolated("while sessions came and went")
	e.wantArrived("while sessions came and went")
	for i, kinds := range variants[1:] {
		e.want(exitOK, "apply", "-f", files[1+i])
		e.invade(kinds[0])
		e.want(exitOK, "delete", "--all")
	}
	e.wantIsolated("in the end")
}

// The audit guest is a port of a production bridge that is borrowed and given back: what it sends from when it is
// borrowed until it is given back is nowhere.
func TestE2EIsolationOfBorrowedAuditGuest(t *testing.T) {
	t.Parallel()
	e := newEnclosure(t, "br0")
	file := e.policy(e.watching("gre"))
	e.want(exitOK, "apply", "-f", file)
	e.learnTunnels("gre")
	e.want(exitOK, "delete", "--all")
	e.mute(true)
	pause := e.churn()
	for range soak(t, 6) {
		e.want(exitOK, "apply", "-f", file)
		e.settle() // what it sent before may have a flow for a moment
		e.mute(false)
		e.check(fire(e.invasion()))
		e.mute(true)
		// The switch has read all that it sent.
		e.check(e.sniffers[0].Fence(e.ctx, e.halves[0].y, e.halves[0].x))
		e.want(exitOK, "delete", "--all")
	}
	pause()
	e.wantIsolated("while it was borrowed")
	e.wantArrived("while it was borrowed")
	if atAudit := e.capture(e.audit); atAudit.Fence(e.ctx, e.halves[0].x, ovstest.Broadcast) != nil {
		t.Error("it is not on its bridge again")
	}
}

// mute lets the audit guest be silent, from now on, or not.
func (e *enclosure) mute(on bool) {
	e.sending.Lock()
	defer e.sending.Unlock()
	e.muted = on
}

// churn lets everybody send, a few thousand frames a second at most, until the returned function is called.
func (e *enclosure) churn() (pause func()) {
	stop := make(chan struct{})
	var sender sync.WaitGroup
	var failed error
	sender.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; failed == nil; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				e.sending.Lock()
				victims := e.victims()
				failed = fire(append(e.traffic(), e.sortie(victims[n%len(victims)])...))
				e.sending.Unlock()
			}
		}
	})
	return func() {
		e.Helper()
		close(stop)
		sender.Wait()
		e.check(failed)
		e.Logf("production has sent %d frames", len(e.passages))
	}
}
