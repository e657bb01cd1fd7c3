package ovstest

import (
	"fmt"
	"sync"
	"time"
)

// A stream sends numbered frames out of a virtual machine's device (NIC.Stream).
type stream struct {
	stop    chan struct{}
	stopped sync.Once
	ended   chan struct{}
	sent    int
	err     error // why it ended by itself
}

// streamNumber is the length of the number that ends each frame of a stream.
const streamNumber = 8

func (v *insideVM) stream(r vmRequest) (int, error) {
	if len(r.Frame) < streamNumber {
		return 0, fmt.Errorf("no room for a number in %d bytes", len(r.Frame))
	}
	s := &stream{stop: make(chan struct{}), ended: make(chan struct{})}
	v.mu.Lock()
	v.streams[r.MAC] = s
	v.mu.Unlock()
	go func() {
		defer close(s.ended)
		s.err = s.run(r.MAC, r.Frame)
	}()
	return 0, nil
}

func (s *stream) run(mac string, frame []byte) error {
	name, err := await(mac)
	if err == nil {
		err = raiseLink(name)
	}
	if err != nil {
		return err
	}
	out, err := openSocket(name, false, false)
	if err != nil {
		return err
	}
	defer out.Close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		copy(frame[len(frame)-streamNumber:], fmt.Sprintf("%0*d", streamNumber, s.sent+1))
		if _, err := out.Write(frame); err != nil {
			return err
		}
		s.sent++
		select {
		case <-s.stop:
			return nil
		case <-tick.C:
		}
	}
}

func (v *insideVM) still(r vmRequest) (int, error) {
	v.mu.Lock()
	s := v.streams[r.MAC]
	v.mu.Unlock()
	if s == nil {
		return 0, ErrClosed
	}
	s.stopped.Do(func() { close(s.stop) })
	<-s.ended
	return s.sent, s.err
}
