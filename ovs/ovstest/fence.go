package ovstest

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Fence returns when everything sent before the call, by anybody, has arrived at the capture if it ever will. It is how
// a test proves that a frame did not arrive: send it, Fence, and look at Frames.
//
// It sends markers from a sender that the capture hears, to an endpoint such that they arrive there, and awaits each
// before the next. The userspace datapath asks its ports in turn: a marker that arrives was read at most one round
// before any older frame at another port, so from the second marker on none is outstanding; a third is for the
// switch's own way to a slow receiver.
//
// In the kernel's datapath the first packet of a flow takes its way through ovs-vswitchd, where each CPU's have a queue and
// a handler of their own (OVS 3.1, per-CPU dispatch). So there markers are sent from each CPU, and each is the first of a
// flow: its source is a station that nobody has heard of.
func (c *Capture) Fence(ctx context.Context, from Sender, to Endpoint) error {
	return c.FenceFrame(ctx, from, func(payload []byte) []byte { return UDP(from, to, 9, 9, payload) })
}

// FenceFrame is Fence with markers of the caller's making, such as tagged ones.
func (c *Capture) FenceFrame(ctx context.Context, from Sender, marker func(payload []byte) []byte) error {
	if c.lab.cfg.Datapath == "system" {
		return c.fenceKernel(ctx, from, marker)
	}
	for range 3 {
		payload := Payload("fence")
		if err := from.Send(marker(payload)); err != nil {
			return fmt.Errorf("fence: %w", err)
		}
		if err := c.WaitPayload(ctx, payload, 1); err != nil {
			return fmt.Errorf("fence: %w", err)
		}
	}
	return nil
}

// fenceKernel is FenceFrame for the kernel's datapath. What a marker makes leave one bridge may enter another, where it is
// the first of a flow again: hence several rounds.
func (c *Capture) fenceKernel(ctx context.Context, from Sender, marker func(payload []byte) []byte) error {
	for range 3 {
		for cpu := range runtime.NumCPU() {
			payload := Payload("fence")
			frame := marker(payload)
			binary.BigEndian.PutUint16(frame[6:], 0x0600)
			binary.BigEndian.PutUint32(frame[8:], strangers.Add(1))
			err := onCPU(cpu, func() error { return from.Send(frame) })
			if err == nil {
				err = c.WaitPayload(ctx, payload, 1)
			}
			if err != nil {
				return fmt.Errorf("fence from CPU %d: %w", cpu, err)
			}
		}
	}
	return nil
}

// strangers counts the stations that nobody has heard of.
var strangers atomic.Uint32

// onCPU calls f on a thread that runs on that CPU alone, and ends it.
func onCPU(cpu int, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		var only unix.CPUSet
		only.Set(cpu)
		err := os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &only))
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}
