package ovstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Capture records every frame that arrives at a device, from the moment it was opened.
type Capture struct {
	lab    *Lab
	source frameSource
	name   string
	detach func() bool
	ended  chan struct{} // closed when the reader is done

	mu     sync.Mutex
	frames []Frame
	broken error         // why the reader ended by itself
	lost   error         // frames that the kernel dropped
	news   chan struct{} // closed at the next change
	closed bool
}

// frameSource is where a capture has its frames: a socket, or one inside of a virtual machine.
type frameSource interface {
	receive(buf []byte) (data []byte, outgoing bool, err error) // may use buf
	dropped() (int, error)                                      // since it was last asked
	Close() error                                               // receive ends
}

// CaptureOption changes what a capture records.
type CaptureOption func(*captureOptions)

type captureOptions struct{ outgoing bool }

// Outgoing also records what the device itself sends.
func Outgoing() CaptureOption { return func(o *captureOptions) { o.outgoing = true } }

// Capture records what arrives at the guest's eth0, until Close or the end of ctx.
func (g *Guest) Capture(ctx context.Context, options ...CaptureOption) (*Capture, error) {
	return g.lab.capture(ctx, g.inside, device, g.cfg.Name, options)
}

// CaptureDevice records what arrives at another device of the guest's, such as a tunnel of its kernel's.
func (g *Guest) CaptureDevice(ctx context.Context, device string, options ...CaptureOption) (*Capture, error) {
	return g.lab.capture(ctx, g.inside, device, g.cfg.Name+"'s "+device, options)
}

// CapturePort records what arrives at a device of the host: on a bridge's internal port that is what the bridge sends
// to the host; on a guest's outer end, what the guest sends.
func (l *Lab) CapturePort(ctx context.Context, device string, options ...CaptureOption) (*Capture, error) {
	if err := l.realHost(); err != nil {
		return nil, err
	}
	return l.capture(ctx, l.host, device, device, options)
}

func (l *Lab) capture(
	ctx context.Context, inside *namespace, device, name string, options []CaptureOption,
) (*Capture, error) {
	var o captureOptions
	for _, option := range options {
		option(&o)
	}
	var s *socket
	err := inside.do(func() (err error) {
		s, err = openSocket(device, true, o.outgoing)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("capturing at %s: %w", name, err)
	}
	return l.record(ctx, s, name)
}

// record starts a capture of what a source has.
func (l *Lab) record(ctx context.Context, source frameSource, name string) (*Capture, error) {
	c := &Capture{lab: l, source: source, name: name, ended: make(chan struct{}), news: make(chan struct{})}
	go c.read()
	if err := l.keep(c); err != nil {
		return nil, fmt.Errorf("capturing at %s: %w", name, err)
	}
	c.mu.Lock()
	c.detach = context.AfterFunc(ctx, func() { _ = c.Close() })
	c.mu.Unlock()
	return c, nil
}

func (c *Capture) read() {
	defer close(c.ended)
	buf := make([]byte, 1<<16)
	for {
		data, outgoing, err := c.source.receive(buf)
		c.mu.Lock()
		if err == nil {
			c.frames = append(c.frames, Frame{Time: time.Now(), Data: data, Outgoing: outgoing})
		} else if !c.closed {
			c.broken = fmt.Errorf("capturing at %s: %w", c.name, err)
		}
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Frames is what has arrived so far, in order. The slice and the frames are not to be changed.
func (c *Capture) Frames() []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[:len(c.frames):len(c.frames)]
}

// Err says why the capture ended by itself (its device went away), or that frames were lost (ErrLost): then what it
// recorded is not everything.
func (c *Capture) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.countLost()
	}
	return errors.Join(c.lost, c.broken)
}

func (c *Capture) countLost() {
	n, err := c.source.dropped()
	if n > 0 {
		err = fmt.Errorf("%d %w", n, ErrLost)
	}
	if err != nil {
		c.lost = errors.Join(c.lost, fmt.Errorf("capturing at %s: %w", c.name, err))
	}
}

// Wait returns when enough says so of the frames so far; it asks again after each arrival. It is an error, with the
// last frames in words, when ctx ends first (20 s if it has no deadline), and when the capture is not whole.
func (c *Capture) Wait(ctx context.Context, enough func(frames []Frame) bool) error {
	ctx, cancel := deadline(ctx)
	defer cancel()
	for {
		c.mu.Lock()
		news, frames := c.news, c.frames[:len(c.frames):len(c.frames)]
		c.mu.Unlock()
		if enough(frames) {
			return c.Err()
		}
		select {
		case <-news:
		case <-c.ended:
			return errors.Join(fmt.Errorf("capture at %s: %w", c.name, ErrClosed), c.Err())
		case <-ctx.Done():
			err := fmt.Errorf("waiting at %s: %w; %s", c.name, context.Cause(ctx), recent(frames))
			return errors.Join(err, c.Err())
		}
	}
}

// WaitPayload waits until a payload has arrived n times or more.
func (c *Capture) WaitPayload(ctx context.Context, payload []byte, n int) error {
	if err := c.Wait(ctx, func(f []Frame) bool { return CountPayload(f, payload) >= n }); err != nil {
		return fmt.Errorf("payload %q, %d times: %w", payload, n, err)
	}
	return nil
}

// Close ends the capture; Frames stays. It is an error if frames were lost, and none if the device has gone. Closing
// again does nothing.
func (c *Capture) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.countLost()
	c.closed = true
	err := c.lost
	if c.detach != nil {
		c.detach()
	}
	c.mu.Unlock()
	_ = c.source.Close()
	<-c.ended
	c.lab.forget(c)
	return err
}
